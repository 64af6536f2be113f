"""Intervals by hand, at their ends, and by simulation."""

import numpy as np
import pytest

from mrl_jax import intervals


def test_wilson_interval_by_hand_and_at_the_ends():
  low, high = intervals.wilson(8, 10)
  assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
  assert intervals.wilson(0, 10)[0] == 0
  assert intervals.wilson(10, 10)[1] == pytest.approx(1)
  assert intervals.wilson(0, 0) == (0, 1)


def test_wilson_interval_covers():
  rng = np.random.default_rng(0)
  for p in (0.5, 0.9, 0.99):
    hits = rng.binomial(360, p, 2000)
    inside = [
      low <= p <= high for low, high in (intervals.wilson(h, 360) for h in hits)
    ]
    assert 0.93 < np.mean(inside) < 0.98


def test_intervals_by_hand():
  """Agresti-Coull of 3 in 10; Bonett and Price's symmetry."""
  z = 1.959964
  p = (3 + z * z / 2) / (10 + z * z)
  half = z * (p * (1 - p) / (10 + z * z)) ** 0.5
  low, high = intervals.mean(np.array([1] * 3 + [0] * 7))
  assert (low, high) == pytest.approx((p - half, p + half))
  assert intervals.mean(np.ones(50))[0] < 1  # never of width 0
  assert intervals.mean(np.array([])) == (0, 1)
  low, high = intervals.paired_ratio(90, 5, 5)
  assert low < 1 < high and low * high == pytest.approx(1)
  assert intervals.paired_ratio(0, 0, 0) == (0, np.inf)
