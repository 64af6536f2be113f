"""Thresholds against loops in plain Python, and the promise of their risk."""

import itertools

import numpy as np
import pytest

from mrl_jax import intervals
from mrl_jax.evaluators.cascade import thresholds
from tests.samples.cascades import (
  DIMS,
  leave,
  naive_paper,
  outcome,
  sure_answers,
  tune,
)


@pytest.mark.parametrize('seed', range(4))
def test_paper_and_conditional_thresholds_equal_a_loop(seed):
  given = sure_answers(80, seed=seed)
  grid, tuning = tune(given, 21)
  for found, reach in (
    (thresholds.paper(tuning), False),
    (thresholds.conditional(tuning), True),
  ):
    expected = naive_paper(given.confidence, given.right, grid, reach)
    assert grid[found].tolist() == expected


def test_queries_leave_only_above_the_threshold():
  confidence = np.asarray([[0.5, 0.25, 0, 1, np.nan], [0.5] * 5, [1] * 5])
  grid = np.linspace(0, 1, 5)
  levels = thresholds.levels_of(confidence, grid)
  for chosen in itertools.product(range(5), repeat=2):
    expected = [leave(confidence[:, i], grid[list(chosen)]) for i in range(5)]
    assert thresholds.exits(levels, chosen).tolist() == expected


def test_threshold_0_is_the_smallest_prefix_and_1_the_widest():
  given = sure_answers()
  _, tuning = tune(given, 100)
  least = np.flatnonzero(given.confidence.min(axis=0) > 0)
  for g in range(len(DIMS)):
    chosen = thresholds.single(tuning, g)
    assert (thresholds.exits(tuning.levels[:, least], chosen) == g).all()
  sure = np.ones_like(given.confidence)  # 1 is not above 1
  levels = thresholds.levels_of(sure, np.linspace(0, 1, 100))
  assert (thresholds.exits(levels, [99] * 3) == 3).all()


@pytest.mark.parametrize('seed', range(3))
def test_joint_thresholds_keep_the_target_and_are_near_the_best(seed):
  given = sure_answers(60, (4, 8, 32), seed)
  grid, tuning = tune(given, 11)
  targets = (6, 8, 16, 32)
  found = thresholds.joint(tuning, targets)
  every = {
    chosen: outcome(given, grid[list(chosen)])
    for chosen in itertools.product(range(11), repeat=2)
  }
  for target in targets:
    hits, cost = every[tuple(found[target].tolist())]
    assert cost <= target * 60
    kept = [h for h, c in every.values() if c <= target * 60]
    # Ascent by one coordinate: within one query of all 121 thresholds.
    assert hits >= max(kept) - 1
    for other in (
      thresholds.paper(tuning),
      thresholds.conditional(tuning),
      [0, 0],
      [10, 0],
      [10, 10],
    ):
      rival, price = every[tuple(int(i) for i in other)]
      assert rival <= hits or price > target * 60
    # No single threshold can be moved for the better.
    for g, index in itertools.product(range(2), range(11)):
      moved = list(found[target])
      moved[g] = index
      rival, price = every[tuple(int(i) for i in moved)]
      assert price > target * 60 or (rival, -price) <= (hits, -cost)


def test_lost_queries_equal_a_loop_at_every_cutoff():
  given = sure_answers(70, seed=3)
  grid, tuning = tune(given, 15)
  right, lost = given.right, thresholds.lost(tuning)
  for index, cut in enumerate(grid):
    count = 0
    for i in range(70):
      g = leave(given.confidence[:, i], [cut] * 3)
      count += bool(right[-1, i]) and not bool(right[g, i])
    assert lost[index] == count


def world(count=20_000, seed=0):
  """A population: what is true of it is known by counting."""
  rng = np.random.default_rng(seed)
  confidence = np.sort(rng.beta(4, 1.5, (3, count)), axis=0)
  right = rng.random((3, count)) < np.clip(confidence + 0.12, 0, 1)
  right[2] |= rng.random(count) < 0.5
  return confidence, right


def cliff(count=20_000):
  """Nothing is lost down to 0.5, and just more than allowed below."""
  right = np.ones((2, count), bool)
  right[0, : round(0.0505 * count)] = False
  return np.full((2, count), 0.5), right


def broken(population, risk=0.05, confidence=0.9, tuning=400, times=600):
  """How often a calibrated cascade loses more than it promised."""
  certain, right = population
  dims = tuple(range(1, len(right) + 1))
  levels = thresholds.levels_of(certain, np.linspace(0, 1, 21))
  whole = thresholds.Tuning(dims, levels, right, 21)
  true = thresholds.lost(whole) / right.shape[1]
  rng, count = np.random.default_rng(1), 0
  for _ in range(times):
    drawn = rng.integers(right.shape[1], size=tuning)
    some = thresholds.Tuning(dims, levels[:, drawn], right[:, drawn], 21)
    found = thresholds.controlled(some, risk, confidence)
    count += true[found[0]] > risk
  return count / times


@pytest.mark.parametrize('population', [world, cliff])
def test_the_risk_is_kept_as_often_as_promised(population, monkeypatch):
  # Three standard errors of 600 calibrations above 10%.
  assert broken(population()) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)
  monkeypatch.setattr(intervals, 'upper_bound', lambda hits, n, _: hits / n)
  assert broken(population()) > 0.2


def test_testing_stops_at_the_first_failure():
  # Below 0.6 the second prefix answers, wrong; below 0.3 the first, right.
  right = np.ones((3, 2000), bool)
  right[1] = False
  confidence = np.stack([np.full(2000, c) for c in (0.3, 0.6, 0.9)])
  levels = thresholds.levels_of(confidence, np.linspace(0, 1, 21))
  tuning = thresholds.Tuning((4, 8, 16), levels, right, 21)
  lost = thresholds.lost(tuning)
  assert lost[0] == 0 and lost[8] == 2000 and lost[12] == 0
  found = thresholds.controlled(tuning, 0.05, 0.9)
  assert found.tolist() == [12, 12]


@pytest.mark.parametrize('target', [5, 7, 11, 23])
def test_joint_thresholds_keep_up_with_random_search(target):
  given = sure_answers(400)
  grid, tuning = tune(given, 60)
  right, levels = given.right, tuning.levels
  found = thresholds.joint(tuning, (target,))[target]
  hits, cost = outcome(given, grid[found])
  assert cost <= target * 400
  for chosen in np.random.default_rng(0).integers(0, 60, (3000, 3)):
    left = thresholds.exits(levels, chosen)
    price = np.asarray(DIMS)[left].sum()
    assert price > target * 400 or right[left, np.arange(400)].sum() <= hits
