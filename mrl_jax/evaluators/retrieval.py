"""`retrieval`: how well each prefix finds rows of the query's class."""

import jax
import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import search
from mrl_jax.shapes import Bool, Float, Int

DEPTHS = (10, 25, 50, 100)


class Retrieval:
  """Ranked retrieval on cut, normalised prefixes (paper, tables 8 and 9).

  A database row is relevant if it has the query's class. Queries without a
  relevant row count as 0 in every mean; `without_relevant` says how many.

  Args:
    k: depths of the measures, () for those of 10, 25, 50 and 100 that the
      database has rows for.
  """

  needs = ('labels',)
  metrics = ('top1',)

  def __init__(self, k: tuple[int, ...] = ()):
    k = tuple(k)
    if list(k) != sorted(set(k)) or any(
      not isinstance(depth, int) or depth < 1 for depth in k
    ):
      raise ValueError(f'k={k} must be whole numbers above 0 that increase')
    self.k = k

  def run(self, evidence) -> tuple[list[dict], dict]:
    database, queries = evidence.database, evidence.queries
    size = len(database)
    if self.k and self.k[-1] > size:
      raise errors.UsageError(
        f'eval.retrieval.k={self.k[-1]} exceeds the {size} database rows; '
        f'set --config.eval.retrieval.k to at most {size}'
      )
    depths = self.k or tuple(k for k in DEPTHS if k <= size) or (size,)
    found = jax.device_get(
      search.nested_top_k(
        queries.embeddings,
        database.embeddings,
        evidence.dims,
        depths[-1],
        evidence.mesh,
      )[1]
    )
    total = count_relevant(database.labels, queries.labels)
    results = []
    for m, rows_found in zip(evidence.dims, found):
      relevant = database.labels[rows_found] == queries.labels[:, None]
      extra = {
        'mflops': size * m / 1e6,
        'without_relevant': int(np.sum(total == 0)),
      }
      values = {('top1', None): relevant[:, 0]}
      for k in depths:
        measured = measures(relevant[:, :k], total)
        values |= {(name, k): value for name, value in measured.items()}
      for (name, k), value in values.items():
        at = {'k': k} if k else {}
        results.append(rows.mean('retrieval', name, m, value, **at, **extra))
    return sorted(results, key=lambda row: order(row, depths)), {}


def order(row, depths):
  names = ('top1', 'map', 'map_min', 'p', 'r', 'ndcg', 'mrr')
  return names.index(row['metric']), row.get('k', 0), row['dim']


def count_relevant(
  database: Int[np.ndarray, 'r'], queries: Int[np.ndarray, 'q']
) -> Int[np.ndarray, 'q']:
  """How many database rows have each query's class."""
  classes, counts = np.unique(database, return_counts=True)
  place = np.searchsorted(classes, queries).clip(max=len(classes) - 1)
  return np.where(classes[place] == queries, counts[place], 0)


def measures(
  relevant: Bool[np.ndarray, 'q k'], total: Int[np.ndarray, 'q']
) -> dict[str, Float[np.ndarray, 'q']]:
  """Measures at depth k per query, from its ranking's relevance, best first.

  With rel_i the relevance at rank i, P_i the share of relevant rows among the
  first i and R = `total` the relevant rows in the whole database:

    p        sum rel_i / k
    r        sum rel_i / R
    map      sum rel_i P_i / k, what the paper calls mAP@k
    map_min  sum rel_i P_i / min(k, R), the usual form: 1 for a perfect ranking
    ndcg     sum rel_i / log2(i + 1) over that of a perfect ranking
    mrr      1 / rank of the first relevant row, 0 if there is none

  All are 0 where R = 0.
  """
  k = relevant.shape[1]
  rank = np.arange(1, k + 1)
  hits = np.cumsum(relevant, axis=1)
  precisions = np.sum(relevant * hits / rank, axis=1)
  gains = 1 / np.log2(rank + 1)
  best = np.minimum(k, total)
  ideal = np.concatenate([[0.0], np.cumsum(gains)])[best]
  first = np.where(relevant.any(axis=1), relevant.argmax(axis=1) + 1, np.inf)
  found = hits[:, -1]
  return {
    'p': found / k,
    'r': found / np.maximum(total, 1),
    'map': precisions / k,
    'map_min': precisions / np.maximum(best, 1),
    'ndcg': np.sum(relevant * gains, axis=1) / np.where(best > 0, ideal, 1.0),
    'mrr': 1 / first,
  }
