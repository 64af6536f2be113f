"""Plans: the search for the largest batch, and the command as a whole."""

import json
import re
import sys

import jax
import pytest

from mrl_jax import chips, plan
from tests.samples import runs

SMOKE = '--config=configs/vit_mrl.py:imagenet,smoke'

PARTS = ('parameters optimizer average batch other temporaries program').split()


@pytest.mark.parametrize('start', [64, 640, 6400])
def test_the_largest_batch_fills_the_chip(start):
  asked = []

  def total(size):  # affine, then saved on as compilers do near the limit
    asked.append(size)
    used = 1000 + 10 * size
    return used, used <= 16_000

  first = (start, *total(start))
  tries = plan.largest_batch(total, first, fixed=900, usable=16_000, unit=16)
  best = max(size for size, _, fits in tries if fits)
  assert 0.95 * 1500 <= best <= 1500
  assert all(size % 16 == 0 for size in asked)
  assert len(asked) == len(set(asked)) <= 1 + plan.TRIES


def test_no_batch_fits():
  tries = plan.largest_batch(
    lambda size: (size + 2000, False), (64, 2064, False), 2000, 1000, 16
  )
  assert not any(fits for _, _, fits in tries)
  assert min(size for size, _, _ in tries) >= 16


def test_a_batch_that_fails_early_is_halved_towards():
  def total(size):  # the line says 1480, but the compiler needs a step more
    return 1000 + 10 * size, size <= 1200

  first = (640, *total(640))
  tries = plan.largest_batch(total, first, fixed=900, usable=16_000, unit=16)
  assert [size for size, _, _ in tries[1:3]] == [1472, 1056]
  assert max(size for size, _, fits in tries if fits) == 1056


@pytest.fixture
def two_chips(monkeypatch):
  """Two emulated CPU devices in place of a slice: no libtpu needed."""
  monkeypatch.setattr(chips, 'devices', lambda topology: jax.devices()[:2])
  monkeypatch.setattr(
    plan.importlib.metadata, 'version', lambda name: f'{name} 1'
  )


@pytest.mark.slow
def test_the_plan_of_a_step_beside_ff(run_cli, two_chips):
  code, out, err = run_cli(
    'plan',
    '--config=configs/vit_mrl.py:digits,smoke',
    '--topology=v5e:1x2',
    '--no-largest-batch',
    '--json',
    '--config.mesh.fsdp=2',
    '--config.task.dims_per_step=2',
  )
  assert code == 0, err
  assert re.search(r'compiling mrl, batch 16, for v5e:1x2 \.\.\. \d+ s\n', err)
  report = json.loads(out)
  assert report['mesh'] == {'data': 1, 'fsdp': 2, 'tensor': 1}

  # The bytes are those of the state that training makes.
  settings = runs.loaded('vit_mrl.py:digits,smoke', '--config.mesh.fsdp=2')
  planner = plan.Planner('v5e:1x2', chips.devices(''), chips.CHIPS['v5e'])
  parameters, optimizer = runs.bytes_of_a_device(planner.learner(settings))
  memory = report['steps']['mrl']['memory']
  assert memory['parameters'] == parameters
  assert memory['optimizer'] == optimizer
  assert memory['batch'] == 8 * (8 * 8 + 4 + 4)  # 8 rows
  assert memory['fits'] and memory['total'] == sum(memory[k] for k in PARTS)

  # MRL's extra classifiers, 8 + 16 rows, forward and backward, and little
  # more: the weighted sum over prefixes.
  ours, ff = report['steps']['mrl'], report['steps']['ff']
  rows = report['batch_size'] / report['chips']
  extra = 2 * rows * (8 + 16) * 10
  difference = ours['matmul_flops'] - ff['matmul_flops']
  assert 3 * extra <= difference <= 3.02 * extra
  assert report['ratios']['flops'] == ours['flops'] / ff['flops']
  assert ours['collectives']['all-reduce']['count'] > 0

  # Six steps at the roofline, on two chips.
  hours = 6 * ours['roofline_seconds'] / 3600
  assert report['run'] == {'steps': 6, 'hours': hours, 'chip_hours': 2 * hours}


def test_the_hours_of_epochs_need_the_number_of_examples():
  settings = runs.loaded(
    'vit_mrl.py:digits,smoke',
    '--config.train.steps=0',
    '--config.train.epochs=2.5',
  )
  step = {'roofline_seconds': 36.0}
  unknown = plan.whole_run(settings, step, 4, None)
  assert unknown == {'steps': None, 'hours': None, 'chip_hours': None}
  # 2.5 epochs of 100 examples are 15.6 batches of 16.
  known = plan.whole_run(settings, step, 4, 100)
  assert known == {'steps': 16, 'hours': 0.16, 'chip_hours': 0.64}
  step = {'roofline_seconds': None}
  assert plan.whole_run(settings, step, 4, 100)['hours'] is None


def test_the_abstract_batch_is_the_real_one(tmp_path):
  run = runs.built(runs.loaded(), tmp_path)
  real, planned = next(run.feed.training(0)), run.learner.batch
  assert real.keys() == planned.keys()
  for name, array in real.items():
    assert array.shape == planned[name].shape
    assert array.dtype == planned[name].dtype
    assert array.sharding.is_equivalent_to(planned[name].sharding, array.ndim)


def test_a_step_too_large_is_said(monkeypatch, run_cli, two_chips):
  def refuse(self):
    raise jax.errors.JaxRuntimeError(
      'RESOURCE_EXHAUSTED: temporaries (40.0G) exceeds available HBM (15.75G).'
    )

  monkeypatch.setattr(jax.stages.Lowered, 'compile', refuse)
  code, out, err = run_cli(
    'plan',
    '--config=configs/vit_mrl.py:digits,smoke',
    '--topology=v5e:1x2',
    '--no-largest-batch',
  )
  assert code == 0 and 'too large' in err
  assert 'DOES NOT FIT: 40 GiB, 254.0% of the usable' in out
  assert re.search(r'FLOPs +- +-\n', out)


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--topology=h100:2x2'], 'must be a chip (v4, v5e, v5p, v6e)'),
    (['--topology=v5e'], 'like v4:2x2x4, v5e:4x4'),
    (['--topology=v5e:4'], 'like v4:2x2x4, v5e:4x4'),
    (['--topology=v5e:1x2', '--config.mesh.data=3'], 'does not fit 2 devices'),
    (['--topology=v5e:1x2', '--config.train.batch_size=15'], 'use 14 or 16'),
    (['--topology=v5e:1x2', '--config.zzz=1'], 'zzz is unknown'),
    (['--topology=v5e:1x2', '--classes=0'], '--classes=0 must be above 0'),
    (
      ['--topology=v5e:1x2', '--config.data.source.dataset=mine'],
      "no prepared dataset 'mine'.*give --classes=N",
    ),
  ],
)
def test_what_is_wrong_is_one_line(run_cli, request, words, message):
  if words[0] == '--topology=v5e:1x2':
    request.getfixturevalue('two_chips')
  code, out, err = run_cli('plan', SMOKE, *words)
  assert code == 2 and not out
  assert err.startswith('error: ') and err.count('\n') == 1
  pattern = message if '*' in message else re.escape(message)
  assert re.search(pattern, err)


def test_without_libtpu_it_says_what_to_install(run_cli, monkeypatch):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  code, _, err = run_cli('plan', SMOKE, '--topology=v5e:2x2')
  assert code == 2
  assert err.count('\n') == 1 and "pip install -e '.[tpu]'" in err


@pytest.mark.slow
def test_the_tpu_compiler_plans_a_real_step(run_cli):
  pytest.importorskip('libtpu')
  argv = ['plan', SMOKE, '--topology=v5e:2x2', '--no-largest-batch']
  code, out, err = run_cli(*argv, '--json')
  assert code == 0, err
  report = json.loads(out)
  assert report['mesh'] == {'data': 4, 'fsdp': 1, 'tensor': 1}
  for step in report['steps'].values():
    memory, sent = step['memory'], step['collectives']
    assert memory['fits'] and min(memory.values()) >= 0
    # Everything beside the matmuls is little.
    assert 1 <= step['flops'] / step['matmul_flops'] < 1.3
    # Each gradient is summed once: in bfloat16, or in float32.
    assert 0.5 <= sent['all-reduce']['bytes'] / memory['parameters'] < 1.01
    assert sent['all-gather']['count'] == 0
