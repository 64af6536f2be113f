"""Rows of cascades against loops in plain Python; their intervals."""

import numpy as np
import pytest

from mrl_jax.embed.answers import Answers
from mrl_jax.evaluators import cascade
from mrl_jax.evaluators.cascade import thresholds
from tests.samples.cascades import DIMS, leave, naive_paper, sure_answers, tune
from tests.samples.vectors import answered


@pytest.mark.parametrize(('count', 'share'), [(2, 0.2), (2, 0.9), (9, 0.01)])
def test_a_split_has_both_parts(count, share):
  tuned, reported = cascade.tuning_split(count, share, (0, 0))
  assert len(tuned) and len(reported)
  assert sorted([*tuned, *reported]) == list(range(count))


def test_rows_equal_a_loop_over_splits():
  given = sure_answers(120)
  made = cascade.Cascade(splits=3, share=0.3, grid=17, risk=(0.2,))
  rows, details = made.run(answered(given))
  grid = np.linspace(0, 1, 17)
  accuracy, width, tried, shares = [], [], [], []
  total, times = np.zeros(120), np.zeros(120)
  for seed in range(3):
    tuned, reported = cascade.tuning_split(120, 0.3, (0, seed))
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
  given = sure_answers(200)
  _, reported = cascade.tuning_split(200, 0.2, (0, 0))
  other = given.classes.copy()
  other[:, reported] = np.random.default_rng(5).permuted(
    other[:, reported], axis=1
  )
  fooled = Answers(DIMS, other, given.confidence, given.labels, '')
  made = cascade.Cascade(splits=1, risk=(0.1,))
  rows, details = made.run(answered(given))
  others, changed = made.run(answered(fooled))
  assert details['thresholds'] == changed['thresholds']
  assert rows[0]['value'] != others[0]['value']
  assert details['to_deploy'] != changed['to_deploy']


def test_intervals_hold_the_true_accuracy_of_their_thresholds():
  """Of thresholds learned on 50 of 200 queries, in a known population."""
  population = sure_answers(5_000, (4, 16), seed=8)
  grid, whole = tune(population, 50)
  right = population.right
  rng, inside = np.random.default_rng(0), 0
  for _ in range(200):
    some, true = rng.integers(5_000, size=200), []
    tally = cascade.Tally((4, 16), right[:, some])
    levels = whole.levels[:, some]
    for seed in range(6):
      tuned, reported = cascade.tuning_split(200, 0.25, (0, seed))
      found = thresholds.paper(
        whole._replace(levels=levels[:, tuned], right=right[:, some[tuned]])
      )
      left = thresholds.exits(whole.levels, found)
      true.append(right[left, np.arange(5_000)].mean())
      tally.add('paper', reported, left[some[reported]], grid[found])
    point = tally.point('paper')
    inside += point['low'] <= np.mean(true) <= point['high']
  assert inside >= 0.92 * 200


def test_one_dim_untrained_dims_and_too_few_queries():
  given = sure_answers(50)
  rows, _ = cascade.Cascade(splits=2).run(answered(given.at((64,))))
  assert [row['variant'] for row in rows[:2]] == ['paper', 'conditional']
  assert {row['expected_dim'] for row in rows} == {64.0}
  rows, details = cascade.Cascade(splits=2).run(
    answered(given, trained=(4, 16, 64))
  )
  assert details['dims'] == [4, 16, 64]
  first = {row['variant']: row for row in rows}['risk0.01']
  assert first['expected_dim'] == 64.0 and first['lost'] == 0
  assert details['texts'] == [
    'Risk-controlled: 10 tuning examples do not show that leaving early loses '
    'at most 0.5% or 1% or 2%, so all 64 dimensions are used there. It takes '
    'at least 460 for 0.5%, 230 for 1%, 114 for 2%.'
  ]
  few = Answers((4,), np.ones((1, 1, 1)), np.ones((1, 1)), [1], '')
  assert cascade.Cascade().run(answered(few))[0] == []
  repeat = cascade.Cascade(splits=2).run(answered(given, trained=(4, 16, 64)))[
    0
  ]
  assert repeat == rows


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'splits': 0}, 'splits=0 must be at least 1'),
    ({'share': 1}, 'share=1 must be above 0 and below 1'),
    ({'risk': (0.1, 0)}, 'risk=0 must be above 0'),
    ({'confidence': 2}, 'confidence=2 must be'),
    ({'targets': (0,)}, 'must be whole numbers'),
    ({'grid': 1}, 'grid=1 must be at least 2'),
  ],
)
def test_options_that_cannot_be(options, said):
  with pytest.raises(ValueError, match=said):
    cascade.Cascade(**options)


def test_targets_below_the_smallest_dim():
  with pytest.raises(ValueError, match='3 is below 4, the smallest'):
    cascade.Cascade(targets=(3, 8)).run(answered(sure_answers(20)))


@pytest.mark.parametrize(
  ('dims', 'targets'),
  [((8, 64), (16, 32)), ((12, 100), (25, 50)), ((8,), ()), ((4, 8), ())],
)
def test_targets_are_halves_of_the_width(dims, targets):
  assert cascade.halves(dims[0], dims[-1]) == targets
