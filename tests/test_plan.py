"""Plans: what is read off compiled programs, and the command as a whole."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import pytest

from mrl_jax import build, chips, config, costs, plan, state
from mrl_jax.data import FACTS, SOURCES, prepared, source
from mrl_jax.report import plans

SMOKE = '--config=configs/vit_mrl.py:imagenet,smoke'

PARTS = ('parameters optimizer average batch other temporaries program').split()

HLO = """HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.1 (input: f32[64,8]) -> f32[16,8] {
  %all-reduce.1 = f32[64,8]{1,0} all-reduce(%input), channel_id=1, to_apply=%add
  ROOT %slice = f32[16,8]{1,0} dynamic-slice(%all-reduce.1)
}

%piece.1 (p: bf16[4]) -> bf16[16] {
  ROOT %all-gather.1 = bf16[16]{0:T(8,128)(2,1)} all-gather(%p), channel_id=2
}

%piece.2 (p: bf16[4]) -> bf16[16] {
  ROOT %all-gather.2 = bf16[16]{0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=2
}

%body (carry: (f32[2])) -> (f32[2]) {
  %fusion.1 = bf16[16]{0} fusion(%x), kind=kCustom, calls=%piece.1
  %fusion.2 = bf16[16]{0} fusion(%x), kind=kCustom, calls=%piece.2
  ROOT %all-reduce.2 = (f32[2]{0}, /*index=1*/bf16[3,5]{1,0}) all-reduce(%x, %y), channel_id=3, to_apply=%add
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %while.1 = (f32[2]{0}) while(%tuple), condition=%test, body=%body, metadata={op_name="jit(step)/while"}
  %fusion.3 = f32[16,8]{1,0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
  %collective-permute-start.1 = (u8[6]{0}, u8[6]{0}, u32[]{:S(2)}) collective-permute-start(%z), channel_id=4
  %collective-permute-done.1 = u8[6]{0} collective-permute-done(%collective-permute-start.1)
  ROOT %all-to-all.1 = pred[7]{0} all-to-all(%w), channel_id=5
}
"""  # noqa: E501 (an instruction is a line)


def test_collectives_by_hand():
  assert costs.collectives(HLO) == {
    'all-reduce': {'count': 1, 'bytes': 2 * 4 + 15 * 2},
    'all-gather': {'count': 1, 'bytes': 32},
    'reduce-scatter': {'count': 1, 'bytes': 512},
    'collective-permute': {'count': 1, 'bytes': 6},
    'all-to-all': {'count': 1, 'bytes': 7},
  }


def test_collectives_of_the_step_s_loop_count_once_a_round():
  once, thrice = costs.collectives(HLO), costs.collectives(HLO, repeats=3)
  for kind in once:
    inside = kind in ('all-reduce', 'all-gather')
    for key, value in once[kind].items():
      assert thrice[kind][key] == value * (3 if inside else 1)


def test_collectives_of_a_real_program():
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
  rows = jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=where)
  compiled = jax.jit(lambda x: x.sum(0)).lower(rows).compile()
  found = costs.collectives(compiled.as_text())
  assert found['all-reduce'] == {'count': 1, 'bytes': 16}


def test_matmul_flops_by_hand():
  def step(x, kernel):  # x [3 5], kernel [5 5]
    def layer(x, _):
      return jax.checkpoint(lambda x: jnp.tanh(x @ kernel))(x), None

    x, _ = jax.lax.scan(layer, x, length=7)
    image = x.reshape(1, 1, 5, 3)
    filters = jnp.ones((1, 2, 3, 4))  # [h w in out]
    return x @ kernel, jax.lax.conv_general_dilated(
      image,
      filters,
      (1, 1),
      'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  jaxpr = jax.make_jaxpr(step)(jnp.ones((3, 5)), jnp.ones((5, 5)))
  matmul, convolution = 2 * 3 * 5 * 5, 2 * (1 * 4 * 4) * (1 * 2 * 3)
  assert costs.matmul_flops(jaxpr) == 8 * matmul + convolution
  assert costs.matmul_flops(jaxpr, loops=False) == 2 * matmul + convolution


def test_roofline_takes_what_binds():
  assert costs.roofline(2e12, 1e9, 1e12, 1e9) == {
    'flops_seconds': 2.0,
    'bandwidth_seconds': 1.0,
    'roofline_seconds': 2.0,
    'bound_by': 'flops',
  }
  assert costs.roofline(1e12, 3e9, 1e12, 1e9)['bound_by'] == 'bandwidth'


def test_a_program_too_large_names_what_it_needs():
  said = (
    'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required '
    'for HLO temporaries (34.5G) exceeds available HBM (15.75G).'
  )
  assert costs.hbm_needed(said) == 34.5 * 2**30
  with pytest.raises(RuntimeError, match='INTERNAL: other'):
    costs.hbm_needed('INTERNAL: other')


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


def test_the_plan_of_a_step_beside_ff(run_cli, two_chips):
  code, out, err = run_cli(
    'mrl_jax.plan',
    '--config=configs/vit_mrl.py:smoke',
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
  loaded, _ = config.load('configs/vit_mrl.py:smoke')
  loaded.mesh.fsdp = 2
  planner = plan.Planner('v5e:1x2', chips.devices(''), chips.CHIPS['v5e'])
  learner = planner.learner(loaded)
  created = state.create(learner.init, learner.placed, seed=0)

  def held(tree):
    return sum(
      x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree)
    )

  memory = report['steps']['mrl']['memory']
  assert memory['parameters'] == held(created.params)
  assert memory['optimizer'] == held(created.opt_state)
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


def test_the_abstract_batch_is_the_real_one(tmp_path):
  from mrl_jax.data import feed

  loaded, _ = config.load('configs/vit_mrl.py:smoke')
  run = build.run(loaded, tmp_path)
  real = next(run.feed.training(0))
  ours = feed.abstract_batch(16, run.encoder.image_size, 1, run.mesh)
  assert real.keys() == ours.keys()
  for name, array in real.items():
    assert (array.shape, array.dtype) == (ours[name].shape, ours[name].dtype)
    assert array.sharding.is_equivalent_to(ours[name].sharding, array.ndim)


def test_a_step_too_large_is_said(monkeypatch, run_cli, two_chips):
  def refuse(self):
    raise jax.errors.JaxRuntimeError(
      'RESOURCE_EXHAUSTED: temporaries (40.0G) exceeds available HBM (15.75G).'
    )

  monkeypatch.setattr(jax.stages.Lowered, 'compile', refuse)
  code, out, err = run_cli(
    'mrl_jax.plan',
    '--config=configs/vit_mrl.py:smoke',
    '--topology=v5e:1x2',
    '--no-largest-batch',
  )
  assert code == 0 and 'too large' in err
  assert 'DOES NOT FIT: 40 GiB, 254.0% of the usable' in out
  assert re.search(r'FLOPs +- +-\n', out)


def test_the_table_by_hand():
  def step(scale):
    return {
      'memory': dict.fromkeys(PARTS, 0)
      | {'total': scale * 2**30, 'share': scale / 16, 'fits': True},
      'flops': scale * 1e12,
      'matmul_flops': scale * 1e12,
      'bytes_accessed': 2**20,
      'flops_seconds': 0.0125 * scale,
      'bandwidth_seconds': 0.001,
      'roofline_seconds': 0.0125 * scale,
      'bound_by': 'flops',
      'collectives': {'all-reduce': {'count': 3, 'bytes': 2048}},
    }

  said = plans.text(
    {
      'topology': 'v5e:4x4',
      'chips': 16,
      'chip': vars(chips.CHIPS['v5e']),
      'mesh': {'data': 16, 'fsdp': 1},
      'batch_size': 1024,
      'steps': {'mrl': step(3), 'ff': step(2)},
      'largest_batch': {'size': 4096},
    }
  )
  assert 'fits: 3 GiB, 18.8% of the usable' in said
  assert 'roofline 37.5 ms a step, bound by flops: 27,307 examples/s' in said
  assert 'largest global batch that fits: 4,096' in said
  assert re.search(r'\n  total +3 GiB +2 GiB +1\.5000\n', said)
  assert re.search(r'\n  FLOPs +3 TFLOP +2 TFLOP +1\.5000\n', said)
  assert re.search(r'\n  FLOPs at the peak +37\.5 ms +25 ms +1\.5000\n', said)
  assert re.search(r'\n  all-reduce +3, 2 KiB +3, 2 KiB$', said)


@pytest.mark.parametrize(
  ('words', 'said'),
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
def test_what_is_wrong_is_one_line(run_cli, request, words, said):
  if words[0] == '--topology=v5e:1x2':
    request.getfixturevalue('two_chips')
  code, out, err = run_cli('mrl_jax.plan', SMOKE, *words)
  assert code == 2 and not out
  assert err.startswith('error: ') and err.count('\n') == 1
  assert re.search(said if '*' in said else re.escape(said), err)


def test_without_libtpu_it_says_what_to_install(run_cli, monkeypatch):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  code, _, err = run_cli('mrl_jax.plan', SMOKE, '--topology=v5e:2x2')
  assert code == 2
  assert err.count('\n') == 1 and "pip install -e '.[tpu]'" in err


def test_facts_are_those_of_the_data(tmp_path, photos):
  from PIL import Image

  assert SOURCES.keys() == FACTS.keys()
  assert FACTS['digits']() == SOURCES['digits'](str(tmp_path)).facts
  assert FACTS['cifar100'](path='nowhere') == source.Facts(100, 3)
  assert FACTS['fashion_mnist']() == source.Facts(10, 1)
  for name in ('cat', 'dog', 'eel'):
    (tmp_path / 'images' / name).mkdir(parents=True)
    for i in range(2):
      path = tmp_path / 'images' / name / f'{i}.png'
      Image.fromarray(photos[i]).save(path)
  folder = FACTS['folder'](path=str(tmp_path / 'images'), channels=1)
  assert folder == source.Facts(3, 1)


def test_facts_of_the_catalogue_need_no_data(tmp_path):
  facts = prepared.facts(str(tmp_path), 'imagenet2012', train='train')
  assert facts == source.Facts(1000, 3)
  assert prepared.facts(str(tmp_path), 'imagenet_resized/8x8').classes == 1000
  with pytest.raises(ValueError, match="no prepared dataset 'mine'"):
    prepared.facts(str(tmp_path), 'mine')


@pytest.mark.parametrize(
  ('topology', 'count', 'example'),
  [('v5e:1x1', 1, 'v5e'), ('v4:2x2x2', 8, 'v4'), ('v6e:16x16', 256, 'v6e')],
)
def test_a_device_is_a_chip(topology, count, example):
  pytest.importorskip('libtpu')
  assert len(chips.devices(topology)) == count
  assert chips.find(topology) is chips.CHIPS[example]


def test_a_slice_that_cannot_be_is_refused():
  pytest.importorskip('libtpu')
  with pytest.raises(ValueError, match='v5e:3x3.*it must be a chip'):
    chips.devices('v5e:3x3')


def test_the_tpu_compiler_plans_a_real_step(run_cli):
  pytest.importorskip('libtpu')
  argv = ['mrl_jax.plan', SMOKE, '--topology=v5e:2x2', '--no-largest-batch']
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
