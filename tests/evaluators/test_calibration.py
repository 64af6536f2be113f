"""Calibration errors against loops and scikit-learn; their intervals."""

import json

import numpy as np
import pytest

from mrl_jax.evaluators import agreement, calibration, classes
from tests.samples.vectors import answered, keyed, random_answers

DIMS = (4, 8, 16)


def naive_bins(confidence, bins, mass):
  if mass:
    return [
      sum(other < c for other in confidence) * bins // len(confidence)
      for c in confidence
    ]
  return [
    next(i for i in range(bins) if c <= (i + 1) / bins) for c in confidence
  ]


def naive_error(confidence, right, where, bins):
  total = 0.0
  for i in range(bins):
    inside = [n for n, b in enumerate(where) if b == i]
    if inside:
      sure = sum(confidence[n] for n in inside) / len(inside)
      hits = sum(bool(right[n]) for n in inside) / len(inside)
      total += len(inside) / len(confidence) * abs(hits - sure)
  return total


@pytest.mark.parametrize('bins', [1, 4, 15])
def test_calibration_error_equals_a_loop(bins):
  given = random_answers(90)
  given.confidence[:, :8] = [0, 1, 0.5, 0.5, 0.25, 0.75, 1, 1]  # edges, ties
  rows, details = calibration.Calibration(bins).run(answered(given))
  rows = keyed(rows)
  for g, m in enumerate(DIMS):
    sure = [float(c) for c in given.confidence[g]]
    for metric, mass in (('ece', False), ('ece_adaptive', True)):
      where = naive_bins(sure, bins, mass)
      row = rows[f'calibration/{metric}/d{m}']
      expected = naive_error(sure, given.right[g], where, bins)
      assert row['value'] == pytest.approx(expected, abs=1e-12)
      assert 0 <= row['ci_low'] <= row['value'] <= row['ci_high'] <= 1
    gap = np.mean(sure) - np.mean(given.right[g])
    assert details['overconfidence'][g] == pytest.approx(gap)
  assert calibration.Calibration(bins).run(answered(given))[0] == list(
    rows.values()
  )
  json.dumps(details)


def test_reliability_equals_scikit_learn():
  from sklearn.calibration import calibration_curve

  given = random_answers(300)
  _, details = calibration.Calibration(10).run(answered(given))
  for g in range(3):
    accuracy, sure = calibration_curve(
      given.right[g], given.confidence[g].astype(np.float64), n_bins=10
    )
    found = details['reliability'][g]
    np.testing.assert_allclose([b['accuracy'] for b in found], accuracy)
    np.testing.assert_allclose([b['confidence'] for b in found], sure)
    assert sum(b['count'] for b in found) == 300
    counts = [b['count'] for b in details['reliability_adaptive'][g]]
    assert counts == [30] * 10


def test_equal_confidences_share_a_bin_in_any_order():
  sure = np.asarray([0.9, 0.5, 0.9, 0.9, 0.1, 0.9])
  where = calibration.equal_mass(sure, 3)
  assert where.tolist() == [1, 0, 1, 1, 0, 1]
  order = np.random.default_rng(0).permutation(6)
  assert (calibration.equal_mass(sure[order], 3) == where[order]).all()


def test_one_query():
  given = random_answers(1, ids=(70_001,))
  for made in (
    agreement.Agreement(),
    classes.Classes(),
    calibration.Calibration(),
  ):
    for row in made.run(answered(given, np.asarray([70_001])))[0]:
      assert 0 <= row['ci_low'] <= row['value'] <= row['ci_high'] <= 1


def drawn(n, sharpness, seed):
  """Queries whose confidence is sharper than their chance to be right."""
  rng = np.random.default_rng(seed)
  logit = rng.normal(1.5, 1.2, n)
  sure = 1 / (1 + np.exp(-sharpness * logit))
  return sure, rng.random(n) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize('sharpness', [1.0, 1.6])
def test_calibration_intervals_equal_a_loop_of_resamples(sharpness):
  sure, right = drawn(60, sharpness, 3)
  where, gaps = calibration.equal_width(sure, 6), right - sure
  low, high = calibration.bounds(gaps[None], where[None], 6)

  def parts(rows):
    return [sum(gaps[i] for i in rows if where[i] == b) / 60 for b in range(6)]

  every, rng = parts(range(60)), np.random.default_rng(calibration.SEED)
  value, drawn_errors, noise = sum(map(abs, every)), [], []
  for _ in range(calibration.RESAMPLES):
    again = parts(rng.integers(60, size=60))
    drawn_errors.append(sum(map(abs, again)))
    noise.append(sum(abs(a - b) for a, b in zip(again, every)))
  few, many = np.quantile(drawn_errors, 0.01), np.quantile(drawn_errors, 0.99)
  bottom = 0 if value <= np.quantile(noise, 0.975) else 2 * value - many
  assert low[0] == pytest.approx(min(max(bottom, 0), value))
  assert high[0] == pytest.approx(max(2 * value - few, value))


@pytest.mark.parametrize(('sharpness', 'n'), [(1.6, 400), (1.0, 400)])
def test_calibration_intervals_hold_the_error_without_noise(sharpness, n):
  def gaps(size, seed):
    sure, right = drawn(size, sharpness, seed)
    return (right - sure)[None], calibration.equal_width(sure, 15)[None]

  true = calibration.error(calibration.summed(*gaps(400_000, 99), 15))[0]
  inside, plug_in = 0, []
  for seed in range(80):
    found = gaps(n, seed)
    low, high = calibration.bounds(*found, 15)
    inside += low[0] <= true <= high[0]
    plug_in.append(calibration.error(calibration.summed(*found, 15))[0])
  assert np.mean(plug_in) > true  # the bias that the interval takes off
  assert inside >= 0.9 * 80


def test_options_that_cannot_be():
  with pytest.raises(ValueError, match='bins=0 must be at least 1'):
    calibration.Calibration(bins=0)
