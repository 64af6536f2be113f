"""`stores`: which dimension to deploy, how it is kept, and what that costs."""

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import indexes, quantise, reductions, store
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import options
from mrl_jax.evaluators.stores import (
  advice,
  clock,
  indexed,
  scan,
  truth,
)
from mrl_jax.evaluators.stores.book import Book
from mrl_jax.shapes import Int

REDUCTIONS = {
  'prefix': lambda embeddings: lambda z: z,
  'pca': reductions.pca,
  'svd': reductions.svd,
}


class Stores:
  """The cheapest way to keep the rows that keeps what full width finds.

  Tried together: the prefix, principal components and singular vectors of the
  database; every dim; number formats; shortlists that are ordered anew by
  more numbers; indexes of faiss. Every one is measured by the task's measures:
  'top1', whether the nearest row is relevant, and 'recall', the share of the k
  nearest rows at full width (rows as near as the k-th count); 'recall' alone
  where nobody knows what is relevant; 'ndcg' alone where relevance is judged.
  Of tied rows any order is as likely, and the measures are expectations over
  them; a shortlist takes tied rows in a random order.

  A store keeps a measure if its mean is at least `keep` times that of float32
  at full width on the same queries. The recommended store keeps all of them
  with 95% confidence (certificate.choose); of those it costs the fewest bytes
  that are held in memory, then the fewest that are stored. Whole rows for
  reranks are stored, not held. Matrices and ranges count, spread over the rows.

  Rows per store without an index: each measure (`variant` is the store), with
  `kept`, `held` and `stored` (bytes of a row). Indexes and times are details.

  Args:
    k: neighbours.
    keep: share of each measure at full width to be kept.
    bytes: held of a row, at most; 0 for any number.
    milliseconds: of a query, at most, on this machine; 0 for any.
    rows: that will be stored, 0 for those of the database.
    queries, examples: of queries and of the database at most so many are
      taken, drawn if there are more.
    indexes: whether faiss's indexes are tried too.
    calibration: rows drawn to set the ranges of formats.
    clip: share of the values at each end that int8 clips.
    centre: of the sign bit: 'mean' of the calibration rows, or 'zero'.
  """

  needs = ()

  def __init__(
    self,
    k: int = 10,
    keep: float = 0.95,
    bytes: float = 0.0,
    milliseconds: float = 0.0,
    rows: int = 0,
    queries: int = 1000,
    examples: int = 100000,
    indexes: bool = True,
    calibration: int = 10000,
    clip: float = 0.001,
    centre: str = 'mean',
    seed: int = 0,
  ):
    options.at_least(1, k=k, queries=queries, examples=examples)
    options.at_least(1, calibration=calibration)
    options.at_least(0, bytes=bytes, milliseconds=milliseconds, rows=rows)
    if not 0 < keep <= 1:
      raise ValueError(f'keep={keep} must be a share above 0, at most 1')
    quantise.check_ranges(clip, centre)
    self.k, self.keep, self.seed = k, keep, seed
    self.bytes, self.milliseconds, self.rows = bytes, milliseconds, rows
    self.queries, self.examples, self.indexes = queries, examples, indexes
    self.calibration, self.clip, self.centre = calibration, clip, centre
    self.metrics = tuple(
      f'recall@{k}.{reduction}.{format}'
      for reduction, formats in store.FORMATS.items()
      for format in formats
    )

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    if self.milliseconds and not indexes.available():
      raise errors.UsageError(
        'eval.stores.milliseconds needs faiss, whose searches are timed: pip '
        'install faiss-cpu'
      )
    random = np.random.default_rng(self.seed)
    asked, sides = self._truth(evidence, random)
    fitted = {
      name: make(sides[1].embeddings) for name, make in REDUCTIONS.items()
    }
    originals = [side.embeddings for side in sides]
    found = {}
    for one in scan.scans(asked, originals, fitted, random, self):
      found.update(one.outcomes(evidence.dims, evidence.mesh))
      del one  # its codes, before the next ones are made
    width = evidence.dims[-1]
    timer = clock.Clock(len(asked.database), width)
    count = self.rows or len(evidence.database)
    book = Book(found, width, count, self.keep, self.seed, timer, asked.k)
    if self.indexes and indexes.available():
      for base in book.bases():
        reduced = [
          truth.unit_rows(fitted[base.reduction](side)) for side in originals
        ]
        book.add(indexed.of_store(base, asked, tuple(reduced), timer.rerank))
    details, chosen = self._details(book, asked, evidence)
    if chosen is not None and chosen.reduction != 'prefix':
      fit = fitted[chosen.reduction]
      details['arrays'] = {
        'mean': fit.mean.astype(np.float32),
        'matrix': fit.matrix[:, : chosen.dim].astype(np.float32),
      }
    return book.results(), details

  def _details(self, book: Book, asked: truth.Truth, evidence) -> tuple:
    """(details, the store chosen or None)."""
    limits = {'bytes': self.bytes, 'milliseconds': self.milliseconds}
    words, chosen = advice.decision(book, limits)
    return {
      'measures': list(book.full),
      'keep': self.keep,
      'width': book.width,
      'rows': book.count,
      'database_rows': len(asked.database),
      'database_rows_of': len(evidence.database),
      'queries': len(asked.queries),
      'queries_of': len(evidence.queries),
      'limits': limits,
      'decision': words,
      'table': [
        advice.point(book, one) | {'chosen': one == chosen}
        for one in advice.explaining(book, chosen)
      ],
      'front': [advice.point(book, one) for one in advice.unbeaten(book)],
    }, chosen

  def _truth(self, evidence, random):
    """The truth, and both sides in the order it takes them."""
    queries, database, relevance = evidence.sample(
      random, self.examples, self.queries
    )
    # A query that repeats is one observation, not several.
    once = _distinct(queries)
    queries = queries.at(once)
    # In a random order: a shortlist takes tied rows by their number.
    order = random.permutation(len(database))
    database = database.at(order)
    if relevance is not None:
      relevance = relevance.at(once, order)
    asked = truth.Truth(
      queries=truth.unit_rows(queries.embeddings),
      database=truth.unit_rows(database.embeddings),
      k=max(min(self.k, len(database) // 2), 1),  # of all rows, all are near
      relevance=relevance,
      judged=evidence.relate is not None and relevance is not None,
    )
    return asked, (queries, database)


def _distinct(queries: Vectors) -> Int[np.ndarray, 'q']:
  """The first of each kind of query: its vector and its class."""
  values = np.ascontiguousarray(queries.embeddings, np.float32)
  if queries.labels is not None:
    parts = queries.labels.astype(np.int64)[:, None].view(np.float32)
    values = np.concatenate([values, parts], axis=1)
  whole = (
    np.ascontiguousarray(values)
    .view(np.uint8)
    .view(np.dtype((np.void, values.shape[1] * values.itemsize)))
  )
  return np.sort(np.unique(whole.ravel(), return_index=True)[1])
