"""Means, intervals, and files that survive an interruption."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import metrics
from mrl_jax.progress import Progress, duration


def test_masked_mean_equals_the_subset():
  values = jnp.asarray([[1.0, 2, 9], [4, 6, 9]])
  mask = jnp.asarray([1.0, 1, 0])
  np.testing.assert_allclose(metrics.masked_mean(values, mask), [1.5, 5])
  assert float(metrics.masked_mean(values[0], jnp.zeros(3))) == 0


def test_wilson_interval_by_hand_and_at_the_ends():
  low, high = metrics.wilson_interval(8, 10)
  assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
  assert metrics.wilson_interval(0, 10)[0] == 0
  assert metrics.wilson_interval(10, 10)[1] == pytest.approx(1)
  assert metrics.wilson_interval(0, 0) == (0, 1)


def test_wilson_interval_covers():
  rng = np.random.default_rng(0)
  for p in (0.5, 0.9, 0.99):
    hits = rng.binomial(360, p, 2000)
    inside = [
      low <= p <= high
      for low, high in (metrics.wilson_interval(h, 360) for h in hits)
    ]
    assert 0.93 < np.mean(inside) < 0.98


def test_flat_names():
  row = metrics.proportion_row('knn', 'weighted', 64, 3, 4, k=20)
  assert metrics.flat_name(row) == 'knn/weighted@20/d64'
  assert row['value'] == 0.75 and row['n'] == 4


def test_a_resumed_writer_has_each_step_once(tmp_path):
  writer = metrics.Writer(tmp_path)
  for step in (1, 2, 3):
    writer.write(step, {'loss': step})
  writer.close()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "lo')  # a kill in the middle of a line
  writer = metrics.Writer(tmp_path, step=2)
  writer.write(3, {'loss': math.nan})
  writer.close()
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == [1, 2, 3]
  assert rows[-1]['loss'] == 'nan'
  assert list((tmp_path / 'tensorboard').glob('events*'))


def test_progress_lines(capsys):
  watch = Progress(0, 10, 4, shown=True)
  watch.resume()
  speed = watch.report(5, 1.25)
  line = capsys.readouterr().out
  assert line.startswith('step') and line.endswith('left\n')
  assert '5/10' in line and '1.2500' in line
  assert speed['examples_per_second'] > 0
  Progress(0, 10, 4, shown=False).report(5, 1.0)
  assert capsys.readouterr().out == ''


def test_durations():
  assert [duration(s) for s in (9, 65, 7600)] == ['9s', '1m05s', '2h06m']


def test_names_tell_depth_variant_and_dimension():
  row = metrics.mean_row('search', 'recall', 8, [1, 0.5], k=10, variant='ar')
  assert metrics.flat_name(row) == 'search/recall@10.ar/d8'
  assert row['value'] == 0.75 and row['n'] == 2
  assert metrics.row('a', 'b', 8.0, 0, (0, 1), 1)['dim'] == 8
  assert metrics.row('a', 'b', 8.126, 0, (0, 1), 1)['dim'] == 8.13


def test_intervals_by_hand():
  """Agresti-Coull of 3 in 10; Bonett and Price's symmetry."""
  z = 1.959964
  p = (3 + z * z / 2) / (10 + z * z)
  half = z * (p * (1 - p) / (10 + z * z)) ** 0.5
  low, high = metrics.mean_interval(np.array([1] * 3 + [0] * 7))
  assert (low, high) == pytest.approx((p - half, p + half))
  assert metrics.mean_interval(np.ones(50))[0] < 1  # never of width 0
  assert metrics.mean_interval(np.array([])) == (0, 1)
  low, high = metrics.paired_ratio_interval(90, 5, 5)
  assert low < 1 < high and low * high == pytest.approx(1)
  assert metrics.paired_ratio_interval(0, 0, 0) == (0, np.inf)
