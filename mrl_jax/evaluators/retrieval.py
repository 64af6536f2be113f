"""`retrieval`: how well each prefix ranks what a query should find."""

from collections.abc import Sequence

import numpy as np

from mrl_jax import errors, intervals, rows
from mrl_jax.embed import ties, usual
from mrl_jax.evaluators import options
from mrl_jax.shapes import Float, Int

DEPTHS = (10, 25, 50, 100)
MEASURES = ('top1', 'map', 'map_min', 'ap', 'p', 'r', 'ndcg', 'mrr')
SAME = 1e-6  # means that differ by less are equal

Measured = dict[tuple[str, int], Float[np.ndarray, 'q']]  # by name and k


class Retrieval:
  """Ranked retrieval on cut, normalised prefixes (paper, tables 8 and 9).

  What is relevant, and how much, the evidence's relevance says: without a
  source of its own, the rows of the query's class. Queries without a relevant
  row count as 0 in every mean; `without_relevant` says how many. All measures
  are exact expectations over the orders of rows that tie; see embed/ties.py.
  With judgements, the variant `by_id` holds what they are where tied rows
  stand by their ids (embed/usual.py), for the dims at which that differs.

  Then rows below the full width also hold their `difference` to it on the same
  queries, with its 95% interval, `difference_low` and `difference_high`.

  Args:
    k: depths of the measures, () for those of 10, 25, 50 and 100 that the
      database has rows for.
  """

  needs = ('relevance',)
  metrics = ('top1',)

  def __init__(self, k: tuple[int, ...] = ()):
    self.k = options.whole_numbers('k', k)
    if self.k != tuple(k):
      raise ValueError(f'k={tuple(k)} must be whole numbers that increase')

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    database, queries, dims = evidence.database, evidence.queries, evidence.dims
    size, relevance = len(database), evidence.relevance
    if self.k and self.k[-1] > size:
      raise errors.UsageError(
        f'eval.retrieval.k={self.k[-1]} exceeds the {size} database rows; '
        f'set --config.eval.retrieval.k to at most {size}'
      )
    depths = self.k or tuple(k for k in DEPTHS if k <= size) or (size,)
    rankings = ties.rankings(
      queries, database, dims, depths[-1], relevance, evidence.mesh
    )
    totals, ideal = relevance.totals, relevance.ideal(depths[-1])
    judged, expected, by_id = evidence.relate is not None, {}, {}
    for m, ranking in zip(dims, rankings):
      expected[m] = _measures(ranking, depths, ideal, totals)
      if judged and np.any(ranking.size > 1):
        order = usual.ranking(ranking, queries, database, m, relevance)
        by_id[m] = _measures(order, depths, ideal, totals)
    without = int(np.sum(totals == 0))
    results = []
    for m, measured in expected.items():
      extra = {'mflops': size * m / 1e6, 'without_relevant': without}
      full = expected[dims[-1]] if judged else measured
      results += _rows(m, measured, full, extra)
      results += _rows_by_id(m, measured, by_id.get(m, {}), extra)
    return sorted(results, key=_place), {}


def _measures(
  ranking: ties.Ranking,
  depths: Sequence[int],
  ideal: Float[np.ndarray, 'q k'],
  totals: Int[np.ndarray, 'q'],
) -> Measured:
  """Every measure per query at every depth; top-1 has the depth 0."""
  measured = {('top1', 0): ranking.chance[:, 0]}
  for k in depths:
    values = ties.expected_measures(ranking.top(k), ideal[:, :k], totals)
    measured |= {(name, k): of for name, of in values.items()}
  return measured


def _rows(m: int, measured: Measured, full: Measured, extra: dict) -> list:
  """A row per measure, beside the full width where that is another."""
  results = []
  for (name, k), values in measured.items():
    more = extra | ({'k': k} if k else {})
    if measured is not full:
      apart = values - full[name, k]
      low, high = intervals.paired_difference(apart)
      more['difference'] = float(apart.mean())
      more |= {'difference_low': low, 'difference_high': high}
    results.append(rows.mean('retrieval', name, m, values, **more))
  return results


def _rows_by_id(m: int, measured: Measured, by_id: Measured, extra) -> list:
  """Rows of the measures that another order of tied rows changes."""
  return [
    rows.mean(
      'retrieval',
      name,
      m,
      values,
      variant='by_id',
      **extra,
      **({'k': k} if k else {}),
    )
    for (name, k), values in by_id.items()
    if abs(float(np.mean(values - measured[name, k]))) > SAME
  ]


def _place(row) -> tuple:
  return (
    MEASURES.index(row['metric']),
    row.get('k', 0),
    row.get('variant', ''),
    row['dim'],
  )
