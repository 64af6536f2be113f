"""`cascade`: adaptive classification, small prefixes first.

A query is answered by the smallest prefix that is sure enough
(arXiv:2205.13147, section 4.2.1); the thresholds are chosen on some of the
queries and everything is reported on the others.
"""

import math
from collections.abc import Sequence

import numpy as np

from mrl_jax import intervals, rows
from mrl_jax.embed import thresholds
from mrl_jax.shapes import Bool, Float, Int


class Cascade:
  """Accuracy and expected dimension of four ways to choose thresholds.

  Rows are `top1` at the full width, one per policy (`variant`):
  `paper`, `conditional`, `joint<target>` (expected dimension at most the
  target) and `risk<share>` (of the queries the full width gets right, at most
  this share of all is lost); see embed/thresholds.py. The value is the mean
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
    if splits < 1 or grid < 2:
      raise ValueError(
        f'splits={splits} must be at least 1 and grid={grid} at least 2'
      )
    for name, value in (
      ('share', share),
      ('confidence', confidence),
      *(('risk', value) for value in risk),
    ):
      if not 0 < value < 1:
        raise ValueError(f'{name}={value} must be above 0 and below 1')
    if any(target != int(target) or target < 1 for target in targets):
      raise ValueError(
        f'targets={tuple(targets)} must be whole numbers of dimensions above 0'
      )
    self.splits, self.share, self.seed = splits, share, seed
    self.grid = np.linspace(0, 1, grid)
    self.targets = tuple(int(target) for target in targets)
    self.risk, self.confidence = tuple(risk), confidence

  def run(self, evidence) -> tuple[list[dict], dict]:
    dims = tuple(m for m in evidence.dims if m in evidence.trained)
    answers = evidence.answers.at(dims or evidence.dims)
    dims, right, count = answers.dims, answers.right, len(answers.labels)
    if count < 2:
      return [], {'text': 'a cascade needs two queries: to tune, to report'}
    levels = thresholds.levels_of(answers.confidence, self.grid)
    tally = Tally(dims, right)
    for seed in range(self.splits):
      tuned, reported = split(count, self.share, (self.seed, seed))
      chosen = self.policies(dims, levels[:, tuned], right[:, tuned])
      for policy, found in chosen.items():
        left = thresholds.exits(levels[:, reported], found)
        tally.add(policy, reported, left, self.grid[found])
    points = [tally.point(policy) for policy in tally.policies]
    fixed = [tally.fixed(g) for g in range(len(dims))]
    rows = [row(dims[-1], point, self.splits) for point in points]
    deployed = self.policies(dims, levels, right)
    texts = self.texts(dims, points, fixed[-1], len(tuned))
    details = {
      'text': texts[0] if texts else '',
      'texts': texts,
      'by': answers.by,
      'dims': list(dims),
      'splits': self.splits,
      'tuned_on': len(tuned),
      'reported_on': len(reported),
      'frontier': [without(point, 'thresholds') for point in points],
      'fixed': fixed,
      'thresholds': {p['policy']: p['thresholds'] for p in points},
      # Chosen on all queries, to be used elsewhere: nothing here reports them.
      'to_deploy': {
        policy: self.grid[found].tolist() for policy, found in deployed.items()
      },
    }
    return rows, details

  def policies(
    self,
    dims: Sequence[int],
    levels: Int[np.ndarray, 'g-1 q'],
    right: Bool[np.ndarray, 'g q'],
  ) -> dict[str, Int[np.ndarray, 'g-1']]:
    """Every policy's thresholds, indices of the grid, from these examples."""
    size = len(self.grid)
    targets = self.targets or halves(dims[0], dims[-1])
    joint = thresholds.joint(levels, right, dims, targets, size)
    return {
      'paper': thresholds.paper(levels, right, size),
      'conditional': thresholds.conditional(levels, right, size),
      **{f'joint{target}': chosen for target, chosen in joint.items()},
      **{
        f'risk{risk:g}': thresholds.controlled(
          levels, right, risk, self.confidence, size
        )
        for risk in self.risk
      },
    }

  def texts(self, dims, points, full, tuned: int) -> list[str]:
    """A sentence per risk, first the strictest under which queries leave."""
    by_policy = {point['policy']: point for point in points}
    early, late, least = [], [], []
    for risk in sorted(self.risk):
      point = by_policy[f'risk{risk:g}']
      used = f'{point["expected_dim"]:.1f} of {dims[-1]} dimensions on average'
      said = (
        f'Risk-controlled: with {used} it is right on '
        f'{percent(point)}, against {percent(full)} with all; at most '
        f'{100 * risk:g}% of all queries are lost, at {self.confidence:.0%} '
        'confidence.'
      )
      if point['expected_dim'] < dims[-1]:
        early.append(said)
        continue
      late.append(f'{100 * risk:g}%')
      few = math.ceil(math.log(1 - self.confidence) / math.log(1 - risk))
      if tuned < few:
        least.append(f'{few} for {late[-1]}')
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
    seen = self.policies[policy]
    tried = np.cumsum(self.dims)
    hits = [self.right[left, reported] for reported, left, _ in seen]
    accuracy = [np.mean(hit) for hit in hits]
    width = [np.mean(self.dims[left]) for _, left, _ in seen]
    missed = [
      np.mean(self.right[-1, reported] & ~hit)
      for (reported, _, _), hit in zip(seen, hits)
    ]
    low, high, n = self.interval(policy, hits)
    return {
      'policy': policy,
      'expected_dim': float(np.mean(width)),
      'expected_dim_deviation': deviation(width),
      'cumulative': float(np.mean([np.mean(tried[x]) for _, x, _ in seen])),
      'accuracy': float(np.mean(accuracy)),
      'deviation': deviation(accuracy),
      'low': low,
      'high': high,
      'n': n,
      'lost': float(np.mean(missed)),
      'thresholds': np.mean([cuts for _, _, cuts in seen], axis=0).tolist(),
    }

  def fixed(self, g: int) -> dict:
    """Prefix g alone on the same reported examples."""
    seen = next(iter(self.policies.values()))
    policy = next(iter(self.policies))
    hits = [self.right[g, reported] for reported, _, _ in seen]
    low, high, _ = self.interval(policy, hits)
    value = float(np.mean([np.mean(hit) for hit in hits]))
    m = int(self.dims[g])
    return {'dim': m, 'accuracy': value, 'low': low, 'high': high}

  def interval(self, policy: str, hits: list) -> tuple[float, float, int]:
    """(low, high, queries) from each query's mean over its reports."""
    total, times = np.zeros((2, self.right.shape[1]))
    for (reported, _, _), hit in zip(self.policies[policy], hits):
      total[reported] += hit
      times[reported] += 1
    there = times > 0
    low, high = intervals.mean(total[there] / times[there])
    return float(low), float(high), int(np.sum(there))


def split(count: int, share: float, seed: Sequence[int]) -> tuple:
  """(rows to tune on, rows to report): random, at least one of each."""
  order = np.random.default_rng(seed).permutation(count)
  tuned = min(max(round(share * count), 1), count - 1)
  return order[:tuned], order[tuned:]


def halves(smallest: int, width: int) -> tuple[int, ...]:
  """width // 2, width // 4, ... as long as they are above `smallest`."""
  found = [width // 2]
  while found[-1] > smallest:
    found.append(found[-1] // 2)
  return tuple(reversed(found[:-1]))


def row(width: int, point: dict, splits: int) -> dict:
  """A point as a result row."""
  return rows.make(
    'cascade',
    'top1',
    width,
    point['accuracy'],
    (point['low'], point['high']),
    point['n'],
    variant=point['policy'],
    expected_dim=round(point['expected_dim'], 2),
    expected_dim_deviation=point['expected_dim_deviation'],
    deviation=point['deviation'],
    cumulative=point['cumulative'],
    lost=point['lost'],
    splits=splits,
  )


def deviation(values: Sequence[float]) -> float:
  """Sample standard deviation over splits; 0 for one split."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def percent(point: dict) -> str:
  """An accuracy for people: 85.1% (84.0 to 86.1)."""
  low, high = 100 * point['low'], 100 * point['high']
  return f'{100 * point["accuracy"]:.1f}% ({low:.1f} to {high:.1f})'


def without(point: dict, key: str) -> dict:
  return {name: value for name, value in point.items() if name != key}
