"""Which store to deploy: the cheapest that keeps enough of the quality."""

import math

import numpy as np

from mrl_jax import intervals
from mrl_jax.shapes import Bool, Float

SLACK = 0.01  # how far below what is to be kept an interval may reach


def share_kept(
  own: Float[np.ndarray, 'q'], full: Float[np.ndarray, 'q']
) -> tuple[float, float, float]:
  """(ratio of the means, its 95% interval) over the same queries.

  Hits are paired; NaN if `full` has none. Shares, whose full quality is 1, are
  what is kept.
  """
  if own.dtype != bool:
    low, high = intervals.mean(own)
    return float(np.mean(own)) if len(own) else math.nan, low, high
  both = int(np.sum(own & full))
  first, second = int(np.sum(own & ~full)), int(np.sum(full & ~own))
  low, high = intervals.paired_ratio(both, first, second)
  right = both + second
  kept = (both + first) / right if right else math.nan
  return kept, low, min(high, float(len(own)))


def front(points: list[tuple[int, float]]) -> list[int]:
  """Indices that no other point beats: fewer bytes or better, by bytes."""
  best, chosen = -np.inf, []
  for index in sorted(
    range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)
  ):
    if points[index][1] > best:
      best = points[index][1]
      chosen.append(index)
  return chosen


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
  full = next(
    i
    for i, p in reversed(list(enumerate(points)))
    if p['precision'] == 'float32'
  )
  order = np.random.default_rng(seed).permutation(values.shape[1])
  one, two = order[: len(order) // 2], order[len(order) // 2 :]
  chosen = full
  for i in sorted(range(len(points)), key=lambda i: points[i]['bytes_all']):
    low = share_kept(values[i, one], values[full, one])[1]
    if low >= keep - SLACK:
      chosen = i
      break
  kept, low, high = share_kept(values[chosen, two], values[full, two])
  point, most = points[chosen], points[full]['bytes_all']
  name = 'top-1' if metric == 'top1' else metric
  times = f'{most / point["bytes_all"]:.1f}'.removesuffix('.0')
  precision = point['precision'].replace('_', ' ')
  text = (
    f'{point["dim"]} dims in {precision} keep {100 * kept:.1f}% '
    f'({100 * low:.1f} to {100 * high:.1f}) of {name} at 1/{times} of the bytes'
  )
  if chosen == full or math.isnan(kept):
    text = (
      f'nothing smaller than {point["dim"]} dims in float32 surely keeps '
      f'{keep - SLACK:.0%} of {name}'
    )
  return {
    'metric': name,
    'dim': point['dim'],
    'precision': point['precision'],
    'bytes': point['bytes_all'],
    'full_bytes': most,
    'kept': None if math.isnan(kept) else kept,
    'kept_low': low,
    'kept_high': high,
    'n': len(two),
    'text': text,
    'how': 'The recommendation takes the fewest bytes that surely, by their '
    f'95% interval, keep {keep - SLACK:.0%} on one half of the queries; its '
    'numbers are of the other half.',
  }
