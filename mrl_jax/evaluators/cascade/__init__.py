"""`cascade`: adaptive classification, small prefixes first.

A query is answered by the smallest prefix that is sure enough
(arXiv:2205.13147, section 4.2.1); the thresholds are chosen on some of the
queries and everything is reported on the others.
"""

import math
from collections.abc import Sequence

import numpy as np

from mrl_jax import errors, intervals, rows
from mrl_jax.evaluators import options
from mrl_jax.evaluators.cascade import thresholds
from mrl_jax.shapes import Bool, Float, Int


class Cascade:
  """Accuracy and expected dimension of four ways to choose thresholds.

  Rows are `top1` at the full width, one per policy (`variant`):
  `paper`, `conditional`, `joint<target>` (expected dimension at most the
  target) and `risk<share>` (of the queries the full width gets right, at most
  this share of all is lost); see thresholds.py. The value is the mean
  over splits, the interval that of the queries' means over the splits that
  report them. It bounds the accuracy of the thresholds that were found; how
  far others would be from them, `deviation` says. `expected_dim` is the mean
  dimension of the answer given, `cumulative` the mean sum of all dimensions
  tried for it, deviations are over splits.

  Args:
    splits: random splits of the queries.
    share: of the queries, to choose thresholds on (paper: 10K of 50K).
    grid: values in [0, 1] a threshold may take.
    targets: expected dimensions of `joint`; () for the width's halves that
      are above the smallest trained dim.
    risk: shares of queries that may be lost.
    confidence: with which each risk is kept, on its own.
    seed: of the splits.
  """

  needs = ('labels',)
  metrics = ()

  def __init__(
    self,
    splits: int = 30,
    share: float = 0.2,
    grid: int = 100,
    targets: Sequence[int] = (),
    risk: Sequence[float] = (0.005, 0.01, 0.02),
    confidence: float = 0.9,
    seed: int = 0,
  ):
    options.at_least(1, splits=splits)
    options.at_least(2, grid=grid)
    options.between_0_and_1(share=share, confidence=confidence)
    for value in risk:
      options.between_0_and_1(risk=value)
    self.splits, self.share, self.seed = splits, share, seed
    self.grid = np.linspace(0, 1, grid)
    self.targets = options.whole_numbers('targets', targets)
    self.risk, self.confidence = tuple(risk), confidence

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    dims = tuple(m for m in evidence.dims if m in evidence.trained)
    answers = evidence.answers.at(dims or evidence.dims)
    dims, right, count = answers.dims, answers.right, len(answers.labels)
    if count < 2:
      return [], {'text': 'a cascade needs two queries: to tune, to report'}
    self._check_targets(dims)
    levels = thresholds.levels_of(answers.confidence, self.grid)
    tally = Tally(dims, right)
    for seed in range(self.splits):
      tuned, reported = tuning_split(count, self.share, (self.seed, seed))
      tuning = thresholds.Tuning(
        dims, levels[:, tuned], right[:, tuned], len(self.grid)
      )
      for policy, cutoffs in self._policies(tuning).items():
        left = thresholds.exits(levels[:, reported], cutoffs)
        tally.add(policy, reported, left, self.grid[cutoffs])
    points = [tally.point(policy) for policy in tally.policies]
    fixed = [tally.fixed(g) for g in range(len(dims))]
    texts = self._texts(dims, points, fixed[-1], len(tuned))
    deployed = self._policies(
      thresholds.Tuning(dims, levels, right, len(self.grid))
    )
    details = {
      'text': texts[0] if texts else '',
      'texts': texts,
      'by': answers.by,
      'dims': list(dims),
      'splits': self.splits,
      'tuned_on': len(tuned),
      'reported_on': len(reported),
      'frontier': [
        {key: value for key, value in point.items() if key != 'thresholds'}
        for point in points
      ],
      'fixed': fixed,
      'thresholds': {p['policy']: p['thresholds'] for p in points},
      # Chosen on all queries, to be used elsewhere: nothing here reports them.
      'to_deploy': {
        policy: self.grid[cutoffs].tolist()
        for policy, cutoffs in deployed.items()
      },
    }
    return [_row(dims[-1], point, self.splits) for point in points], details

  def _check_targets(self, dims: Sequence[int]) -> None:
    if self.targets and self.targets[0] < dims[0]:
      raise errors.UsageError(
        f'eval.cascade.targets={self.targets}: {self.targets[0]} is below '
        f'{dims[0]}, the smallest trained dim; name targets from there to '
        f'{dims[-1]}'
      )

  def _policies(
    self, tuning: thresholds.Tuning
  ) -> dict[str, Int[np.ndarray, 'g-1']]:
    """Every policy's thresholds, indices of the grid, from these examples."""
    dims = tuning.dims
    joint = thresholds.joint(tuning, self.targets or halves(dims[0], dims[-1]))
    return {
      'paper': thresholds.paper(tuning),
      'conditional': thresholds.conditional(tuning),
      **{f'joint{target}': cutoffs for target, cutoffs in joint.items()},
      **{
        f'risk{risk:g}': thresholds.controlled(tuning, risk, self.confidence)
        for risk in self.risk
      },
    }

  def _texts(self, dims, points, full, tuned: int) -> list[str]:
    """A sentence per risk, first the strictest under which queries leave."""
    by_policy = {point['policy']: point for point in points}
    early, late, least = [], [], []
    for risk in sorted(self.risk):
      point = by_policy[f'risk{risk:g}']
      if point['expected_dim'] < dims[-1]:
        early.append(
          f'Risk-controlled: with {point["expected_dim"]:.1f} of {dims[-1]} '
          f'dimensions on average it is right on {_percent(point)}, against '
          f'{_percent(full)} with all; at most {100 * risk:g}% of all queries '
          f'are lost, at {self.confidence:.0%} confidence.'
        )
        continue
      late.append(f'{100 * risk:g}%')
      fewest = math.ceil(math.log(1 - self.confidence) / math.log(1 - risk))
      if tuned < fewest:
        least.append(f'{fewest} for {late[-1]}')
    if not late:
      return early
    why = f' It takes at least {", ".join(least)}.' if least else ''
    return [
      *early,
      f'Risk-controlled: {tuned} tuning examples do not show that leaving '
      f'early loses at most {" or ".join(late)}, so all {dims[-1]} dimensions '
      f'are used there.{why}',
    ]


class Tally:
  """What the policies did on the reported examples of all splits."""

  def __init__(self, dims: Sequence[int], right: Bool[np.ndarray, 'g q']):
    self.dims, self.right = np.asarray(dims), right
    self.policies: dict[str, list[tuple]] = {}

  def add(
    self,
    policy: str,
    reported: Int[np.ndarray, 'q'],
    left: Int[np.ndarray, 'q'],
    cuts: Float[np.ndarray, 'g-1'],
  ) -> None:
    """One split: which queries, where each left, under which thresholds."""
    self.policies.setdefault(policy, []).append((reported, left, cuts))

  def point(self, policy: str) -> dict:
    """Means, deviations and the interval of one policy."""
    splits = self.policies[policy]
    tried = np.cumsum(self.dims)
    hits = [self.right[left, reported] for reported, left, _ in splits]
    accuracy = [np.mean(hit) for hit in hits]
    width = [np.mean(self.dims[left]) for _, left, _ in splits]
    missed = [
      np.mean(self.right[-1, reported] & ~hit)
      for (reported, _, _), hit in zip(splits, hits)
    ]
    low, high, n = self._interval(policy, hits)
    return {
      'policy': policy,
      'expected_dim': float(np.mean(width)),
      'expected_dim_deviation': _deviation(width),
      'cumulative': float(np.mean([np.mean(tried[x]) for _, x, _ in splits])),
      'accuracy': float(np.mean(accuracy)),
      'deviation': _deviation(accuracy),
      'low': low,
      'high': high,
      'n': n,
      'lost': float(np.mean(missed)),
      'thresholds': np.mean([cuts for _, _, cuts in splits], axis=0).tolist(),
    }

  def fixed(self, g: int) -> dict:
    """Prefix g alone on the same reported examples."""
    policy, splits = next(iter(self.policies.items()))
    hits = [self.right[g, reported] for reported, _, _ in splits]
    low, high, _ = self._interval(policy, hits)
    value = float(np.mean([np.mean(hit) for hit in hits]))
    m = int(self.dims[g])
    return {'dim': m, 'accuracy': value, 'low': low, 'high': high}

  def _interval(self, policy: str, hits: list) -> tuple[float, float, int]:
    """(low, high, queries) from each query's mean over its reports."""
    total, times = np.zeros((2, self.right.shape[1]))
    for (reported, _, _), hit in zip(self.policies[policy], hits):
      total[reported] += hit
      times[reported] += 1
    reported = times > 0
    low, high = intervals.mean(total[reported] / times[reported])
    return float(low), float(high), int(np.sum(reported))


def tuning_split(count: int, share: float, seed: Sequence[int]) -> tuple:
  """(rows to tune on, rows to report): random, at least one of each."""
  order = np.random.default_rng(seed).permutation(count)
  tuned = min(max(round(share * count), 1), count - 1)
  return order[:tuned], order[tuned:]


def halves(smallest: int, width: int) -> tuple[int, ...]:
  """width // 2, width // 4, ... as long as they are above `smallest`."""
  dims = [width // 2]
  while dims[-1] > smallest:
    dims.append(dims[-1] // 2)
  return tuple(reversed(dims[:-1]))


def _row(width: int, point: dict, splits: int) -> rows.Row:
  """A point as a result row."""
  kept = ('expected_dim_deviation', 'deviation', 'cumulative', 'lost')
  return rows.make(
    'cascade',
    'top1',
    width,
    point['accuracy'],
    (point['low'], point['high']),
    point['n'],
    variant=point['policy'],
    expected_dim=round(point['expected_dim'], 2),
    splits=splits,
    **{key: point[key] for key in kept},
  )


def _percent(point: dict) -> str:
  """An accuracy for people: 85.1% (84.0 to 86.1)."""
  low, high = 100 * point['low'], 100 * point['high']
  return f'{100 * point["accuracy"]:.1f}% ({low:.1f} to {high:.1f})'


def _deviation(values: Sequence[float]) -> float:
  """Sample standard deviation over splits; 0 for one split."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
