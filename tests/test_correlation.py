"""Correlations against scipy, their influences by moving one pair's weight,
and how often their intervals hold the truth."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from mrl_jax import correlation, intervals

MEASURES = correlation.spearman, correlation.pearson


def drawn(rng, n, correlations, shared=0.0, tied=False):
  """Scores and a guess per correlation; guesses share a part of their noise."""
  scores, common = rng.normal(size=(2, n))
  guesses = []
  for rho in correlations:
    noise = math.sqrt(shared) * common
    noise += math.sqrt(1 - shared) * rng.normal(size=n)
    guesses.append(rho * scores + math.sqrt(1 - rho * rho) * noise)
  if tied:  # grades from 0 to 5, and cosines of few values
    scores = np.clip(np.round(1.5 * scores + 2.5), 0, 5)
    guesses = [np.round(2 * guess) for guess in guesses]
  return scores, guesses


@functools.cache
def truth(measure, rho, tied):
  scores, (guess,) = drawn(np.random.default_rng(9), 500_000, [rho], tied=tied)
  return measure(scores, guess).mean()


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('n', [2, 3, 4, 17, 1000])
def test_the_mean_is_the_correlation_of_scipy(n, tied):
  for seed in range(10):
    rng = np.random.default_rng(seed)
    scores, (guess,) = drawn(rng, n, [-0.4], tied=tied)
    if np.ptp(scores) == 0 or np.ptp(guess) == 0:
      continue
    for ours, theirs in zip(MEASURES, (stats.spearmanr, stats.pearsonr)):
      values = ours(scores, 1e-3 * guess + 7)
      assert values.shape == (n,)
      assert values.mean() == pytest.approx(theirs(scores, guess)[0], abs=1e-9)


def weighted(first, second, weights, ranked):
  """The correlation of pairs of unlike weight, by its definition, O(p^2)."""
  if ranked:
    first, second = (
      ((x[None] < x[:, None]) + (x[None] == x[:, None]) / 2) @ weights
      for x in (first, second)
    )
  u, v = (x - weights @ x for x in (first, second))
  return weights @ (u * v) / math.sqrt(weights @ u**2 * (weights @ v**2))


@pytest.mark.parametrize('tied', [False, True])
def test_a_value_is_the_correlation_and_the_influence_of_its_pair(tied):
  """The influence is the slope as the weight moves to this pair."""
  n, step = 40, 1e-6
  scores, (guess,) = drawn(np.random.default_rng(3), n, [0.7], tied=tied)
  for measure in MEASURES:
    values = measure(scores, guess)
    for i in range(n):
      ends = []
      for eps in (-step, step):
        weights = np.full(n, (1 - eps) / n)
        weights[i] += eps
        ends.append(
          weighted(scores, guess, weights, measure is correlation.spearman)
        )
      slope = (ends[1] - ends[0]) / (2 * step)
      assert values[i] - values.mean() == pytest.approx(slope, abs=1e-6)


def test_a_side_without_order_has_correlation_0():
  grades = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
  for measure in MEASURES:
    for sides in ((grades, np.arange(6)), (np.arange(6), grades), ([], [])):
      values = measure(*map(np.asarray, sides))
      np.testing.assert_array_equal(values, np.zeros(len(sides[0])))
      assert correlation.fisher(values) == (-1, 1)


@pytest.mark.parametrize('n', [4, 10, 1000])
def test_a_perfect_order_is_not_certain(n):
  for sign in (1, -1):
    low, high = sorted(
      sign * end
      for end in correlation.fisher(
        correlation.spearman(np.arange(n), sign * np.exp(np.arange(n) / n))
      )
    )
    assert high == 1 and -1 < low < 1 - 2 / n


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('n, trials', [(20, 400), (200, 400), (1500, 200)])
def test_intervals_cover(n, trials, tied):
  rng = np.random.default_rng(n)
  for measure in MEASURES:
    for rho in (0.0, 0.5, 0.9):
      right = 0
      for _ in range(trials):
        scores, (guess,) = drawn(rng, n, [rho], tied=tied)
        low, high = correlation.fisher(measure(scores, guess))
        right += low <= truth(measure, rho, tied) <= high
      # 95%, less three deviations of so many trials; at 20 pairs Pearson's
      # is a bit narrow.
      least = 0.93 if n < 50 else 0.95
      assert right / trials >= least - 3 * math.sqrt(0.05 / trials)


@pytest.mark.parametrize('tied', [False, True])
def test_paired_differences_cover(tied):
  rng, trials, n = np.random.default_rng(5), 300, 300
  both = 0.8, 0.6
  expected = np.subtract(
    *(truth(correlation.spearman, rho, tied) for rho in both)
  )
  right, widths = 0, []
  for _ in range(trials):
    scores, guesses = drawn(rng, n, both, shared=0.7, tied=tied)
    values = [correlation.spearman(scores, guess) for guess in guesses]
    low, high = intervals.paired_difference(values[0] - values[1], most=2)
    right += low <= expected <= high
    apart = [
      intervals.unpaired_difference(
        *((x.mean(), *correlation.fisher(x)) for x in values), most=2
      )
    ]
    widths.append((high - low) / np.ptp(apart))
  assert right / trials >= 0.95 - 3 * math.sqrt(0.05 / trials)
  assert np.mean(widths) < 0.9  # pairing narrows


def test_an_interval_is_that_of_a_bootstrap():
  """Of a correlation, and of a difference of two over the same pairs."""
  rng, n = np.random.default_rng(2), 400
  scores, guesses = drawn(rng, n, (0.8, 0.5), shared=0.5, tied=True)
  values = [correlation.spearman(scores, guess) for guess in guesses]
  again = np.array([
    [stats.spearmanr(scores[rows], g[rows])[0] for g in guesses]
    for rows in rng.integers(n, size=(1000, n))
  ])  # fmt: skip
  ends = np.quantile(again[:, 0], (0.025, 0.975))
  np.testing.assert_allclose(correlation.fisher(values[0]), ends, atol=0.01)
  ends = np.quantile(again[:, 0] - again[:, 1], (0.025, 0.975))
  np.testing.assert_allclose(
    intervals.paired_difference(values[0] - values[1], most=2), ends, atol=0.015
  )


def test_a_difference_may_exceed_1():
  order = np.arange(100.0)
  values = [correlation.spearman(order, sign * order) for sign in (1, -1)]
  low, high = intervals.paired_difference(values[0] - values[1], most=2)
  assert 1 < low < high <= 2
