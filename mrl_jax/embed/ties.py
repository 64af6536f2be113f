"""Rankings in which rows tie, as expectations over the orders of tied rows.

Where scores are coarse (few dims, binary vectors, duplicated rows), an order
by row number is one draw out of many, and another order of the database gives
other measures. Here every rank holds what it holds on average over all orders
of the rows that tie (McSherry and Najork, 2008; arXiv:2508.03306).
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.embed import exact
from mrl_jax.embed import relevance as relevances
from mrl_jax.embed.relevance import Relevance
from mrl_jax.embed.shortlist import TIE
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Float, Int

SCORES_AT_ONCE = 1 << 22  # q * r of the rows that are counted
NUMBERS_AT_ONCE = 1 << 24  # r * m of them
LEAST_ROWS = 256  # counted together, however many queries


@dataclasses.dataclass(frozen=True)
class Ranking:
  """The k best ranks of each query, and who shares them.

  Attributes:
    scores, rows: one order, tied rows by their number.
    first: the rank, from 0, at which the group of tied rows begins.
    size: how many rows the group has in the whole database.
    relevant: how many of these are relevant.
    grade: their mean grade.
  """

  scores: Float[np.ndarray, 'q k']
  rows: Int[np.ndarray, 'q k']
  first: Int[np.ndarray, 'q k']
  size: Int[np.ndarray, 'q k']
  relevant: Int[np.ndarray, 'q k']
  grade: Float[np.ndarray, 'q k']

  @property
  def chance(self) -> Float[np.ndarray, 'q k']:
    """How probably the row at each rank is relevant."""
    return self.relevant / self.size

  @property
  def open(self) -> Bool[np.ndarray, 'q']:
    """Whether rows beyond the k-th tie with it."""
    return self.first[:, -1] + self.size[:, -1] > self.first.shape[1]

  def top(self, k: int) -> 'Ranking':
    """The first k ranks."""
    return self._cut(np.s_[:, :k])

  def at(self, queries: Int[np.ndarray, 'c']) -> 'Ranking':
    """The rankings of some queries."""
    return self._cut(queries)

  def _cut(self, index) -> 'Ranking':
    fields = dataclasses.fields(self)
    return Ranking(*(getattr(self, field.name)[index] for field in fields))


def group_starts(scores: Float[np.ndarray, 'q k']) -> Int[np.ndarray, 'q k']:
  """The rank at which the group of each rank begins, from 0.

  Scores decrease. A row is in a group if it scores within 1e-6 of the best
  row of the group.
  """
  scores = np.asarray(scores, np.float64)
  first = np.zeros(scores.shape, np.int64)
  best = scores[:, 0]
  for rank in range(1, scores.shape[1]):
    apart = scores[:, rank] < best - TIE
    best = np.where(apart, scores[:, rank], best)
    first[:, rank] = np.where(apart, rank, first[:, rank - 1])
  return first


def rankings(
  queries: Vectors,
  database: Vectors,
  dims: Sequence[int],
  k: int,
  relevance: Relevance,
  mesh: Mesh,
) -> Iterator[Ranking]:
  """The ranking of each query at each of `dims`, by cosine of prefixes.

  One row more than k is searched. Only where it ties with the k-th, the rows
  that tie are counted, by one pass over the database at that dim.

  Raises:
    ValueError: if k exceeds the rows, or widths differ.
  """
  if not 0 < k <= len(database):
    raise ValueError(f'k={k} must be from 1 to the {len(database)} rows')
  depth = min(k + 1, len(database))
  found = exact.nested_top_k(
    queries.embeddings, database.embeddings, dims, depth, mesh
  )
  for m, scores, rows in zip(dims, *found):
    yield ranking_of((scores, rows), queries, database, m, k, relevance)


def ranking_of(
  found: tuple,
  queries: Vectors,
  database: Vectors,
  dim: int,
  k: int,
  relevance: Relevance,
) -> Ranking:
  """The k best ranks at `dim` of a list (scores, rows) [q n] that was found.

  The list has more than k rows, or all there are.
  """
  scores, rows = found
  first = group_starts(scores)
  counts = _counts(first, relevance.grades(rows))
  last = first[:, k - 1]
  beyond = np.flatnonzero(first[:, -1] == last) if rows.shape[1] > k else []
  if len(beyond):
    bounds = scores[beyond, last[beyond]].astype(np.float64) - TIE
    asked = np.asarray(queries.embeddings[beyond])
    near = Reaching(asked, database.embeddings, dim, bounds)
    _complete(counts, beyond, last[beyond], near.counts(relevance.at(beyond)))
  at = np.arange(len(first))[:, None], first
  size, relevant, grades = (count[at] for count in counts)
  return Ranking(scores, rows, first, size, relevant, grades / size).top(k)


def _counts(first, grades) -> tuple:
  """(rows, relevant rows, sum of grades) of the list per group, at its start.

  All [q k], 0 where no group starts.
  """
  count, k = first.shape
  group = (np.arange(count)[:, None] * k + first).ravel()
  return tuple(
    np.bincount(group, values.ravel(), count * k).reshape(count, k)
    for values in (np.ones(first.shape), grades > 0, grades)
  )


def _complete(counts, beyond, last, whole) -> None:
  """Puts whole counts in the place of those of the last groups' lists.

  `whole` counts the rows of better groups too: those are all in the list.
  """
  before = np.arange(counts[0].shape[1]) < last[:, None]
  for count, total in zip(counts, whole):
    better = np.sum(count[beyond] * before, axis=1)
    listed = count[beyond, last]
    # A row at the edge of the tie may score less by another rounding.
    count[beyond, last] = np.maximum(total - better, listed)


class Reaching:
  """The rows that score at least a bound, of all rows, for each query.

  Queries of one direction share a bound and are looked at once: at one dim
  there are two directions, of binary vectors not many more.

  Args:
    bounds: of the cosine at `dim`, per query.
  """

  def __init__(
    self,
    queries: Float[np.ndarray, 'q d'],
    database: Float[np.ndarray, 'r d'],
    dim: int,
    bounds: Float[np.ndarray, 'q'],
  ):
    asked = nested.unit(queries, dim).astype(np.float32, copy=False)
    self.database, self.dim = database, dim
    _, first, which = np.unique(
      asked.round(7) + 0, axis=0, return_index=True, return_inverse=True
    )  # + 0: -0 is 0
    self.asked, self.which = asked[first], which.reshape(-1)
    self.bounds = np.full((len(first), 1), np.inf, np.float32)
    np.minimum.at(self.bounds[:, 0], self.which, bounds.astype(np.float32))

  def _chunks(self) -> Iterator[tuple[int, Bool[np.ndarray, 'u c']]]:
    """(first row, whether rows reach the bound of a direction), in chunks."""
    at_once = min(
      SCORES_AT_ONCE // len(self.asked), NUMBERS_AT_ONCE // self.dim
    )
    at_once = max(at_once, LEAST_ROWS)
    for start in range(0, len(self.database), at_once):
      rows = np.asarray(self.database[start : start + at_once, : self.dim])
      unit = nested.unit(rows).astype(np.float32, copy=False)
      yield start, self.asked @ unit.T >= self.bounds

  def counts(self, relevance: Relevance) -> Float[np.ndarray, 'c q']:
    """(rows, relevant rows, sum of grades) that reach each query's bound."""
    counts = np.zeros((3, len(self.which)))
    for start, reached in self._chunks():
      counts[0] += np.count_nonzero(reached, axis=1)[self.which]
      counts[1:] += relevance.tally(reached, start, self.which)
    return counts

  def first(
    self, place: Int[np.ndarray, 'r'], most: int
  ) -> list[Int[np.ndarray, 'n']]:
    """The rows that reach each query's bound, at most so many, by `place`."""
    kept = [np.zeros(0, int)] * len(self.asked)
    for start, reached in self._chunks():
      for line, rows in enumerate(reached):
        rows = np.append(kept[line], start + np.flatnonzero(rows))
        kept[line] = rows[np.argsort(place[rows])[:most]]
    return [kept[line] for line in self.which]

  def by_class(
    self, classes: Int[np.ndarray, 'r'], total: int
  ) -> Int[np.ndarray, 'q v']:
    """How many rows of each class, below `total`, reach a query's bound."""
    counts = np.zeros((len(self.asked), total), np.int64)
    for start, reached in self._chunks():
      counts += relevances.class_counts(reached, start, classes, total)
    return counts[self.which]


def expected_measures(
  ranking: Ranking,
  ideal: Float[np.ndarray, 'q k'],
  totals: Int[np.ndarray, 'q'],
) -> dict[str, Float[np.ndarray, 'q']]:
  """Measures at depth k per query, averaged over all orders of tied rows.

  With g_i the grade at rank i, rel_i whether it is above 0, P_i the share of
  relevant rows among the first i and R = `totals` the relevant rows in the
  whole database, the expectation of:

    p        sum rel_i / k
    r        sum rel_i / R
    map      sum rel_i P_i / k, what the paper calls mAP@k
    map_min  sum rel_i P_i / min(k, R): 1 for a perfect ranking
    ap       sum rel_i P_i / R, trec_eval's AP@k: its mean is the usual MAP
    ndcg     sum g_i / log2(i + 1) over that of a perfect ranking, `ideal`
    mrr      1 / rank of the first relevant row, 0 if there is none

  All are 0 where R = 0. All are exact.
  """
  chance = ranking.chance
  k = chance.shape[1]
  rank = np.arange(1, k + 1)
  hits = np.sum(chance, axis=1)
  precisions = np.sum(_hits_at_hits(ranking) / rank, axis=1)
  discounts = 1 / np.log2(rank + 1)
  best = np.sum(ideal * discounts, axis=1)
  gains = np.sum(ranking.grade * discounts, axis=1)
  return {
    'p': hits / k,
    'r': hits / np.maximum(totals, 1),
    'map': precisions / k,
    'map_min': precisions / np.maximum(np.minimum(k, totals), 1),
    'ap': precisions / np.maximum(totals, 1),
    'ndcg': gains / np.where(best > 0, best, 1.0),
    'mrr': np.sum(_first_hit(ranking) / rank, axis=1),
  }


def _hits_at_hits(ranking: Ranking) -> Float[np.ndarray, 'q k']:
  """The expectation of rel_i times the relevant rows among the first i.

  With n tied rows, r of them relevant, another row of the group is relevant
  with probability (r - 1) / (n - 1) if one is.
  """
  chance, first, size = ranking.chance, ranking.first, ranking.size
  hits = np.cumsum(chance, axis=1) - chance
  better = np.take_along_axis(hits, first, 1)
  earlier = np.arange(first.shape[1]) - first
  also = (ranking.relevant - 1) / np.maximum(size - 1, 1)
  return chance * (better + 1 + earlier * also)


def _first_hit(ranking: Ranking) -> Float[np.ndarray, 'q k']:
  """How probably rank i holds the first relevant row."""
  earlier = np.arange(ranking.first.shape[1]) - ranking.first
  left = np.maximum(ranking.size - earlier, 1)
  now = np.minimum(ranking.relevant / left, 1.0)  # if there was none before
  none = np.cumprod(1 - now, axis=1)
  before = np.concatenate([np.ones((len(none), 1)), none[:, :-1]], axis=1)
  return before * now
