"""`retrieval`: how well each prefix ranks what a query should find."""

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import exact
from mrl_jax.evaluators import options
from mrl_jax.shapes import Float, Int

DEPTHS = (10, 25, 50, 100)
MEASURES = ('top1', 'map', 'map_min', 'p', 'r', 'ndcg', 'mrr')


class Retrieval:
  """Ranked retrieval on cut, normalised prefixes (paper, tables 8 and 9).

  What is relevant, and how much, the evidence's relevance says: without a
  source of its own, the rows of the query's class. Queries without a relevant
  row count as 0 in every mean; `without_relevant` says how many.

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
    rankings = exact.nested_top_k(
      queries.embeddings, database.embeddings, dims, depths[-1], evidence.mesh
    )[1]
    totals, ideal = relevance.totals, relevance.ideal(depths[-1])
    results = []
    for m, ranking in zip(dims, rankings):
      grades = relevance.grades(ranking)
      extra = {
        'mflops': size * m / 1e6,
        'without_relevant': int(np.sum(totals == 0)),
      }
      top1 = grades[:, 0] > 0
      results.append(rows.mean('retrieval', 'top1', m, top1, **extra))
      for k in depths:
        measured = measures(grades[:, :k], ideal[:, :k], totals)
        results += [
          rows.mean('retrieval', name, m, values, k=k, **extra)
          for name, values in measured.items()
        ]
    return sorted(results, key=_place), {}


def _place(row) -> tuple:
  return MEASURES.index(row['metric']), row.get('k', 0), row['dim']


def measures(
  grades: Float[np.ndarray, 'q k'],
  ideal: Float[np.ndarray, 'q k'],
  totals: Int[np.ndarray, 'q'],
) -> dict[str, Float[np.ndarray, 'q']]:
  """Measures at depth k per query, from the grades of its ranking, best first.

  With g_i the grade at rank i, rel_i whether it is above 0, P_i the share of
  relevant rows among the first i and R = `totals` the relevant rows in the
  whole database:

    p        sum rel_i / k
    r        sum rel_i / R
    map      sum rel_i P_i / k, what the paper calls mAP@k
    map_min  sum rel_i P_i / min(k, R), the usual form: 1 for a perfect ranking
    ndcg     sum g_i / log2(i + 1) over that of a perfect ranking, `ideal`
    mrr      1 / rank of the first relevant row, 0 if there is none

  All are 0 where R = 0.
  """
  k, relevant = grades.shape[1], grades > 0
  rank = np.arange(1, k + 1)
  hits = np.cumsum(relevant, axis=1)
  precisions = np.sum(relevant * hits / rank, axis=1)
  discounts = 1 / np.log2(rank + 1)
  best = np.sum(ideal * discounts, axis=1)
  first = np.where(relevant.any(axis=1), relevant.argmax(axis=1) + 1, np.inf)
  return {
    'p': hits[:, -1] / k,
    'r': hits[:, -1] / np.maximum(totals, 1),
    'map': precisions / k,
    'map_min': precisions / np.maximum(np.minimum(k, totals), 1),
    'ndcg': np.sum(grades * discounts, axis=1) / np.where(best > 0, best, 1.0),
    'mrr': 1 / first,
  }
