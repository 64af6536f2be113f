"""The result never depends on the number or arrangement of devices."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mrl_jax import contracts, inputs, optim, sharding, state
from mrl_jax.encoders import vit
from mrl_jax.losses import softmax
from mrl_jax.tasks import classify
from mrl_jax.variables import Variables

MESHES = [(8, 1, 1), (1, 8, 1), (2, 2, 2)]
DIMS = (8, 16, 64)


def one_device():
  return jax.sharding.Mesh(
    np.asarray(jax.devices()[:1]).reshape(1, 1, 1), sharding.AXES
  )


def make_task(**options):
  image = inputs.image.Image(8, channels=1)
  spec = contracts.Spec(
    {'image': image},
    classes=tuple('abcdefghijklmnop'),
    encoder=functools.partial(vit.ViT, 'tiny', 2, depth=2, heads=4, **options),
  )
  return classify.Classify(
    spec,
    DIMS,
    (1.0, 1.0, 1.0),
    loss=functools.partial(softmax.Softmax, label_smoothing=0.1),
    mixup=0.2,
  )


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  return {
    'image': rng.integers(0, 256, (16, 8, 8, 1), np.uint8),
    'label': rng.integers(0, 16, 16).astype(np.int32),
    'mask': np.ones(16, np.float32),
  }


def prepared(mesh, batch, task=None, accumulate=1, clip_norm=1.0):
  task = task or make_task(dropout=0.1, drop_path=0.1)
  schedule = optim.make_schedule('constant', 1e-2, 0, 10)
  optimizer = optim.make_optimizer(
    'sgd', schedule, weight_decay=0.1, clip_norm=clip_norm
  )
  init, shapes = state.abstract(task, optimizer, averaged=True)
  placed = state.place(shapes, mesh)
  created = state.create(init, placed, seed=0)
  step = state.make_step(
    task,
    optimizer,
    schedule,
    placed,
    seed=1,
    accumulate=accumulate,
    average=0.9,
  )
  rows = sharding.local_rows(16, mesh)
  put = sharding.global_batch(batch, rows, 16, mesh)
  return task, created, step, put


@functools.cache
def reference(seed=0):
  rng = np.random.default_rng(0)
  batch = {
    'image': rng.integers(0, 256, (16, 8, 8, 1), np.uint8),
    'label': rng.integers(0, 16, 16).astype(np.int32),
    'mask': np.ones(16, np.float32),
  }
  return results(one_device(), batch)


def test_a_mesh_over_given_devices():
  some = jax.devices()[6:]
  mesh = sharding.make_mesh(fsdp=2, devices=some)
  assert dict(mesh.shape) == {'data': 1, 'fsdp': 2, 'tensor': 1}
  assert set(mesh.devices.flat) == set(some)
  with pytest.raises(ValueError, match='does not fit 2 devices'):
    sharding.make_mesh(data=8, devices=some)


def results(mesh, batch):
  """(loss, gradients, embeddings, state after a step), all on the host."""
  task, created, step, put = prepared(mesh, batch)
  key = jax.random.key(3)
  params, stats = created.variables
  loss, gradients = jax.jit(
    jax.value_and_grad(lambda p: task.loss(Variables(p, stats), put, key)[0])
  )(params)
  embedding = jax.jit(task.embed)(created.variables, put)
  first = jax.device_get(params)
  after, values = step(created, put)
  return jax.device_get(
    dict(
      params=first,
      loss=loss,
      gradients=gradients,
      embedding=embedding,
      after=after,
      values=values,
    )
  )


@pytest.mark.slow
@pytest.mark.parametrize('shape', MESHES)
def test_eight_devices_equal_one(shape, batch):
  ours = results(sharding.make_mesh(*shape), batch)
  theirs = reference()
  # The same key makes the same parameters on any mesh, to the last bit.
  chex.assert_trees_all_equal(ours['params'], theirs['params'])
  # Sums over devices are taken in another order: float32, 2 blocks.
  chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize('shape', MESHES)
def test_state_is_created_in_parts(shape, batch):
  mesh = sharding.make_mesh(*shape)
  _, created, step, put = prepared(mesh, batch)
  large = 0
  for leaf in jax.tree.leaves(created):
    if leaf.size >= sharding.SMALLEST_SHARDED and shape != (8, 1, 1):
      parts = {s.data.size for s in leaf.addressable_shards}
      assert max(parts) < leaf.size
      large += 1
  assert large or shape == (8, 1, 1)
  before = jax.tree.map(lambda x: x.sharding, created)
  after, _ = step(created, put)
  assert jax.tree.map(lambda x: x.sharding, after) == before


def collectives(mesh, batch):
  _, created, step, put = prepared(mesh, batch, make_task())
  text = step.lower(created, put).compile().as_text()
  names = 'all-reduce all-gather reduce-scatter all-to-all'.split()
  return {n: len(re.findall(rf'= \S+ {n}(-start)?\(', text)) for n in names}


@pytest.mark.slow
def test_collectives_are_where_they_should_be_and_nowhere_else(batch):
  alone = collectives(one_device(), batch)
  assert sum(alone.values()) == 0
  data = collectives(sharding.make_mesh(8, 1, 1), batch)
  assert data['all-reduce'] > 0  # gradients
  assert data['all-to-all'] == 0
  fsdp = collectives(sharding.make_mesh(1, 8, 1), batch)
  assert fsdp['all-gather'] > data['all-gather']  # parameters
  tensor = collectives(sharding.make_mesh(1, 1, 8), batch)
  assert tensor['all-reduce'] > 0  # after each attention and MLP


@pytest.mark.slow
def test_accumulation_equals_the_whole_batch(batch):
  task = make_task()
  task.mixup = 0.0  # drawn per part
  mesh = sharding.make_mesh(2, 2, 2)
  after = []
  for parts in (1, 4):
    # Clipping would hide a wrong scale.
    _, created, step, put = prepared(mesh, batch, task, parts, clip_norm=0)
    new, values = step(created, put)
    after.append(jax.device_get((new, values['loss'])))
  chex.assert_trees_all_close(*after, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_moving_average_by_hand(batch):
  _, created, step, put = prepared(one_device(), batch)
  start = jax.device_get(created.variables)
  after, _ = step(created, put)
  expected = jax.tree.map(
    lambda old, new: 0.1 * old + 0.9 * np.asarray(new), start, after.variables
  )  # decay min(0.9, 1 / 10) at step 0
  chex.assert_trees_all_close(after.average, expected, rtol=1e-5, atol=1e-6)
  assert after.best is after.average


def test_rules():
  mesh = sharding.make_mesh(2, 2, 2)
  cases = {
    ('encoder/layers/0/attention/query/kernel', (64, 4, 16)): P(
      'fsdp', 'tensor', None
    ),
    ('opt/0/encoder/layers/0/mlp/down/kernel', (256, 64)): P('tensor', 'fsdp'),
    ('encoder/layers/0/attention/qkv/kernel', (64, 3, 4, 16)): P(
      'fsdp', None, 'tensor', None
    ),
    ('encoder/layers/0/mlp/up/kernel', (64, 2, 96)): P('fsdp', None, 'tensor'),
    ('encoder/layers/0/mlp/gate/kernel', (64, 96)): P('fsdp', 'tensor'),
    ('encoder/layers/0/attention/key/kernel', (64, 3, 32)): P(
      'fsdp', None, None
    ),
    ('encoder/tokens/embedding', (512, 64)): P('tensor', 'fsdp'),
    ('encoder/tokens/embedding', (511, 64)): P(None, 'fsdp'),
    ('head/classifiers/2/kernel', (64, 1000)): P('fsdp', 'tensor'),
    ('head/classifiers/2/kernel', (64, 1001)): P('fsdp', None),
    ('head/bias', (1, 10)): P(None, None),
    ('encoder/norm/scale', (64,)): P(None),
    ('encoder/layers/0/mlp/up/bias', (256,)): P('tensor'),
    ('step', ()): P(),
  }
  for (path, shape), expected in cases.items():
    assert sharding.spec(path, shape, mesh) == expected, path


def test_rows_of_a_batch_reach_their_place():
  mesh = sharding.make_mesh(2, 2, 2)
  rows = sharding.local_rows(8, mesh)
  assert rows.tolist() == list(range(8))
  batch = sharding.global_batch({'x': np.arange(8)}, rows, 8, mesh)
  chex.assert_trees_all_equal(np.asarray(batch['x']), np.arange(8))
  assert batch['x'].sharding.shard_shape((8,)) == (2,)


@pytest.mark.parametrize(
  ('sizes', 'said'),
  [
    ((3, 1, 1), 'does not fit 8 devices'),
    ((-1, 3, 1), 'does not fit 8 devices'),
    ((-1, -1, 1), 'one may be -1'),
    ((0, 1, 1), 'at least 1'),
  ],
)
def test_meshes_that_do_not_fit(sizes, said):
  with pytest.raises(ValueError, match=said):
    sharding.make_mesh(*sizes)


def test_batches_that_do_not_divide_name_two_that_do():
  mesh = sharding.make_mesh(2, 2, 2)
  sharding.check_batch(8, mesh, 'train.batch_size')
  with pytest.raises(ValueError, match='batch_size=10 .* use 8 or 12'):
    sharding.check_batch(10, mesh, 'train.batch_size')
  with pytest.raises(ValueError, match='accumulate 3.* use 12 or 24'):
    sharding.check_batch(16, mesh, 'train.batch_size', 3)


def test_launchers_are_recognised():
  assert not sharding.launched_on_many({})
  assert not sharding.launched_on_many({'SLURM_NTASKS': '1'})
  assert sharding.launched_on_many({'SLURM_NTASKS': '4'})
  assert sharding.launched_on_many({'TPU_WORKER_HOSTNAMES': 'a,b'})
  with pytest.raises(ValueError, match='--distributed=nonsense'):
    sharding.initialise('nonsense')


@pytest.mark.slow
def test_embeddings_stay_split(batch):
  mesh = sharding.make_mesh(2, 2, 2)
  task, created, _, put = prepared(mesh, batch)
  z = jax.jit(task.embed)(created.variables, put)
  assert z.sharding.shard_shape(z.shape)[0] == 4
  assert jnp.isfinite(z).all()
