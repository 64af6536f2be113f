"""Which store to deploy: the cheapest that keeps enough of the quality."""

import math

import numpy as np

from mrl_jax import intervals
from mrl_jax.shapes import Bool, Float

SLACK = 0.01  # how far below what is to be kept an interval may reach
HOW = (
  'The recommendation takes the fewest bytes that surely, by their 95% '
  'interval, keep {:.0%} on one half of the queries; its numbers are of the '
  'other half.'
)


def share_kept(
  values: Float[np.ndarray, 'q'], full: Float[np.ndarray, 'q']
) -> tuple[float, float, float]:
  """(ratio of the means, its 95% interval) over the same queries.

  Hits are paired; NaN if `full` has none. Shares, whose full quality is 1, are
  what is kept.
  """
  if values.dtype != bool:
    low, high = intervals.mean(values)
    return float(np.mean(values)) if len(values) else math.nan, low, high
  both = int(np.sum(values & full))
  first, second = int(np.sum(values & ~full)), int(np.sum(full & ~values))
  low, high = intervals.paired_ratio(both, first, second)
  right = both + second
  kept = (both + first) / right if right else math.nan
  return kept, low, min(high, float(len(values)))


def cheapest(
  points: list[dict],
  values: Bool[np.ndarray, 'p q'] | Float[np.ndarray, 'p q'],
  metric: str,
  keep: float,
  seed: int,
) -> dict:
  """The cheapest point that keeps enough, chosen and told on other queries.

  On a random half of the queries: fewest bytes, all that is stored counted,
  whose lower bound of `kept` is at least keep - SLACK; float32 at full width
  if there is none. Its numbers are of the other half; `how` says all that.
  """
  full = max(i for i, p in enumerate(points) if p['precision'] == 'float32')
  order = np.random.default_rng(seed).permutation(values.shape[1])
  choosing, told = order[: len(order) // 2], order[len(order) // 2 :]
  by_bytes = sorted(range(len(points)), key=lambda i: points[i]['bytes_all'])
  chosen = next(
    (
      i
      for i in by_bytes
      if share_kept(values[i, choosing], values[full, choosing])[1]
      >= keep - SLACK
    ),
    full,
  )
  kept, low, high = share_kept(values[chosen, told], values[full, told])
  point, name = points[chosen], 'top-1' if metric == 'top1' else metric
  result = {
    'metric': name,
    'dim': point['dim'],
    'precision': point['precision'],
    'bytes': point['bytes_all'],
    'full_bytes': points[full]['bytes_all'],
    'kept': None if math.isnan(kept) else kept,
    'kept_low': low,
    'kept_high': high,
    'n': len(told),
    'how': HOW.format(keep - SLACK),
  }
  if chosen == full or math.isnan(kept):
    text = (
      f'nothing smaller than {point["dim"]} dims in float32 surely keeps '
      f'{keep - SLACK:.0%} of {name}'
    )
  else:
    text = _sentence(result)
  return result | {'text': text}


def _sentence(result: dict) -> str:
  kept, low, high = (
    f'{100 * result[key]:.1f}' for key in ('kept', 'kept_low', 'kept_high')
  )
  times = f'{result["full_bytes"] / result["bytes"]:.1f}'.removesuffix('.0')
  return (
    f'{result["dim"]} dims in {result["precision"].replace("_", " ")} keep '
    f'{kept}% ({low} to {high}) of {result["metric"]} at 1/{times} of the bytes'
  )
