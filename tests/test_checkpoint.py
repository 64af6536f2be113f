"""Checkpoints come back whole, on any mesh, or say why they cannot."""

import json
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import checkpoint, integrity, sharding
from mrl_jax.variables import Variables


def tree(scale=1.0):
  return {
    'params': {
      'encoder': {
        'layers': {0: {'kernel': scale * jnp.arange(8192.0).reshape(64, 128)}}
      },
      'head': {'bias': scale * jnp.ones(10)},
    },
    'average': {},
    'step': jnp.asarray(3, jnp.int32),
  }


def placed(mesh):
  state = tree()
  return jax.tree.map(
    lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
    state,
    sharding.shardings(state, mesh),
  )


def put(state, mesh):
  return jax.device_put(state, sharding.shardings(state, mesh))


MESH = (2, 2, 2)


def save(folder, steps, **options):
  saver = checkpoint.Checkpointer(folder, **options)
  for step, value in steps.items():
    saver.save(
      step,
      put(tree(step), sharding.make_mesh(*MESH)),
      {'examples_seen': step},
    )
    if value is not None:
      saver.scores.add(step, {'linear/top1/d8': value})
  saver.close()


@pytest.mark.parametrize('shape', [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_a_checkpoint_restores_onto_any_mesh(tmp_path, shape):
  save(tmp_path, {7: None})
  target = placed(sharding.make_mesh(*shape))
  reader = checkpoint.Checkpointer(tmp_path)
  assert reader.newest() == 7
  state, data = reader.restore(7, target)
  reader.close()
  chex.assert_trees_all_equal(jax.device_get(state), jax.device_get(tree(7)))
  assert data == {'examples_seen': 7, 'format': 2}
  for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(target)):
    assert leaf.sharding == expected.sharding
    assert leaf.dtype == expected.dtype


def test_the_last_two_and_the_best_are_kept(tmp_path):
  values = {1: 0.1, 2: 0.9, 3: 0.5, 4: None, 5: 0.6}
  save(tmp_path, values, keep=2, best='linear/top1/d8')
  assert integrity.steps(tmp_path) == [2, 4, 5]


def test_the_best_survives_a_resume_and_another_name(tmp_path):
  save(tmp_path, {1: 0.9, 2: 0.5}, keep=1, best='linear/top1/d8')
  save(tmp_path, {3: 0.4, 4: 0.3}, keep=1, best='linear/top1/d8')
  assert integrity.steps(tmp_path) == [1, 4]
  save(tmp_path, {5: 0.1}, keep=1, best='knn/top1/d8')
  assert 5 in integrity.steps(tmp_path)


def test_a_damaged_step_is_replaced_when_it_is_reached_again(tmp_path):
  save(tmp_path, {1: None, 2: None})
  data_file(tmp_path / '2').write_bytes(b'')
  assert integrity.newest_whole(tmp_path) == 1
  save(tmp_path, {2: None})
  assert integrity.newest_whole(tmp_path) == 2


def test_a_reader_leaves_a_save_in_progress_alone(tmp_path):
  save(tmp_path, {1: None})
  unfinished = tmp_path / '2.orbax-checkpoint-tmp'
  unfinished.mkdir()
  reader = checkpoint.Checkpointer(tmp_path, read_only=True)
  assert reader.newest() == 1
  reader.restore(1, placed(sharding.make_mesh(*MESH)))
  reader.close()
  assert unfinished.exists()


def test_without_a_best_metric_only_the_last_are_kept(tmp_path):
  save(tmp_path, dict.fromkeys(range(1, 5)), keep=1)
  assert integrity.steps(tmp_path) == [4]


def data_file(folder):
  return max(
    (p for p in folder.rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size,
  )


def test_a_flipped_byte_is_seen_and_the_older_step_taken(tmp_path, capsys):
  save(tmp_path, {1: None, 2: None})
  path = data_file(tmp_path / '2')
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  reader = checkpoint.Checkpointer(tmp_path)
  assert reader.newest() == 1
  assert 'checkpoint 2 is skipped' in capsys.readouterr().out
  with pytest.raises(checkpoint.CheckpointError, match='has changed since'):
    reader.restore(2, placed(sharding.make_mesh(*MESH)))
  reader.close()


def test_missing_files_and_empty_folders_are_seen(tmp_path):
  save(tmp_path, {1: None, 2: None})
  data_file(tmp_path / '2').unlink()
  (tmp_path / '9').mkdir()
  assert integrity.newest_whole(tmp_path) == 1
  data_file(tmp_path / '1').unlink()
  reader = checkpoint.Checkpointer(tmp_path)
  with pytest.raises(checkpoint.CheckpointError, match='none is whole'):
    reader.newest()
  reader.close()


def test_no_checkpoint_at_all(tmp_path):
  reader = checkpoint.Checkpointer(tmp_path / 'new')
  assert reader.newest() is None
  with pytest.raises(
    checkpoint.CheckpointError, match='no step 5; it has none'
  ):
    reader.restore(5, placed(sharding.make_mesh(*MESH)))
  reader.close()


def test_all_shapes_that_differ_are_named_together(tmp_path):
  save(tmp_path, {1: None})
  target = placed(sharding.make_mesh(*MESH))
  target['params']['head']['bias'] = jax.ShapeDtypeStruct((11,), jnp.float32)
  target['params']['head']['kernel'] = jax.ShapeDtypeStruct((3,), jnp.float32)
  reader = checkpoint.Checkpointer(tmp_path)
  with pytest.raises(checkpoint.CheckpointError, match='2 arrays differ') as e:
    reader.restore(1, target)
  reader.close()
  assert 'params/head/bias: saved (10,), expected (11,)' in str(e.value)
  assert 'params/head/kernel: saved nothing' in str(e.value)


def test_the_encoders_alone_are_restored(tmp_path):
  save(tmp_path, {4: None})
  params = placed(sharding.make_mesh(1, 8, 1))['params']
  target = Variables(params, {'encoder': {}, 'head': {}})
  restored = checkpoint.restore_encoders(tmp_path, target)
  assert list(restored.params) == list(restored.stats) == ['encoder']
  chex.assert_trees_all_equal(
    jax.device_get(restored.params['encoder']), tree(4)['params']['encoder']
  )
  kernel = target.params['encoder']['layers'][0]
  kernel['kernel'] = jax.ShapeDtypeStruct((2,), jnp.float32)
  with pytest.raises(checkpoint.CheckpointError, match='differs in 1 arrays'):
    checkpoint.restore_encoders(tmp_path, target)
  with pytest.raises(checkpoint.CheckpointError, match='no whole checkpoint'):
    checkpoint.restore_encoders(tmp_path / 'nowhere', target)
  other = Variables({'tower': {}}, {'tower': {}})
  with pytest.raises(checkpoint.CheckpointError, match='has no encoder'):
    checkpoint.restore_encoders(tmp_path, other)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_value_that_is_not_a_number_never_replaces_the_best(tmp_path, value):
  values = {1: 0.1, 2: 0.9, 3: 0.3, 4: value}
  save(tmp_path, values, keep=1, best='linear/top1/d8')
  assert integrity.steps(tmp_path) == [2, 4]
  # Nor does one of an older version, in a file of the run, wherever it stands.
  old = {1: value, 2: 0.9, 4: value}
  text = json.dumps({k: {'linear/top1/d8': v} for k, v in old.items()})
  (tmp_path / 'evaluated.json').write_text(text, encoding='utf-8')
  save(tmp_path, {5: 0.4, 6: value, 7: None}, keep=1, best='linear/top1/d8')
  assert integrity.steps(tmp_path) == [2, 7]


@pytest.mark.parametrize('value', [math.nan, -math.inf])
def test_the_first_number_replaces_what_is_not_one(tmp_path, value):
  save(tmp_path, {1: value, 2: 0.2, 3: value}, keep=1, best='linear/top1/d8')
  assert integrity.steps(tmp_path) == [2, 3]


def test_what_was_evaluated_is_known_after_a_restart(tmp_path):
  save(tmp_path, {1: 0.5, 2: None}, best='linear/top1/d8')
  scores = checkpoint.Scores(tmp_path, 'linear/top1/d8')
  assert scores.values == {1: {'linear/top1/d8': 0.5}}


def test_the_manifest_covers_every_file(tmp_path):
  save(tmp_path, {1: None})
  folder = tmp_path / '1'
  assert integrity.damage(folder) == ''
  for path in integrity.files(folder):
    data = path.read_bytes()
    path.write_bytes(data + b'x')
    assert 'has changed' in integrity.damage(folder), path
    path.write_bytes(data)
  np.testing.assert_equal(integrity.damage(folder), '')
