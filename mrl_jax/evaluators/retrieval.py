"""`retrieval`: how well each prefix ranks what a query should find."""

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import ties
from mrl_jax.evaluators import options

DEPTHS = (10, 25, 50, 100)
MEASURES = ('top1', 'map', 'map_min', 'p', 'r', 'ndcg', 'mrr')


class Retrieval:
  """Ranked retrieval on cut, normalised prefixes (paper, tables 8 and 9).

  What is relevant, and how much, the evidence's relevance says: without a
  source of its own, the rows of the query's class. Queries without a relevant
  row count as 0 in every mean; `without_relevant` says how many. All measures
  are exact expectations over the orders of rows that tie; see embed/ties.py.

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
    results = []
    for m, ranking in zip(dims, rankings):
      extra = {
        'mflops': size * m / 1e6,
        'without_relevant': int(np.sum(totals == 0)),
      }
      top1 = ranking.chance[:, 0]
      results.append(rows.mean('retrieval', 'top1', m, top1, **extra))
      for k in depths:
        best = ranking.top(k)
        measured = ties.expected_measures(best, ideal[:, :k], totals)
        results += [
          rows.mean('retrieval', name, m, values, k=k, **extra)
          for name, values in measured.items()
        ]
    return sorted(results, key=_place), {}


def _place(row) -> tuple:
  return MEASURES.index(row['metric']), row.get('k', 0), row['dim']
