"""Rankings in which tied rows stand by their ids, as trec_eval puts them.

Of rows that score alike, the larger id comes first, compared as text. It is
one order of many, and says as much about the ids as about the embedding; it
is what other tools report, to compare with. The expectations: ties.py.
"""

import numpy as np

from mrl_jax.embed import ties
from mrl_jax.embed.relevance import Relevance
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Int


def ranking(
  expected: ties.Ranking,
  queries: Vectors,
  database: Vectors,
  dim: int,
  relevance: Relevance,
) -> ties.Ranking:
  """The ranking with the rows of each tied group by id, and none tied.

  Where rows beyond the list tie with its last, one pass over the database at
  `dim` finds those with the largest ids.
  """
  count, k = expected.rows.shape
  place, rows = _places(database), expected.rows.copy()
  beyond = np.flatnonzero(expected.open)
  if len(beyond):
    last = expected.first[beyond, -1]
    bounds = expected.scores[beyond, last].astype(np.float64) - ties.TIE
    asked = np.asarray(queries.embeddings[beyond])
    near = ties.Reaching(asked, database.embeddings, dim, bounds)
    for query, start, tied in zip(beyond, last, near.first(place, 2 * k)):
      tied = tied[~np.isin(tied, rows[query, :start])][: k - start]
      rows[query, start : start + len(tied)] = tied
  order = np.lexsort((place[rows], expected.first), axis=1)
  rows = np.take_along_axis(rows, order, axis=1)
  grades = relevance.grades(rows)
  ranks = np.broadcast_to(np.arange(k), (count, k))
  alone = np.ones((count, k), int)
  return ties.Ranking(
    expected.scores, rows, ranks, alone, (grades > 0).astype(int), grades
  )


def _places(database: Vectors) -> Int[np.ndarray, 'r']:
  """The place of each row when ids decrease as text."""
  ids = range(len(database)) if database.ids is None else database.ids.tolist()
  words = np.asarray([str(name) for name in ids])
  place = np.empty(len(words), np.int64)
  place[np.argsort(words, kind='stable')[::-1]] = np.arange(len(words))
  return place
