"""Adaptive retrieval and funnels: few dimensions shortlist, more rerank.

Shortlist by a short prefix, then rerank what was kept by longer ones
(arXiv:2205.13147, section 4.3.1): adaptive retrieval is one rerank, a funnel
several with ever fewer rows. Everything runs on the host.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from mrl_jax.embed import schedules
from mrl_jax.embed.schedules import Schedule
from mrl_jax.shapes import Bool, Float, Int

SCORES_AT_ONCE = 1 << 23  # q * r of a shortlist are alive
GATHERED_AT_ONCE = 1 << 22  # numbers of reranked rows that are alive
GROUP = 64
EPSILON = 1e-30  # under the root: a prefix may be 1e-10 of its row
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
      whole = np.empty((len(self), dim), np.float32)
      for start in range(0, len(self), 65_536):
        part = slice(start, start + 65_536)
        whole[part] = unit(self.embeddings[part, :dim])
      self.cut[dim] = whole
      self.build_seconds[dim] = time.perf_counter() - started
    return self.cut[dim]

  def forget(self, dim: int) -> None:
    """Frees the memory of a prefix; it is made again when needed."""
    self.cut.pop(dim, None)

  def index_bytes(self, dim: int) -> int:
    """What a shortlist at `dim` keeps in memory."""
    return 4 * len(self) * dim

  def gather(self, rows: Int[np.ndarray, 'q k'], dim: int):
    """Some rows cut to `dim`, then normalised, [q k m]: a copy."""
    if dim in self.cut:
      return self.cut[dim][rows]
    return unit(np.asarray(self.embeddings[rows.ravel(), :dim])).reshape(
      *rows.shape, dim
    )


def unit(rows: Float[np.ndarray, '*n m']) -> Float[np.ndarray, '*n m']:
  """Rows at unit length in float32; zero rows stay zero."""
  rows = np.asarray(rows, np.float32)
  squares = np.einsum('...m,...m->...', rows, rows)[..., None]
  return rows / np.sqrt(squares + np.float32(EPSILON))


def search(
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
    ValueError: if k exceeds the rows or what the last stage keeps.
  """
  queries = np.atleast_2d(queries)
  check(database, queries, schedule)
  schedule = schedule.within(len(database))
  last = schedule.keeps[-1] if schedule.keeps else len(database)
  if not 0 < k <= last:
    raise ValueError(f'k={k} must be from 1 to the {last} rows kept')
  keep = schedule.keeps[0] if schedule.keeps else k
  scores, rows = top_k(unit(queries[:, : schedule.dim]), database, keep)
  for keep, dim in zip(schedule.keeps, schedule.dims):
    rows = np.sort(rows[:, :keep], axis=1)
    scores, rows = rerank(database, queries, rows, dim)
  return scores[:, :k], rows[:, :k]


def check(database: Database, queries, schedule: Schedule) -> None:
  """Raises ValueError unless widths fit."""
  if queries.shape[1] != database.width:
    raise ValueError(
      f'queries are {queries.shape[1]} wide, the database {database.width}'
    )
  widest = max((schedule.dim, *schedule.dims))
  if widest > database.width:
    raise ValueError(
      f'dim={widest} must be from 1 to the width {database.width}'
    )


def top_k(queries: Float[np.ndarray, 'q m'], database: Database, k: int):
  """(scores, rows) of the k best by a prefix, as wide as `queries`."""
  prefix = database.prefix(queries.shape[1])
  at_once = min(max(SCORES_AT_ONCE // len(prefix), 1), len(queries))
  scores, found = np.empty((at_once, len(prefix)), np.float32), []
  for start in range(0, len(queries), at_once):
    part = queries[start : start + at_once]
    if len(part) == 1:  # a matrix of one row takes BLAS nearly twice as long
      np.matmul(prefix, part[0], out=scores[0])
    else:
      np.matmul(part, prefix.T, out=scores[: len(part)])
    found += [best(one, k) for one in scores[: len(part)]]
  return tuple(np.stack(x) for x in zip(*found))


def best(scores: Float[np.ndarray, 'r'], k: int) -> tuple:
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
  some = scores if rows is None else scores[rows]
  order = np.argsort(-some, kind='stable')[:k]
  return some[order], order if rows is None else rows[order]


def rerank(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  rows: Int[np.ndarray, 'q k'],
  dim: int,
) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
  """(scores, rows) of given rows ordered by cosine at `dim`.

  Equal scores keep the order of `rows`, which is left as it was.
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
  """Cosines at `dim` of each query and its own rows."""
  asked = unit(queries[:, :dim])
  at_once = max(GATHERED_AT_ONCE // (rows.shape[1] * dim), 1)
  scores = np.empty(rows.shape, np.float32)
  for start in range(0, len(rows), at_once):
    part = slice(start, start + at_once)
    near = database.gather(rows[part], dim)
    scores[part] = np.matmul(near, asked[part, :, None])[..., 0]
  return scores


def recall(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  found: Int[np.ndarray, 'q k'],
  exact: tuple,
) -> Float[np.ndarray, 'q']:
  """Share of the exact k nearest rows that was found, per query.

  `exact` is (scores, rows) [q k] at full width. A row that is not among them
  counts if it scores as much as the k-th of them, within 1e-6; row -1 does
  not.
  """
  scores, rows = (np.asarray(x) for x in exact)
  reached = similarities(
    database, queries, np.maximum(found, 0), database.width
  )
  hits = (reached >= scores[:, -1:] - TIE) | members(found, rows)
  return np.mean(hits & (found >= 0), axis=1)


def members(
  some: Int[np.ndarray, 'q k'], all_of: Int[np.ndarray, 'q n']
) -> Bool[np.ndarray, 'q k']:
  """Whether each entry is among its own query's others."""
  return np.stack([np.isin(a, b) for a, b in zip(some, all_of)])


@dataclasses.dataclass(frozen=True)
class Choice:
  """A schedule and what it reached on the queries that chose it.

  Attributes:
    recall: on the tuning queries; report it on others.
    mflops: per query, with reranks.
    seconds: per query, of a batch of all tuning queries.
  """

  schedule: Schedule
  recall: float
  mflops: float
  seconds: float


def choose_schedule(
  database: Database,
  queries: Float[np.ndarray, 'q d'],
  exact: tuple,
  tried: Sequence[Schedule],
  budget_mflops: float = np.inf,
  budget_seconds: float = np.inf,
  clock: Callable[[], float] = time.perf_counter,
) -> Choice:
  """The schedule with the best recall on tuning queries within a budget.

  `exact` is (scores, rows) [q k] of these queries at full width. Budgets are
  per query; of equal recalls the one with fewer multiply-adds is taken. What
  is reported of it must be measured on other queries.

  Raises:
    ValueError: if no schedule is within the budget.
  """
  if not tried:
    raise ValueError('there is no dimension to shortlist by')
  chosen = None
  k = np.asarray(exact[1]).shape[1]
  costs = [(schedules.mflops(s, len(database)), i) for i, s in enumerate(tried)]
  for cost, index in sorted(costs):
    if cost > budget_mflops:
      break
    schedule = tried[index]
    for dim in {schedule.dim, *schedule.dims} - {database.width}:
      database.prefix(dim)  # made before the clock starts
    started = clock()
    found = search(database, queries, schedule, k)[1]
    seconds = (clock() - started) / len(queries)
    if seconds > budget_seconds:
      continue
    share = float(np.mean(recall(database, queries, found, exact)))
    if chosen is None or share > chosen.recall:
      chosen = Choice(schedule, share, cost, seconds)
  if chosen is None:
    cheapest = min(costs)[0]
    timed = np.isfinite(budget_seconds)
    more = f' and {1000 * budget_seconds:.4g} ms' if timed else ''
    raise ValueError(
      f'no schedule is within {budget_mflops:.4g} MFLOPs{more} per query; '
      f'the cheapest takes {cheapest:.4g} MFLOPs'
    )
  return chosen
