"""`margin`: searches that go on with more dimensions where rows score alike."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mrl_jax import intervals, rows
from mrl_jax.embed import ties
from mrl_jax.evaluators import options
from mrl_jax.shapes import Bool, Float, Int

SEED = 0
CUTS = 64  # margins tried as a cut, of each prefix
FEWEST = 8  # queries


class Rule(NamedTuple):
  """Search with one prefix; where the margin is small, with a wider one too.

  Attributes:
    first, then: places of the two dims; equal where all stop at the first.
    rank: the margin is the best score less that of this rank.
    cut: queries whose margin is above it stop.
  """

  first: int
  then: int
  rank: int
  cut: float


class Margin:
  """What searches by two prefixes find, for the dims they search in all.

  The measure is nDCG@k with judgements, top-1 by class, both expectations
  over the orders of tied rows. Half of the queries choose a rule for each
  budget, the largest mean sum of dims searched by a query; everything is
  reported on the other half, where the sum may differ a little.

  Rows are at the full width, one per dim that is a budget (`variant`
  budget<m>): `cumulative`, the mean sum of dims searched; `expected_dim`, the
  mean of the last one; `fixed`, what m dims reach for all queries; `to_fixed`
  and `to_full`, differences from these and from all dims on the same queries,
  with 95% intervals (`_low`, `_high`).

  Args:
    k: depth of nDCG, and of the margin from the first to the k-th score.
  """

  needs = ('relevance',)
  metrics = ()

  def __init__(self, k: int = 10):
    options.at_least(1, k=k)
    self.k = k

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    dims = tuple(sorted({*evidence.trained, evidence.dims[-1]}))
    count = len(evidence.queries)
    if len(dims) < 2:
      return [], {}
    if count < FEWEST:
      return [], {'text': f'a rule by margins needs {FEWEST} queries'}
    tables = _tables(evidence, dims, min(self.k, len(evidence.database)))
    order = np.random.default_rng(SEED).permutation(count)
    tuned, reported = order[: count // 2], order[count // 2 :]
    rules = chosen(tables.at(tuned))
    held = tables.at(reported)
    results = [_row(held, m, rule) for m, rule in rules.items()]
    details = {
      'measure': tables.measure,
      'k': tables.k,
      'dims': list(dims),
      'tuned_on': len(tuned),
      'reported_on': len(reported),
      'rules': {
        str(m): {
          'first': dims[rule.first],
          'then': dims[rule.then],
          'rank': rule.rank,
          'cut': rule.cut,
        }
        for m, rule in rules.items()
      },
      'fixed': [
        {'dim': m, 'value': float(of.mean()), **_ends(intervals.mean(of))}
        for m, of in zip(dims, held.values)
      ],
    }
    return results, details


class Tables(NamedTuple):
  """What each query gets at each dim, and how far apart its scores are.

  Attributes:
    measure: 'ndcg' or 'top1'.
    margins: the best score less that of each of `ranks`.
  """

  dims: tuple[int, ...]
  measure: str
  k: int
  ranks: tuple[int, ...]
  values: Float[np.ndarray, 'g q']
  margins: Float[np.ndarray, 'g n q']

  def at(self, queries: Int[np.ndarray, 'c']) -> 'Tables':
    """The tables of some queries."""
    return self._replace(
      values=self.values[:, queries], margins=self.margins[..., queries]
    )

  def stops(self, rule: Rule) -> Bool[np.ndarray, 'q']:
    """Which queries are answered by the first search."""
    if rule.first == rule.then:
      return np.ones(self.values.shape[1], bool)
    place = self.ranks.index(rule.rank)
    return self.margins[rule.first, place] > rule.cut

  def outcome(self, rule: Rule) -> tuple:
    """(value, sum of dims searched, last dim) [q] of each query."""
    stops = self.stops(rule)
    first, then = self.dims[rule.first], self.dims[rule.then]
    values = np.where(stops, self.values[rule.first], self.values[rule.then])
    return (
      values,
      np.where(stops, first, first + then),
      np.where(stops, first, then),
    )


def _tables(evidence, dims: Sequence[int], k: int) -> Tables:
  database, queries = evidence.database, evidence.queries
  relevance = evidence.relevance
  judged = evidence.relate is not None
  depth = min(max(k, 2), len(database))
  ranks = tuple(sorted({rank for rank in (2, k) if 1 < rank <= depth}))
  ideal, values, margins = relevance.ideal(k), [], []
  for ranking in ties.rankings(
    queries, database, dims, depth, relevance, evidence.mesh
  ):
    of = ranking.chance[:, 0]
    if judged:
      measured = ties.expected_measures(ranking.top(k), ideal, relevance.totals)
      of = measured['ndcg']
    values.append(of)
    scores = np.asarray(ranking.scores, np.float64)
    margins.append([scores[:, 0] - scores[:, rank - 1] for rank in ranks])
  shape = len(dims), len(ranks), len(queries)
  return Tables(
    tuple(dims),
    'ndcg' if judged else 'top1',
    k,
    ranks,
    np.stack(values),
    np.asarray(margins, float).reshape(shape),
  )


def chosen(tuning: Tables) -> dict[int, Rule]:
  """The best rule within each budget, by the queries that choose.

  Budgets are the dims above the smallest. Of equal rules the one that
  searches less is taken.
  """
  tried = []
  for rule in _rules(tuning):
    values, cost, _ = tuning.outcome(rule)
    tried.append((float(values.mean()), -float(cost.mean()), rule))
  return {
    m: max(one for one in tried if -one[1] <= m)[2] for m in tuning.dims[1:]
  }


def _rules(tuning: Tables) -> Iterator[Rule]:
  """Each dim for all queries, and each pair of dims at some cuts."""
  for first in range(len(tuning.dims)):
    yield Rule(first, first, 0, 0.0)
    for place, rank in enumerate(tuning.ranks):
      margins = np.unique(tuning.margins[first, place])
      some = np.linspace(0, len(margins) - 1, min(CUTS, len(margins)))
      for cut in margins[some.round().astype(int)]:
        for then in range(first + 1, len(tuning.dims)):
          yield Rule(first, then, rank, float(cut))


def _row(held: Tables, budget: int, rule: Rule) -> rows.Row:
  """The row of a rule, on the queries that did not choose it."""
  values, cost, last = held.outcome(rule)
  fixed, full = held.values[held.dims.index(budget)], held.values[-1]
  extra: dict = {}
  for name, other in (('to_fixed', fixed), ('to_full', full)):
    apart = values - other
    extra[name] = float(apart.mean())
    ends = _ends(intervals.paired_difference(apart))
    extra |= {f'{name}_{end}': value for end, value in ends.items()}
  if held.measure == 'ndcg':
    extra['k'] = held.k
  return rows.mean(
    'margin',
    held.measure,
    held.dims[-1],
    values,
    variant=f'budget{budget}',
    budget=budget,
    first=held.dims[rule.first],
    then=held.dims[rule.then],
    cumulative=float(cost.mean()),
    expected_dim=round(float(last.mean()), 2),
    fixed=float(fixed.mean()),
    **extra,
  )


def _ends(interval: tuple[float, float]) -> dict[str, float]:
  return {'low': float(interval[0]), 'high': float(interval[1])}
