"""What a cascade's policies did, summed up over splits of the queries."""

from collections.abc import Sequence

import numpy as np

from mrl_jax import intervals
from mrl_jax.shapes import Bool, Float, Int


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


def _deviation(values: Sequence[float]) -> float:
  """Sample standard deviation over splits; 0 for one split."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
