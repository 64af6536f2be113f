"""Parameters and statistics travel whole: trained, averaged, saved, loaded."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import build, encoders, heads, nested, stored, workdir
from mrl_jax.state import TrainState, moved
from mrl_jax.variables import Part, Variables, stats_of
from tests.samples import runs
from tests.samples.pieces import NormNet

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=''):
  return ConfigDict(dict(
    dims=(4, 8, 16),
    inputs=dict(image=dict(name='image', size=8)),
    encoder=dict(name='norm_net', depth=12),
    data=dict(source=dict(name='digits'), threads=1),
    train=dict(steps=6, batch_size=16, log_every=1, eval_every=3),
    optim=dict(average=0.9, learning_rate=0.01),
    eval=dict(batch_size=64, only=('linear',)),
    checkpoint=dict(every=3, keep=3),
  ))
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
  """The flag of a config whose encoder has batch statistics."""
  monkeypatch.setitem(encoders.ENCODERS, 'norm_net', NormNet)
  path = tmp_path / 'norm_net.py'
  path.write_text(CONFIG)
  return f'--config={path}'


def state_of(folder, step):
  run = build.run(workdir.read_config(folder), folder)
  saver = run.checkpointer(read_only=True)
  tree, _ = saver.restore(step, run.learner.placed.to_tree())
  saver.close()
  return run, jax.device_get(TrainState.from_tree(tree))


def net(**options):
  return Part(
    lambda rngs: NormNet(image_size=(2, 2), channels=1, rngs=rngs, **options)
  )


def test_layers_beyond_ten_keep_their_order():
  """Block i computes with the parameters and statistics named i."""
  part = net()
  variables = part.init(jax.random.key(0))
  for i in range(12):
    variables.params['layers'][i]['bias'] = jnp.full(16, float(i))
    variables.stats['norms'][i]['mean'] = jnp.full(16, float(-i))
  module = part.module(jax.tree.map(lambda x: x + 0, variables))
  assert [int(x.bias[0]) for x in module.layers] == list(range(12))
  assert [int(-x.mean[0]) for x in module.norms] == list(range(12))
  chex.assert_trees_all_equal(stats_of(module), variables.stats)
  text = stored.to_text(variables._asdict())
  assert all(isinstance(key, str) for key in text['params']['layers'])
  chex.assert_trees_all_equal(Variables(**stored.from_text(text)), variables)


@pytest.mark.slow
def test_a_head_of_more_than_ten_prefixes():
  dims = tuple(range(1, 14))
  part = Part(lambda rngs: heads.MRL(dims, 3, rngs=rngs))
  head = part.module(part.init(jax.random.key(0)))
  assert [c.kernel.shape[0] for c in head.kernels()] == list(dims)


def test_format_1_is_read_in_the_order_of_its_names_as_text():
  tree = {'layers': {i: i for i in range(12)}}
  names = sorted(map(str, range(12)))
  assert stored.to_text(tree, 1)['layers'] == {
    n: i for i, n in enumerate(names)
  }
  assert stored.from_text(stored.to_text(tree, 1), 1) == tree
  assert stored.to_text(tree)['layers'] == {str(i): i for i in range(12)}


def test_each_norm_keeps_the_means_of_its_own_layer():
  """With momentum 0 they are those of the last batch, layer by layer."""
  part = net(momentum=0.0)
  variables = part.init(jax.random.key(1))
  images = jax.random.normal(jax.random.key(2), (32, 2, 2, 1))

  @jax.jit
  def trained(variables, images):
    module = part.module(variables)
    module(images, train=True)
    return stats_of(module)

  stats = jax.device_get(trained(variables, images))
  p = jax.device_get(variables.params)
  x = np.asarray(images).reshape(32, -1) @ p['enter']['kernel']
  for i in range(12):
    y = x @ p['layers'][i]['kernel']
    np.testing.assert_allclose(stats['norms'][i]['mean'], y.mean(0), atol=1e-5)
    np.testing.assert_allclose(
      stats['norms'][i]['var'], y.var(0), rtol=1e-4, atol=1e-5
    )
    x = x + np.maximum((y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5), 0)


def test_a_moving_average_takes_whole_numbers_over():
  average = {'mean': jnp.zeros(2), 'count': jnp.asarray(3)}
  new = {'mean': jnp.ones(2), 'count': jnp.asarray(4)}
  result = moved(average, new, jnp.asarray(0.75))
  np.testing.assert_allclose(result['mean'], 0.25)
  assert result['count'] == 4


@pytest.mark.slow
def test_a_run_with_statistics_resumes_to_the_last_bit(
  config, run_cli, tmp_path
):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  code, _, err = run_cli('train', config, f'--workdir={whole}')
  assert code == 0, err
  words = [config, f'--workdir={parts}']
  code, _, err = run_cli('train', *words, '--config.train.steps=6')
  assert code == 0, err
  import shutil

  shutil.rmtree(parts / 'checkpoints' / '6')
  (parts / 'checkpoints' / 'evaluated.json').unlink()
  code, out, err = run_cli('train', *words)
  assert code == 0 and 'resuming from step 3' in out, err
  (_, a), (_, b) = state_of(whole, 6), state_of(parts, 6)
  chex.assert_trees_all_equal(a, b)
  means = [a.variables.stats['encoder']['norms'][i]['mean'] for i in range(12)]
  assert all(np.abs(mean).max() > 1e-4 for mean in means)
  assert all(
    np.abs(mean - a.average.stats['encoder']['norms'][i]['mean']).max() > 0
    for i, mean in enumerate(means)
  )
  rows = (whole / 'eval' / '6' / 'results.jsonl').read_text()
  assert (parts / 'eval' / '6' / 'results.jsonl').read_text() == rows
  code, _, err = run_cli('eval', f'--workdir={whole}', '--fresh')
  assert code == 0, err
  assert (whole / 'eval' / '6' / 'results.jsonl').read_text() == rows


@pytest.mark.slow
def test_a_new_run_takes_parameters_and_statistics_together(
  config, run_cli, tmp_path
):
  """`init_from`: the old average; the new average begins there."""
  first = tmp_path / 'first'
  assert run_cli('train', config, f'--workdir={first}')[0] == 0
  _, old = state_of(first, 6)
  saved = json.loads((first / 'config.json').read_text())
  saved |= {'init_from': str(first), 'seed': 5}
  second = tmp_path / 'second'
  second.mkdir()
  (second / 'config.json').write_text(json.dumps(saved))
  run = build.run(workdir.read_config(second), second)
  fresh = jax.device_get(run.create())
  for variables in (fresh.variables, fresh.average):
    chex.assert_trees_all_equal(
      variables.part('encoder'), old.average.part('encoder')
    )
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(
      fresh.variables.part('head'), old.average.part('head')
    )


@pytest.mark.slow
def test_evaluation_uses_the_averaged_statistics(config, tmp_path):
  from mrl_jax import schema
  from mrl_jax.config import load

  loaded = schema.complete(load(config.partition('=')[2])[0])
  run = build.run(loaded, tmp_path)
  fresh = run.create()
  broken = TrainState(
    fresh.step,
    jax.tree.map(lambda x: x * jnp.nan, fresh.variables),
    fresh.opt_state,
    fresh.average,
  )
  expected = runs.evaluated(run, 'linear', runs.averaged(fresh))
  assert runs.evaluated(run, 'linear', broken) == expected


def test_matryoshka_is_what_a_loss_over_granularities_sums():
  """One more prefix adds its own weighted loss and nothing else."""
  z = jax.random.normal(jax.random.key(0), (5, 16))
  loss = functools.partial(jnp.sum, axis=-1)
  two = nested.matryoshka(loss, (8, 16), (2.0, 1.0))(z)
  np.testing.assert_allclose(two, 2 * z[:, :8].sum(-1) + z.sum(-1), rtol=1e-5)
