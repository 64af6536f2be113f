"""Scans of stored codes: what each reduction and number format finds."""

from collections.abc import Iterator, Mapping

import numpy as np
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.embed import exact, quantise, store, ties, vectors
from mrl_jax.embed.store import Store
from mrl_jax.evaluators.stores import truth
from mrl_jax.evaluators.stores.truth import Truth
from mrl_jax.shapes import Float, Int

ROWS_AT_ONCE = 8192
QUERIES_AT_ONCE = 128
SPARE = 8  # rows listed beyond k, to see whether the k-th is tied

Outcome = tuple[Store, Mapping[str, Float[np.ndarray, 'q']]]


class Scan:
  """One reduction of both sides in one number format, at all dims.

  Args:
    reduced: queries and rows after the reduction, at length 1.
    ranges: of the reduced rows.
  """

  def __init__(
    self, asked: Truth, reduced, reduction: str, format: str, ranges
  ):
    self.truth, self.reduction, self.format = asked, reduction, format
    self.queries, self.rows = reduced
    self.ranges = ranges
    self.codes = stored(self.rows, format, ranges)
    self.asked = self.queries
    if format == 'binary':
      self.asked = stored(self.queries, format, ranges)

  def outcomes(self, dims, mesh: Mesh) -> Iterator[Outcome]:
    """Every store of this scan and what the queries get from it."""
    k, total = self.truth.k, len(self.rows)
    depth = max(store.depth(self.format, k, total), min(k + SPARE, total))
    scores, rows = exact.nested_top_k(self.asked, self.codes, dims, depth, mesh)
    for g, dim in enumerate(dims):
      plain = Store(self.reduction, dim, self.format)
      yield plain, self._plain(dim, scores[g], rows[g])
      for by, keep in store.reranks(self.format, k, total):
        again = Store(self.reduction, dim, self.format, keep, by)
        near = rows[g][:, :keep]
        better = (
          self._rescored(dim, near)
          if by == 'int8'
          else (np.take_along_axis(self.truth.coarse, near, axis=1))
        )
        yield again, self._ordered(better, near)

  def _plain(self, dim, scores, rows) -> dict:
    """Measures of the best rows as they are found; ties in expectation."""
    asked = np.arange(len(rows))
    groups = ties.group_starts(scores)
    gains = self.truth.gains(asked, rows)
    expected = {
      name: truth.group_means(of, groups) for name, of in gains.items()
    }
    last = groups[:, self.truth.k - 1]
    if rows.shape[1] < len(self.rows):
      # Rows beyond the list may tie with one of its k best.
      beyond = np.flatnonzero(groups[:, -1] == last)
      for start in range(0, len(beyond), QUERIES_AT_ONCE):
        part = beyond[start : start + QUERIES_AT_ONCE]
        bound = scores[part, last[part]].astype(np.float64) - ties.TIE
        for name, (sums, count) in self._reaching(dim, part, bound).items():
          better = np.arange(rows.shape[1]) < last[part, None]
          sums -= np.sum(gains[name][part] * better, axis=1)
          mean = sums / np.maximum(count - last[part], 1)
          expected[name][part] = np.where(
            groups[part] == last[part, None], mean[:, None],
            expected[name][part],
          )  # fmt: skip
    return self.truth.values(expected)

  def _reaching(self, dim, queries, bound) -> dict:
    """Of all rows that reach a bound: the sum of their gains, and how many."""
    scores = nested.unit(self.asked[queries], dim) @ (
      nested.unit(self.codes, dim).T
    )
    reached = scores >= bound[:, None]
    return {
      name: (np.sum(gains * reached, axis=1, dtype=float), reached.sum(axis=1))
      for name, gains in self.truth.gains(queries).items()
    }

  def _rescored(
    self, dim: int, rows: Int[np.ndarray, 'q n']
  ) -> Float[np.ndarray, 'q n']:
    """Cosines of the float32 query and int8 codes of the same dim."""
    scores = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), QUERIES_AT_ONCE):
      span = slice(start, start + QUERIES_AT_ONCE)
      near = self.rows[rows[span].ravel(), :dim]
      codes = truth.unit_rows(stored(near, 'int8', self.ranges))
      codes = codes.reshape(*rows[span].shape, dim)
      scores[span] = np.einsum('qm,qnm->qn', self.queries[span, :dim], codes)
    return scores

  def _ordered(self, scores, rows) -> dict:
    """Measures of rows ordered by other scores."""
    order = np.argsort(-scores, axis=1, kind='stable')
    rows = np.take_along_axis(rows, order, axis=1)
    groups = ties.group_starts(np.take_along_axis(scores, order, axis=1))
    gains = self.truth.gains(np.arange(len(rows)), rows)
    return self.truth.values(
      {name: truth.group_means(of, groups) for name, of in gains.items()}
    )


def scans(
  asked: Truth, originals, reductions: Mapping, random, options
) -> Iterator[Scan]:
  """A scan per reduction and format, one after another.

  Args:
    originals: queries and rows as they came.
    reductions: name -> a map of both.
    options: `calibration`, `clip` and `centre` of the ranges.
  """
  for reduction, reduce in reductions.items():
    reduced = [truth.unit_rows(reduce(side)) for side in originals]
    rows = reduced[1]
    drawn = vectors.draw_rows(random, len(rows), options.calibration)
    ranges = quantise.measure(rows[drawn], options.clip, options.centre)
    for format in store.FORMATS[reduction]:
      yield Scan(asked, reduced, reduction, format, ranges)


def stored(
  rows: truth.Unit, precision: str, ranges: quantise.Ranges
) -> Float[np.ndarray, 'n d']:
  """What is left of rows that were stored, in chunks that bound memory."""
  left = np.empty(rows.shape, np.float32)
  for start in range(0, len(rows), ROWS_AT_ONCE):
    span = slice(start, start + ROWS_AT_ONCE)
    codes = quantise.encode(rows[span], precision, ranges)
    left[span] = quantise.decode(codes, precision, ranges, rows.shape[1])
  return left
