"""Intervals by hand, at their ends, and by simulation."""

import numpy as np
import pytest

from mrl_jax import intervals
from tests.samples.vectors import paired_hits


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
      low <= p <= high
      for low, high in (intervals.wilson(int(h), 360) for h in hits)
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


def test_macro_interval_is_wilsons_where_classes_are_balanced():
  hits, totals = np.asarray([3, 7, 10]), np.full(3, 10)
  expected = intervals.wilson(20, 30)
  np.testing.assert_allclose(intervals.macro(hits, totals), expected)


@pytest.mark.parametrize('seed', range(3))
def test_macro_intervals_cover(seed):
  rng = np.random.default_rng(seed)
  totals = rng.integers(2, 40, 30)
  share = rng.uniform(0.6, 1, 30)
  inside = 0
  for _ in range(300):
    low, high = intervals.macro(rng.binomial(totals, share), totals)
    inside += low <= share.mean() <= high
  assert inside >= 0.92 * 300


@pytest.mark.parametrize('share', [0.8, 0.97, 1.0])
@pytest.mark.parametrize('n', [60, 500])
def test_the_interval_of_a_paired_ratio_covers(share, n):
  rng = np.random.default_rng(n)
  covered = 0
  for _ in range(1500):
    one, full = paired_hits(rng, n, (share,))
    both = int(np.sum(one & full))
    low, high = intervals.paired_ratio(
      both, int(np.sum(one & ~full)), int(np.sum(full & ~one))
    )
    covered += low <= share <= high
  assert covered / 1500 >= 0.93


@pytest.mark.parametrize(
  'draw',
  [
    lambda rng, n: rng.random(n),
    lambda rng, n: rng.integers(0, 11, n) / 10,
    lambda rng, n: (rng.random(n) < 0.9).astype(float),
    lambda rng, n: rng.beta(8, 0.5, n),
    lambda rng, n: np.where(rng.random(n) < 0.03, 0.0, 1.0),
  ],
)
@pytest.mark.parametrize('n', [25, 400])
def test_the_interval_of_a_mean_covers(draw, n):
  rng = np.random.default_rng(n)
  truth = draw(rng, 2_000_000).mean()
  covered = 0
  for _ in range(1500):
    low, high = intervals.mean(draw(rng, n))
    covered += low <= truth <= high
  assert covered / 1500 >= 0.93


@pytest.mark.parametrize('between', [0.0, 0.5, 1.0])
def test_the_interval_covers_draws_and_queries(between):
  """Chances are logistic in a query's, a draw's and their own effect."""
  rng = np.random.default_rng(int(between * 10))

  def hits(draws, queries):
    effect = (
      1.0
      + between * rng.normal(size=(draws, 1))
      + rng.normal(size=(1, queries))
    )
    return rng.random((draws, queries)) < 1 / (1 + np.exp(-effect))

  truth = np.mean([hits(200, 200).mean() for _ in range(200)])
  covered = 0
  for _ in range(600):
    low, high = intervals.crossed(hits(20, 150))
    covered += low <= truth <= high
  assert covered / 600 >= 0.93


def test_upper_bound_is_the_binomial_one():
  from scipy import stats

  for hits, n in ((0, 20), (3, 50), (49, 50), (50, 50)):
    bound = float(intervals.upper_bound(hits, n, 0.9))
    if hits == n:
      assert bound == 1
    else:  # as few hits or fewer have 10% chance there
      assert stats.binom.cdf(hits, n, bound) == pytest.approx(0.1)


def pairs_of_hits(up, down):
  """Differences of hits: 1 with chance `up`, -1 with chance `down`."""

  def draw(rng, size):
    u = rng.random(size)
    return (u < up) * 1.0 - (u > 1 - down)

  return draw


def near_one(rng, size):
  """Two values near 1 that belong together, as mAP of the same query."""
  first = rng.beta(8, 0.5, size)
  return first - np.clip(first + rng.normal(0, 0.1, size), 0, 1)


DIFFERENCES = {
  'equal': pairs_of_hits(0, 0),
  'few, one side': pairs_of_hits(0.03, 0),
  'few, both sides': pairs_of_hits(0.04, 0.03),
  'many': pairs_of_hits(0.3, 0.1),
  'nearly all': pairs_of_hits(0.98, 0.02),
  'mAP near 1': near_one,
  'mAP near 0': lambda rng, size: (
    rng.beta(0.2, 6, size) - rng.beta(0.1, 6, size)
  ),
  'rare and small': lambda rng, size: np.where(
    rng.random(size) < 0.03, rng.random(size), 0.0
  ),
}


@pytest.mark.parametrize('draw', DIFFERENCES.values(), ids=DIFFERENCES)
@pytest.mark.parametrize('n', [5, 25, 100, 400])
@pytest.mark.parametrize('z, level', [(intervals.Z, 0.95), (3.2905, 0.999)])
def test_the_interval_of_a_paired_difference_covers(draw, n, z, level):
  rng = np.random.default_rng(n)
  truth = draw(rng, 2_000_000).mean()
  covered = 0
  for differences in draw(rng, (2000, n)):
    low, high = intervals.paired_difference(differences, z)
    covered += low <= truth <= high
    assert low < high
  assert covered / 2000 >= level - (0.012 if level == 0.95 else 0.004)


def test_the_interval_of_a_paired_difference_by_hand():
  """Bonett and Price's of 100 pairs, 12 for the first and 4 for the second."""
  low, high = intervals.paired_difference(
    np.array([1.0] * 12 + [-1.0] * 4 + [0.0] * 84), z=1.96
  )
  one, two = 13 / 102, 5 / 102
  half = 1.96 * ((one + two - (one - two) ** 2) / 102) ** 0.5
  assert (low, high) == pytest.approx((one - two - half, one - two + half))


@pytest.mark.parametrize(
  'one, two', [(0.5, 0.5), (0.98, 0.9), (0.03, 0.01), (1.0, 1.0), (0.7, 0.2)]
)
@pytest.mark.parametrize('n', [25, 100, 400])
@pytest.mark.parametrize('z, level', [(intervals.Z, 0.95), (3.2905, 0.999)])
def test_the_interval_of_an_unpaired_difference_covers(one, two, n, z, level):
  rng = np.random.default_rng(n)
  covered = 0
  for first, second in rng.binomial(n, (one, two), (2000, 2)):
    low, high = intervals.unpaired_difference(
      (first / n, *intervals.wilson(int(first), n)),
      (second / n, *intervals.wilson(int(second), n)),
      z,
    )
    covered += low <= one - two <= high
  assert covered / 2000 >= level - (0.03 if n == 25 else 0.012)  # few outcomes


def test_the_unpaired_interval_is_newcombes():
  """His table II: 56/70 - 48/80 has 0.0524 to 0.3339 (Newcombe, 1998)."""
  low, high = intervals.unpaired_difference(
    (56 / 70, *intervals.wilson(56, 70)), (48 / 80, *intervals.wilson(48, 80))
  )
  assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_one_draw_leaves_the_ends_where_they_are():
  ends = intervals.of_draws(np.array([0.2]), 0.1, 0.4)
  assert ends == pytest.approx((0.1, 0.4))
  low, high = intervals.of_draws(np.array([0.1, 0.3]), 0.2, 0.2)
  assert (low, high) == pytest.approx(
    (0.2 - 12.7062 * 0.1, 0.2 + 12.7062 * 0.1)
  )
