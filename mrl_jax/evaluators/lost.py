"""`lost`: the queries that few dimensions lose."""

import numpy as np

from mrl_jax.embed import relevance, ties, vectors
from mrl_jax.evaluators import options

SEED = 0
NEAREST = 5  # rows among which one of another class is looked for


class Lost:
  """No rows: a list of queries that need many dimensions, by 1-NN.

  Lost are queries that the full width gets right and the smallest trained dim
  gets wrong; gained are those the other way round. A query is right if at
  least half of the rows that tie for its nearest have its class.

  Args:
    shown: so many are listed: those that become right last, for good.
    queries: at most so many are asked, drawn if there are more.
  """

  needs = ('labels',)
  metrics = ()

  def __init__(self, shown: int = 20, queries: int = 1000):
    options.at_least(1, shown=shown, queries=queries)
    if shown > 100:
      raise ValueError(f'shown={shown} must be at most 100')
    self.shown, self.queries = shown, queries

  def run(self, evidence) -> tuple[list, dict]:
    """([], details): counts, and a line per query that is listed."""
    dims = tuple(sorted({*evidence.trained, evidence.dims[-1]}))
    if len(dims) < 2:
      return [], {}
    random = np.random.default_rng(SEED)
    queries, database, _ = evidence.sample(
      random, len(evidence.database), self.queries
    )
    same = relevance.by_class(queries, database)
    k = min(NEAREST, len(database))
    ranked = list(
      ties.rankings(queries, database, dims, k, same, evidence.mesh)
    )
    right = np.stack([ranking.chance[:, 0] >= 0.5 for ranking in ranked])
    lost = np.flatnonzero(right[-1] & ~right[0])
    # The place behind the last dim that is wrong.
    turn = len(dims) - np.argmax(~right[::-1], axis=0)
    lost = lost[np.argsort(-turn[lost], kind='stable')]
    near = ranked[0].rows
    other = np.argmin(same.grades(near), axis=1)  # the first of another class

    def named(side: vectors.Vectors, row: int) -> dict:
      name = vectors.class_name(int(side.labels[row]), evidence.names)
      return {'id': side.name(row), 'class': name}

    return [], {
      'dims': list(dims),
      'queries': len(queries),
      'lost': len(lost),
      'gained': int(np.sum(right[0] & ~right[-1])),
      'shown': [
        {
          **named(queries, q),
          'right_from': dims[turn[q]],
          'found': named(database, near[q, other[q]]),
        }
        for q in lost[: self.shown]
      ],
    }
