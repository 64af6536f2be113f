"""`cosine`: how far pairs of one class stand from pairs of two."""

import math

import numpy as np

from mrl_jax import intervals, nested, rows
from mrl_jax.evaluators import options
from mrl_jax.shapes import Float, Int

BINS = 50
PAIRS_AT_ONCE = 4096


class Cosine:
  """Cosines of query and database pairs, and how well they separate classes.

  Rows: 'positive' and 'negative', the mean cosine of pairs of one class and of
  two; 'separation', the probability that the first exceeds the second (area
  under the ROC curve, ties count half). Pairs share queries and rows, so
  intervals sum each one's influence first: they are about other queries and
  rows. Where there is no pair of a kind, its rows are left out.

  Args:
    pairs: of each kind, drawn with replacement; only their rows are read.
  """

  needs = ('labels',)
  metrics = ('positive', 'negative', 'separation')

  def __init__(self, pairs: int = 20000, seed: int = 0):
    options.at_least(2, pairs=pairs)
    self.pairs, self.seed = pairs, seed

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    queries, database, dims = evidence.queries, evidence.database, evidence.dims
    random = np.random.default_rng(self.seed)
    pairs = draw_pairs(random, queries.labels, database.labels, self.pairs)
    pairs = {kind: both for kind, both in pairs.items() if len(both[0])}
    cosines = {
      kind: prefix_cosines(queries, database, both, dims)
      for kind, both in pairs.items()
    }
    results = [
      rows.make('cosine', kind, m, *_mean(values, pairs[kind]), len(values))
      for kind, by_dim in cosines.items()
      for m, values in zip(dims, by_dim)
    ]
    if len(cosines) == 2:
      for m, positive, negative in zip(dims, *cosines.values()):
        value, interval = separation(positive, negative, *pairs.values())
        results.append(
          rows.make('cosine', 'separation', m, value, interval, self.pairs)
        )
    return results, _histograms(cosines, dims)


def _histograms(cosines, dims) -> dict:
  """Counts per kind and dim, over equal bins from -1 to 1."""
  edges = np.linspace(-1, 1, BINS + 1)
  return {
    'dims': list(dims),
    'edges': edges.tolist(),
    'histograms': {
      kind: [np.histogram(values, edges)[0].tolist() for values in by_dim]
      for kind, by_dim in cosines.items()
    },
  }


def draw_pairs(
  random: np.random.Generator,
  asked: Int[np.ndarray, 'q'],
  labels: Int[np.ndarray, 'r'],
  count: int,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """(queries, rows) of `count` pairs per kind; empty if there is no such pair.

  A query is drawn among those that have such a row, then one of its rows.
  """
  order = np.argsort(labels, kind='stable')
  ranked = labels[order]
  first = np.searchsorted(ranked, asked, side='left')
  same = np.searchsorted(ranked, asked, side='right') - first
  pairs = {}
  for kind, choices in (('positive', same), ('negative', len(labels) - same)):
    able = np.flatnonzero(choices > 0)
    if not len(able):
      pairs[kind] = (able, able)
      continue
    query = random.choice(able, count)
    place = random.integers(choices[query])
    if kind == 'positive':
      place = place + first[query]
    else:  # places of the query's own class are stepped over
      place = place + np.where(place >= first[query], same[query], 0)
    pairs[kind] = (query, order[place])
  return pairs


def prefix_cosines(queries, database, pairs, dims) -> Float[np.ndarray, 'g p']:
  """The cosine of each pair at each dim; 0 where a prefix is zero."""
  query, row = pairs
  cosines = np.empty((len(dims), len(query)))
  for start in range(0, len(query), PAIRS_AT_ONCE):
    span = slice(start, start + PAIRS_AT_ONCE)
    left = np.asarray(queries.embeddings[query[span]], np.float64)
    right = np.asarray(database.embeddings[row[span]], np.float64)
    for g, m in enumerate(dims):
      cosines[g, span] = np.vecdot(nested.unit(left, m), nested.unit(right, m))
  return np.clip(cosines, -1, 1)


def _deviation(influences) -> float:
  """Standard error of a sum of influences [(influence [p], pairs), ...].

  Influences of one query are summed before they are squared, so are those of
  one row, and what both count is taken off once: two-way clustering (Cameron,
  Gelbach and Miller, 2011).
  """
  total = -sum(np.sum(influence**2) for influence, _ in influences)
  for side in (0, 1):
    ids = np.concatenate([pairs[side] for _, pairs in influences])
    values = np.concatenate([influence for influence, _ in influences])
    total += np.sum(np.bincount(ids, values) ** 2)
  return math.sqrt(max(total, 0.0))


def _mean(values: Float[np.ndarray, 'p'], pairs) -> tuple:
  """(mean, its 95% interval) of a value per pair."""
  mean = float(np.mean(values))
  half = intervals.Z * _deviation([((values - mean) / len(values), pairs)])
  return mean, (mean - half, mean + half)


def separation(
  positive: Float[np.ndarray, 'i'],
  negative: Float[np.ndarray, 'j'],
  positive_pairs,
  negative_pairs,
) -> tuple[float, tuple[float, float]]:
  """(area under the ROC curve, 95% interval).

  Each value's placement is the share of the other kind on its right side
  (DeLong, DeLong and Clarke-Pearson, 1988). The interval is no narrower than
  that of pairs that share nothing, whose squared halves are added, so it
  never has width 0.
  """
  from scipy import stats

  ranks = stats.rankdata(np.concatenate([positive, negative]))
  i, j = len(positive), len(negative)
  above = (ranks[:i] - stats.rankdata(positive)) / j
  below = 1 - (ranks[i:] - stats.rankdata(negative)) / i
  area = float(above.mean())
  half = intervals.Z * _deviation(
    [
      ((above - area) / i, positive_pairs),
      ((below - area) / j, negative_pairs),
    ]
  )
  ends = [intervals.mean(placements) for placements in (above, below)]
  low = max(half, math.hypot(*(area - end[0] for end in ends)))
  high = max(half, math.hypot(*(end[1] - area for end in ends)))
  return area, (max(0.0, area - low), min(1.0, area + high))
