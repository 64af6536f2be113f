"""Cascades against loops in plain Python, and the promise of their risk."""

import itertools
import types

import numpy as np
import pytest

from mrl_jax.embed import evidence, thresholds
from mrl_jax.evaluators import cascade

DIMS = (4, 8, 16, 64)


def answers(queries=300, dims=DIMS, seed=0, best=0.95):
  """Answers that grow right with the dim, sure ones more often right."""
  rng = np.random.default_rng(seed)
  ease = rng.beta(3, 1.2, queries)
  skill = np.linspace(0.6, best, len(dims))[:, None]
  noise = rng.normal(0, 0.1, (len(dims), queries))
  confidence = np.clip(ease * skill + noise, 0, 1)
  right = rng.random((len(dims), queries)) < confidence**0.7
  labels = rng.integers(0, 5, queries) + 70_000
  classes = np.where(right, labels, labels + 1)[..., None]
  confidence = np.round(confidence, 2).astype(np.float32)  # ties
  return evidence.Answers(dims, classes, confidence, labels, 'linear head')


def seen(given, trained=None):
  return types.SimpleNamespace(
    dims=given.dims, trained=trained or given.dims, answers=given
  )


def leave(confidence, cuts):
  """The rule itself: the first confidence above its threshold."""
  for g, cut in enumerate(cuts):
    if float(confidence[g]) > cut:
      return g
  return len(cuts)


def naive_paper(confidence, right, grid, reach=False):
  """Thresholds by trying each; with `reach` on those that come to the stage."""
  stages, count = len(confidence) - 1, confidence.shape[1]
  alive, found = list(range(count)), []
  for g in range(stages):
    best = (-1, None)
    for t in grid:
      hits = sum(
        bool(right[g if float(confidence[g, i]) > t else g + 1, i])
        for i in alive
      )
      if hits > best[0]:
        best = (hits, t)
    found.append(best[1])
    if reach:
      alive = [i for i in alive if not float(confidence[g, i]) > best[1]]
  return found


def outcome(confidence, right, dims, cuts):
  """(hits, summed dims) of a cascade, one query after the other."""
  left = [leave(confidence[:, i], cuts) for i in range(confidence.shape[1])]
  hits = sum(bool(right[g, i]) for i, g in enumerate(left))
  return hits, sum(dims[g] for g in left)


def search(given, size):
  grid = np.linspace(0, 1, size)
  return grid, thresholds.levels_of(given.confidence, grid), given.right


@pytest.mark.parametrize('seed', range(4))
def test_paper_and_conditional_thresholds_equal_a_loop(seed):
  given = answers(80, seed=seed)
  grid, levels, right = search(given, 21)
  for found, reach in (
    (thresholds.paper(levels, right, 21), False),
    (thresholds.conditional(levels, right, 21), True),
  ):
    expected = naive_paper(given.confidence, right, grid, reach)
    assert grid[found].tolist() == expected


def test_queries_leave_only_above_the_threshold():
  confidence = np.asarray([[0.5, 0.25, 0, 1, np.nan], [0.5] * 5, [1] * 5])
  grid = np.linspace(0, 1, 5)
  levels = thresholds.levels_of(confidence, grid)
  for chosen in itertools.product(range(5), repeat=2):
    expected = [leave(confidence[:, i], grid[list(chosen)]) for i in range(5)]
    assert thresholds.exits(levels, chosen).tolist() == expected


def test_threshold_0_is_the_smallest_prefix_and_1_the_widest():
  given = answers()
  _, levels, right = search(given, 100)
  least = np.flatnonzero(given.confidence.min(axis=0) > 0)
  for g in range(len(DIMS)):
    chosen = thresholds.constant(len(DIMS) - 1, g, 100)
    assert (thresholds.exits(levels[:, least], chosen) == g).all()
  sure = np.ones_like(given.confidence)  # 1 is not above 1
  levels = thresholds.levels_of(sure, np.linspace(0, 1, 100))
  assert (thresholds.exits(levels, [99] * 3) == 3).all()


@pytest.mark.parametrize('seed', range(3))
def test_joint_thresholds_keep_the_target_and_are_near_the_best(seed):
  given = answers(60, (4, 8, 32), seed)
  grid, levels, right = search(given, 11)
  targets = (6, 8, 16, 32)
  found = thresholds.joint(levels, right, given.dims, targets, 11)
  every = {
    chosen: outcome(given.confidence, right, given.dims, grid[list(chosen)])
    for chosen in itertools.product(range(11), repeat=2)
  }
  for target in targets:
    hits, cost = every[tuple(found[target].tolist())]
    assert cost <= target * 60
    kept = [h for h, c in every.values() if c <= target * 60]
    # Ascent by one coordinate: within one query of all 121 thresholds.
    assert hits >= max(kept) - 1
    for other in (
      thresholds.paper(levels, right, 11),
      thresholds.conditional(levels, right, 11),
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
  given = answers(70, seed=3)
  grid, levels, right = search(given, 15)
  for index, cut in enumerate(grid):
    count = 0
    for i in range(70):
      g = leave(given.confidence[:, i], [cut] * 3)
      count += bool(right[-1, i]) and not bool(right[g, i])
    assert thresholds.lost(levels, right, 15)[index] == count


def test_upper_bound_is_the_binomial_one():
  from scipy import stats

  for hits, n in ((0, 20), (3, 50), (49, 50), (50, 50)):
    bound = float(thresholds.upper_bound(hits, n, 0.9))
    if hits == n:
      assert bound == 1
    else:  # as few hits or fewer have 10% chance there
      assert stats.binom.cdf(hits, n, bound) == pytest.approx(0.1)


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
  levels = thresholds.levels_of(certain, np.linspace(0, 1, 21))
  true = thresholds.lost(levels, right, 21) / right.shape[1]
  rng, count = np.random.default_rng(1), 0
  for _ in range(times):
    drawn = rng.integers(right.shape[1], size=tuning)
    found = thresholds.controlled(
      levels[:, drawn], right[:, drawn], risk, confidence, 21
    )
    count += true[found[0]] > risk
  return count / times


@pytest.mark.parametrize('population', [world, cliff])
def test_the_risk_is_kept_as_often_as_promised(population, monkeypatch):
  # Three standard errors of 600 calibrations above 10%.
  assert broken(population()) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)
  monkeypatch.setattr(thresholds, 'upper_bound', lambda hits, n, _: hits / n)
  assert broken(population()) > 0.2


def test_testing_stops_at_the_first_failure():
  # Below 0.6 the second prefix answers, wrong; below 0.3 the first, right.
  right = np.ones((3, 2000), bool)
  right[1] = False
  confidence = np.stack([np.full(2000, c) for c in (0.3, 0.6, 0.9)])
  levels = thresholds.levels_of(confidence, np.linspace(0, 1, 21))
  lost = thresholds.lost(levels, right, 21)
  assert lost[0] == 0 and lost[8] == 2000 and lost[12] == 0
  found = thresholds.controlled(levels, right, 0.05, 0.9, 21)
  assert found.tolist() == [12, 12]


@pytest.mark.parametrize('target', [5, 7, 11, 23])
def test_joint_thresholds_keep_up_with_random_search(target):
  given = answers(400)
  grid, levels, right = search(given, 60)
  found = thresholds.joint(levels, right, DIMS, (target,), 60)[target]
  hits, cost = outcome(given.confidence, right, DIMS, grid[found])
  assert cost <= target * 400
  for chosen in np.random.default_rng(0).integers(0, 60, (3000, 3)):
    left = thresholds.exits(levels, chosen)
    price = np.asarray(DIMS)[left].sum()
    assert price > target * 400 or right[left, np.arange(400)].sum() <= hits


@pytest.mark.parametrize(('count', 'share'), [(2, 0.2), (2, 0.9), (9, 0.01)])
def test_a_split_has_both_parts(count, share):
  tuned, reported = cascade.split(count, share, (0, 0))
  assert len(tuned) and len(reported)
  assert sorted([*tuned, *reported]) == list(range(count))


def test_rows_equal_a_loop_over_splits():
  given = answers(120)
  made = cascade.Cascade(splits=3, share=0.3, grid=17, risk=(0.2,))
  rows, details = made.run(seen(given))
  grid = np.linspace(0, 1, 17)
  accuracy, width, tried, shares = [], [], [], []
  total, times = np.zeros(120), np.zeros(120)
  for seed in range(3):
    tuned, reported = cascade.split(120, 0.3, (0, seed))
    assert sorted([*tuned, *reported]) == list(range(120))
    assert len(tuned) == 36
    cuts = naive_paper(given.confidence[:, tuned], given.right[:, tuned], grid)
    left = [leave(given.confidence[:, i], cuts) for i in reported]
    hits = [bool(given.right[g, i]) for g, i in zip(left, reported)]
    accuracy.append(sum(hits) / len(hits))
    width.append(sum(DIMS[g] for g in left) / len(left))
    tried.append(sum(sum(DIMS[: g + 1]) for g in left) / len(left))
    full = [bool(given.right[-1, i]) for i in reported]
    shares.append(sum(f and not h for f, h in zip(full, hits)) / len(hits))
    total[reported] += hits
    times[reported] += 1
  row = {row['variant']: row for row in rows}['paper']
  assert row['dim'] == 64 and row['n'] == np.sum(times > 0)
  close = {
    'value': np.mean(accuracy),
    'deviation': np.std(accuracy, ddof=1),
    'expected_dim': round(np.mean(width), 2),
    'expected_dim_deviation': np.std(width, ddof=1),
    'cumulative': np.mean(tried),
    'lost': np.mean(shares),
  }
  for key, value in close.items():
    assert row[key] == pytest.approx(value, abs=1e-9), key
  assert row['ci_low'] < np.mean(total[times > 0] / times[times > 0])
  assert row['ci_low'] < row['value'] < row['ci_high']
  assert [point['policy'] for point in details['frontier']] == [
    *('paper', 'conditional', 'joint8', 'joint16', 'joint32', 'risk0.2')
  ]
  assert [point['dim'] for point in details['fixed']] == list(DIMS)
  assert 'dimensions on average it is right on' in details['text']


def test_thresholds_never_see_what_is_reported():
  given = answers(200)
  _, reported = cascade.split(200, 0.2, (0, 0))
  other = given.classes.copy()
  other[:, reported] = np.random.default_rng(5).permuted(
    other[:, reported], axis=1
  )
  fooled = evidence.Answers(DIMS, other, given.confidence, given.labels, '')
  made = cascade.Cascade(splits=1, risk=(0.1,))
  rows, details = made.run(seen(given))
  others, changed = made.run(seen(fooled))
  assert details['thresholds'] == changed['thresholds']
  assert rows[0]['value'] != others[0]['value']
  assert details['to_deploy'] != changed['to_deploy']


def test_intervals_hold_the_true_accuracy_of_their_thresholds():
  """Of thresholds learned on 50 of 200 queries, in a known population."""
  population = answers(5_000, (4, 16), seed=8)
  grid, levels, right = search(population, 50)
  rng, inside = np.random.default_rng(0), 0
  for _ in range(200):
    some, true = rng.integers(5_000, size=200), []
    tally = cascade.Tally((4, 16), right[:, some])
    for seed in range(6):
      tuned, reported = cascade.split(200, 0.25, (0, seed))
      found = thresholds.paper(
        levels[:, some[tuned]], right[:, some[tuned]], 50
      )
      left = thresholds.exits(levels, found)
      true.append(right[left, np.arange(5_000)].mean())
      tally.add('paper', reported, left[some[reported]], grid[found])
    point = tally.point('paper')
    inside += point['low'] <= np.mean(true) <= point['high']
  assert inside >= 0.92 * 200


def test_one_dim_untrained_dims_and_too_few_queries():
  given = answers(50)
  rows, _ = cascade.Cascade(splits=2).run(seen(given.at((64,))))
  assert [row['variant'] for row in rows[:2]] == ['paper', 'conditional']
  assert {row['expected_dim'] for row in rows} == {64.0}
  rows, details = cascade.Cascade(splits=2).run(seen(given, (4, 16, 64)))
  assert details['dims'] == [4, 16, 64]
  first = {row['variant']: row for row in rows}['risk0.01']
  assert first['expected_dim'] == 64.0 and first['lost'] == 0
  assert details['texts'] == [
    'Risk-controlled: 10 tuning examples do not show that leaving early loses '
    'at most 0.5% or 1% or 2%, so all 64 dimensions are used there. It takes '
    'at least 460 for 0.5%, 230 for 1%, 114 for 2%.'
  ]
  few = evidence.Answers((4,), np.ones((1, 1, 1)), np.ones((1, 1)), [1], '')
  assert cascade.Cascade().run(seen(few))[0] == []
  repeat = cascade.Cascade(splits=2).run(seen(given, (4, 16, 64)))[0]
  assert repeat == rows


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'splits': 0}, 'splits=0 must be at least 1'),
    ({'share': 1}, 'share=1 must be above 0 and below 1'),
    ({'risk': (0.1, 0)}, 'risk=0 must be above 0'),
    ({'confidence': 2}, 'confidence=2 must be'),
    ({'targets': (0,)}, 'must be whole numbers'),
    ({'grid': 1}, 'grid=1 at least 2'),
  ],
)
def test_options_that_cannot_be(options, said):
  with pytest.raises(ValueError, match=said):
    cascade.Cascade(**options)


def test_targets_below_the_smallest_dim():
  with pytest.raises(ValueError, match='3 is below 4, the smallest'):
    cascade.Cascade(targets=(3, 8)).run(seen(answers(20)))


@pytest.mark.parametrize(
  ('dims', 'targets'),
  [((8, 64), (16, 32)), ((12, 100), (25, 50)), ((8,), ()), ((4, 8), ())],
)
def test_targets_are_halves_of_the_width(dims, targets):
  assert cascade.halves(dims[0], dims[-1]) == targets
