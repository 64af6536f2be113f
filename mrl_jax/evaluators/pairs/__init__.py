"""`pairs`: do cosines follow the scores that people gave to pairs?"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mrl_jax import correlation, intervals, rows
from mrl_jax.embed import quantise, reductions
from mrl_jax.embed.scored import Scored
from mrl_jax.evaluators import options
from mrl_jax.evaluators.pairs import cosines, decision
from mrl_jax.shapes import Float

MEASURES = {
  'spearman': correlation.spearman,
  'pearson': correlation.pearson,
}
RANDOM = {
  'random_subset': reductions.random_coordinates,
  'random_rotation': reductions.random_rotation,
}
DIFFERENCE = 'difference', 'difference_low', 'difference_high'
RIVALS = ('random_subset', 'random_rotation', 'pca')  # of the prefix

Values = Float[np.ndarray, 's g p']  # of draws, dims and pairs


class ScoredPairs:
  """Correlations of the cosines of pairs with their scores, per dimension.

  Rows: 'spearman' and 'pearson'; ties have mid-ranks. Without a variant they
  are of the prefix, keep a value per pair (see correlation.py) and say by how
  much they differ from full width over the same pairs (`difference`, with its
  95% interval `difference_low` to `difference_high`). Variants:
  'pca', fitted on the distinct texts that are judged, both sides together (so
  it flatters PCA); 'random_subset' and 'random_rotation', means over seeds,
  their interval is about pairs. Pairs are taken as independent.

  Details: by how much the prefix differs from its rivals over the same pairs,
  and the cheapest store whose Spearman is surely at least `keep` of that of
  full width (decision.py).

  Args:
    keep: share of Spearman's correlation at full width to be kept.
    rows: texts that will be stored; matrices and ranges are spread over them.
    seeds: of each random reduction, and first of the halves of the pairs.
    clip: share of the values at each end that int8 clips.
    centre: of the sign bit: 'mean', or 'zero'.
  """

  needs = ('pairs',)
  metrics = ('spearman', 'pearson')

  def __init__(
    self,
    keep: float = 0.95,
    rows: int = 100000,
    seeds: int = 4,
    clip: float = 0.001,
    centre: str = 'mean',
    seed: int = 0,
  ):
    options.at_least(1, rows=rows, seeds=seeds)
    if not 0 < keep <= 1:
      raise ValueError(f'keep={keep} must be a share above 0, at most 1')
    quantise.check_ranges(clip, centre)
    self.keep, self.rows, self.seeds, self.seed = keep, rows, seeds, seed
    self.clip, self.centre = clip, centre

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    pairs, dims = evidence.functions['pairs'](), evidence.dims
    texts = cosines.distinct(pairs)
    results, spearman = [], {}
    for way, maps in self._ways(texts):
      near = [cosines.of_pairs(pairs, dims, reduce) for reduce in maps]
      for metric, measure in MEASURES.items():
        values = _correlated(measure, near, pairs)
        results += _rows(metric, way, dims, values)
        if metric == 'spearman':
          spearman[way] = values
    details = {
      'pairs': len(pairs),
      'texts': len(texts),
      'seeds': self.seeds,
      'nested': _nested(spearman, dims),
    }
    return results, details | decision.decided(pairs, dims, self)

  def _ways(self, texts) -> Iterator[tuple[str, list[Callable]]]:
    """(name, its reductions)."""
    yield 'prefix', [lambda z: z]
    yield 'pca', [reductions.pca(texts)]
    for name, make in RANDOM.items():
      seeds = range(self.seed, self.seed + self.seeds)
      yield name, [make(texts.shape[1], seed) for seed in seeds]


def _correlated(measure, near: Sequence, pairs: Scored) -> Values:
  """A value per draw, dim and pair: the mean over pairs is the correlation."""
  return np.stack(
    [[measure(of_dim, pairs.scores) for of_dim in draw] for draw in near]
  )


def _rows(metric, way, dims, values: Values) -> list[rows.Row]:
  """A row per dim: the mean over draws."""
  results = []
  for g, m in enumerate(dims):
    mean = values[:, g].mean(axis=0)
    extra = {'variant': way}
    if way == 'prefix':
      extra = {'per_query': mean}
      if m < dims[-1]:
        apart = _difference(values[:, g] - values[:, -1])
        extra |= dict(zip(DIFFERENCE, apart.values()))
    if way in RANDOM:
      spread = float(np.std(values[:, g].mean(axis=1)))
      extra |= {'seeds': len(values), 'spread': spread}
    interval = correlation.fisher(mean)
    results.append(
      rows.make('pairs', metric, m, mean.mean(), interval, len(mean), **extra)
    )
  return results


def _nested(spearman, dims) -> dict:
  """By how much the prefix is better than its rivals, per dim."""
  ours = spearman['prefix'][0]
  return {
    'metric': 'spearman',
    'width': dims[-1],
    'by': {
      rival: [
        {'dim': m, **_difference(ours[g] - spearman[rival][:, g])}
        for g, m in enumerate(dims[:-1])
      ]
      for rival in RIVALS
    },
  }


def _difference(differences: Float[np.ndarray, 's p']) -> dict[str, float]:
  """Their mean and its 95% interval over pairs and draws."""
  ends = intervals.paired_difference(differences.mean(axis=0), most=2)
  low, high = intervals.of_draws(differences.mean(axis=1), *ends)
  return {'value': float(differences.mean()), 'low': low, 'high': high}
