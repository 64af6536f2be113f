"""Adaptive retrieval and funnels: few dimensions shortlist, more rerank.

Shortlist by a short prefix, then rerank what was kept by longer ones
(arXiv:2205.13147, section 4.3.1): adaptive retrieval is one rerank, a funnel
several with ever fewer rows. Everything runs on the host.
"""

import time

import numpy as np

from mrl_jax import nested
from mrl_jax.embed.schedules import Schedule
from mrl_jax.shapes import Float, Int

ROWS_AT_ONCE = 65_536  # cut and normalised together
SCORES_AT_ONCE = 1 << 23  # q * r of a shortlist are alive
GATHERED_AT_ONCE = 1 << 22  # numbers of reranked rows that are alive
GROUP = 64
TIE = 1e-6  # scores this close to the k-th are as good


class Database:
  """Rows made ready: unit prefixes, each contiguous, made when first needed.

  So a query reads `4 r m` bytes for a shortlist at m, whatever the width.

  Args:
    embeddings: in memory or mapped from a file, any float type; never copied
      as a whole, reranks read the rows they need.
  """

  def __init__(self, embeddings: Float[np.ndarray, 'r d']):
    self.embeddings = embeddings
    self.cut, self.build_seconds = {}, {}

  def __len__(self) -> int:
    return len(self.embeddings)

  @property
  def width(self) -> int:
    return self.embeddings.shape[1]

  def prefix(self, dim: int) -> Float[np.ndarray, 'r m']:
    """All rows cut to `dim`, then normalised, float32 and contiguous."""
    if dim not in self.cut:
      started = time.perf_counter()
      rows = np.empty((len(self), dim), np.float32)
      for start in range(0, len(self), ROWS_AT_ONCE):
        span = slice(start, start + ROWS_AT_ONCE)
        rows[span] = nested.unit(self.embeddings[span], dim)
      self.cut[dim] = rows
      self.build_seconds[dim] = time.perf_counter() - started
    return self.cut[dim]

  def forget(self, dim: int) -> None:
    """Frees the memory of a prefix; it is made again when needed."""
    self.cut.pop(dim, None)

  def index_bytes(self, dim: int) -> int:
    """What a shortlist at `dim` keeps in memory."""
    return 4 * len(self) * dim

  def gather(
    self, rows: Int[np.ndarray, '*q k'], dim: int
  ) -> Float[np.ndarray, '*q k m']:
    """Copies of some rows cut to `dim`, then normalised, float32."""
    if dim in self.cut:
      return self.cut[dim][rows]
    near = np.asarray(self.embeddings[rows.ravel(), :dim], np.float32)
    return nested.unit(near).reshape(*rows.shape, dim)


def adaptive_top_k(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  schedule: Schedule,
  k: int,
) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
  """(cosine similarities of the last stage, rows), best first.

  Each stage orders what it keeps by the cosine of cut, then normalised
  prefixes; equal scores go to the smaller row. Without reranks the shortlist
  itself is returned.

  Raises:
    ValueError: if widths differ, or k exceeds the rows or what the last stage
      keeps.
  """
  queries = np.atleast_2d(queries)
  _check(database, queries, schedule)
  schedule = schedule.within(len(database))
  last = schedule.keeps[-1] if schedule.keeps else len(database)
  if not 0 < k <= last:
    raise ValueError(f'k={k} must be from 1 to the {last} rows kept')
  keep = schedule.keeps[0] if schedule.keeps else k
  asked = _unit(queries, schedule.dim)
  scores, rows = _prefix_top_k(asked, database.prefix(schedule.dim), keep)
  for keep, dim in zip(schedule.keeps, schedule.dims):
    rows = np.sort(rows[:, :keep], axis=1)
    scores, rows = rerank(database, queries, rows, dim)
  return scores[:, :k], rows[:, :k]


def _check(database: Database, queries, schedule: Schedule) -> None:
  if queries.shape[1] != database.width:
    raise ValueError(
      f'queries are {queries.shape[1]} wide, the database {database.width}'
    )
  widest = max((schedule.dim, *schedule.dims))
  if widest > database.width:
    raise ValueError(
      f'dim={widest} must be from 1 to the width {database.width}'
    )


def _unit(queries: Float[np.ndarray, 'q d'], dim: int):
  return nested.unit(queries, dim).astype(np.float32, copy=False)


def _prefix_top_k(
  queries: Float[np.ndarray, 'q m'], prefix: Float[np.ndarray, 'r m'], k: int
) -> tuple:
  """(scores, rows) of the k best by a unit prefix of both sides."""
  at_once = min(max(SCORES_AT_ONCE // len(prefix), 1), len(queries))
  scores, best = np.empty((at_once, len(prefix)), np.float32), []
  for start in range(0, len(queries), at_once):
    asked = queries[start : start + at_once]
    if len(asked) == 1:  # a matrix of one row takes BLAS nearly twice as long
      np.matmul(prefix, asked[0], out=scores[0])
    else:
      np.matmul(asked, prefix.T, out=scores[: len(asked)])
    best += [largest(one, k) for one in scores[: len(asked)]]
  return tuple(np.stack(x) for x in zip(*best))


def largest(scores: Float[np.ndarray, 'r'], k: int) -> tuple:
  """(scores, rows) of the k largest; equal scores: the smaller row first.

  The k-th largest maximum of groups bounds the k-th largest score from below;
  only rows that reach it are sorted.
  """
  whole = len(scores) // GROUP
  rows = None
  if whole > 2 * k:
    # Groups of rows `whole` apart: maxima run over whole lanes.
    maxima = scores[: whole * GROUP].reshape(GROUP, whole).max(axis=0)
    bound = np.partition(maxima, whole - k)[whole - k]
    rows = np.flatnonzero(scores >= bound)
  elif k < len(scores):
    bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    rows = np.flatnonzero(scores >= bound)
  left = scores if rows is None else scores[rows]
  order = np.argsort(-left, kind='stable')[:k]
  return left[order], order if rows is None else rows[order]


def rerank(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  rows: Int[np.ndarray, 'q k'],
  dim: int,
) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
  """(scores, rows) of given rows ordered by cosine at `dim`.

  Equal scores keep the order of `rows`, which is left as it was. Row -1, for
  no row, scores -inf.
  """
  scores = similarities(database, queries, rows, dim)
  order = np.argsort(-scores, axis=1, kind='stable')
  return (
    np.take_along_axis(scores, order, 1),
    np.take_along_axis(rows, order, 1),
  )


def similarities(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  rows: Int[np.ndarray, 'q k'],
  dim: int,
) -> Float[np.ndarray, 'q k']:
  """Cosines at `dim` of each query and its rows; -inf for row -1."""
  asked = _unit(queries, dim)
  at_once = max(GATHERED_AT_ONCE // (rows.shape[1] * dim), 1)
  scores = np.empty(rows.shape, np.float32)
  for start in range(0, len(rows), at_once):
    span = slice(start, start + at_once)
    near = database.gather(np.maximum(rows[span], 0), dim)
    scores[span] = np.matmul(near, asked[span, :, None])[..., 0]
  return np.where(rows >= 0, scores, -np.inf)


def recall(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  rows: Int[np.ndarray, 'q k'],
  exact: tuple,
) -> Float[np.ndarray, 'q']:
  """Share of the exact k nearest rows among the rows given, per query.

  `exact` is (scores, rows) [q k] at full width. A row that is not among them
  counts if it scores as much as the k-th of them, within 1e-6; row -1, for no
  row, does not.
  """
  scores, nearest = (np.asarray(x) for x in exact)
  reached = similarities(database, queries, rows, database.width)
  # A number for each pair of a query and a row, and for row -1 of each query.
  first = np.arange(len(rows))[:, None] * (len(database) + 1)
  member = np.isin(first + rows, first + nearest)
  return np.mean((reached >= scores[:, -1:] - TIE) | member, axis=1)
