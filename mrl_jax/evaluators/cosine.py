"""`cosine`: how far pairs of one class stand from pairs of two."""

import math

import numpy as np

from mrl_jax import metrics
from mrl_jax.shapes import Float, Int

BINS = 50


class Cosine:
  """Cosines of query and database pairs, and how well they separate classes.

  Rows: 'positive' and 'random', the mean cosine of pairs of one class and of
  two; 'separation', the probability that the first exceeds the second (area
  under the ROC curve, ties count half). Intervals are about the draw of the
  pairs out of all queries and rows. Where there is no pair of a kind, its
  rows are left out.

  Args:
    pairs: of each kind, drawn with replacement; only their rows are read.
  """

  needs = ('labels',)
  metrics = ('positive', 'random', 'separation')

  def __init__(self, pairs: int = 20000, seed: int = 0):
    if pairs < 2:
      raise ValueError(f'pairs={pairs} must be at least 2')
    self.pairs, self.seed = pairs, seed

  def run(self, evidence) -> tuple[list[dict], dict]:
    queries, database = evidence.queries, evidence.database
    random = np.random.default_rng(self.seed)
    kinds = {
      name: prefix_cosines(queries, database, chosen, evidence.dims)
      for name, chosen in draw_pairs(
        random, queries.labels, database.labels, self.pairs
      ).items()
      if len(chosen[0])
    }
    rows = [
      metrics.row('cosine', name, m, *normal_mean(values), len(values))
      for name, found in kinds.items()
      for m, values in zip(evidence.dims, found)
    ]
    if len(kinds) == 2:
      for g, m in enumerate(evidence.dims):
        value, interval = separation(kinds['positive'][g], kinds['random'][g])
        rows.append(
          metrics.row('cosine', 'separation', m, value, interval, self.pairs)
        )
    return rows, histograms(kinds, evidence.dims)


def histograms(kinds, dims) -> dict:
  """Counts per kind and dim, over equal bins from -1 to 1."""
  edges = np.linspace(-1, 1, BINS + 1)
  return {
    'dims': list(dims),
    'edges': edges.tolist(),
    'histograms': {
      name: [np.histogram(np.clip(c, -1, 1), edges)[0].tolist() for c in found]
      for name, found in kinds.items()
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
  for kind, choices in (('positive', same), ('random', len(labels) - same)):
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
  found = []
  for query, row in zip(
    *(np.array_split(p, len(p) // 4096 + 1) for p in pairs)
  ):
    one = np.asarray(queries.embeddings[query], np.float64)
    two = np.asarray(database.embeddings[row], np.float64)
    sums = [
      np.cumsum(product, axis=1)[:, np.asarray(dims) - 1]
      for product in (one * two, one * one, two * two)
    ]
    lengths = np.sqrt(sums[1] * sums[2])
    cosine = sums[0] / np.where(lengths > 0, lengths, 1)
    found.append(np.clip(cosine.T, -1, 1))
  return np.concatenate(found, axis=1)


def normal_mean(values: Float[np.ndarray, 'p']) -> tuple[float, tuple]:
  """(mean, its 95% interval by normal approximation)."""
  mean = float(np.mean(values))
  half = 1.959964 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
  return mean, (mean - half, mean + half)


def separation(
  positive: Float[np.ndarray, 'i'], random: Float[np.ndarray, 'j']
) -> tuple[float, tuple[float, float]]:
  """(area under the ROC curve, 95% interval).

  Each value's placement is the share of the other kind on its right side
  (DeLong, DeLong and Clarke-Pearson, 1988); the intervals of the two mean
  placements are squared and added, so that it never has width 0.
  """
  from scipy import stats

  ranks = stats.rankdata(np.concatenate([positive, random]))
  i, j = len(positive), len(random)
  above = (ranks[:i] - stats.rankdata(positive)) / j
  below = 1 - (ranks[i:] - stats.rankdata(random)) / i
  area = float(above.mean())
  ends = [metrics.mean_interval(part) for part in (above, below)]
  low = math.hypot(*(area - end[0] for end in ends))
  high = math.hypot(*(end[1] - area for end in ends))
  return area, (max(0.0, area - low), min(1.0, area + high))
