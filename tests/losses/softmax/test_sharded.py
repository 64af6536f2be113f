"""Eight devices give one device's numbers, and exchange little."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mrl_jax import costs, nested, sharding
from mrl_jax.losses import softmax

MESHES = [(8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 1, 8)]


@pytest.mark.parametrize('form', ['dense', 'tiled'])
@pytest.mark.parametrize(
  'v, sizes', [*((40, sizes) for sizes in MESHES), (41, (2, 2, 2))]
)
def test_eight_devices_equal_one(small, form, v, sizes):
  """Rows over data and fsdp, classes over tensor, some that do not divide."""
  with jax.enable_x64(True):
    case = small.make(v=v, b=24)
    mesh = sharding.make_mesh(*sizes)
    rows = NamedSharding(mesh, PartitionSpec(sharding.BATCH_AXES))
    placed = case._replace(embedding=jax.device_put(case.embedding, rows))
    chex.assert_trees_all_close(
      small.run(placed, form, 0.1, mesh, (2, 3)),
      small.run(case, 'reference', 0.1),
      rtol=1e-11,
      atol=1e-11,
    )


def test_a_shard_of_impossible_classes_changes_nothing(small):
  """Classes that fill up the shards have a bias of -inf."""
  case = small.make(False, b=24, dtype=np.float32)
  case.bias[:, 20:] = -np.inf
  case = case._replace(labels=case.labels % 20)
  expected = small.run(case, 'dense')
  assert np.isfinite(expected[0][0])
  for sizes in (None, (1, 1, 8)):
    mesh = sizes and sharding.make_mesh(*sizes)
    result = small.run(case, 'tiled', mesh=mesh)
    chex.assert_trees_all_close(result, expected, rtol=1e-4, atol=1e-4)


def test_split_classes_are_on_no_device_together():
  """And devices exchange embeddings and numbers per row, nothing wider."""
  b, d, v = 64, 32, 4096
  mesh = sharding.make_mesh(1, 1, 8)
  dims = (8, 16, 32)
  rng = np.random.default_rng(0)
  z, kernel = rng.normal(size=(b, d)), rng.normal(size=(d, v)) / 8
  labels = jnp.asarray(rng.integers(0, v, (b, 1)))
  kernel = jax.device_put(
    jnp.asarray(kernel, jnp.float32),
    NamedSharding(mesh, PartitionSpec(None, 'tensor')),
  )

  def total(z, kernel):
    classifier = nested.Classifier(dims, kernel, jnp.zeros((1, v)))
    return softmax.Softmax(form='tiled', mesh=mesh)(
      z,
      softmax.Targets([classifier], labels, jnp.ones((b, 1))),
      nested.Granularities(dims, jnp.ones(3)),
      jnp.ones(b),
    ).total

  step = jax.jit(jax.grad(total, (0, 1)))
  hlo = step.lower(jnp.asarray(z, jnp.float32), kernel).compile().as_text()
  assert f'{b},{v}]' not in hlo and f'{v},{b}]' not in hlo
  sent = sum(kind['bytes'] for kind in costs.collectives(hlo).values())
  # The embedding's gradient, and two maxima and two sums per row and prefix.
  assert 0 < sent <= 4 * (b * d + 4 * len(dims) * b)


def test_rows_that_do_not_divide_are_named(small):
  mesh = sharding.make_mesh(2, 2, 2)
  with pytest.raises(ValueError, match="23 rows do not divide.*form='dense'"):
    small.run(small.make(dtype=np.float32), 'tiled', mesh=mesh)
