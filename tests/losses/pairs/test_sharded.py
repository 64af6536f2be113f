"""Eight devices give one device's numbers, and exchange little."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mrl_jax import costs, nested, sharding


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [(8, 1, 1), (2, 2, 2)])
def test_eight_devices_equal_one(small, kind, sizes):
  check(small, kind, sizes)


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [(1, 8, 1), (1, 1, 8)])
def test_any_axis_may_have_the_devices(small, sizes):
  check(small, 'symmetric', sizes)


def test_eight_devices_equal_one_without_negatives(small):
  case = small.make(0, repeats=False, b=24)
  with jax.enable_x64(True):
    chex.assert_trees_all_close(
      small.run('one way', case, 'tiled', sharding.make_mesh(2, 2, 2)),
      small.run('one way', case, 'dense'),
      rtol=1e-11,
      atol=1e-11,
    )


def check(small, kind, sizes):
  with jax.enable_x64(True):
    case, mesh = small.make(b=24), sharding.make_mesh(*sizes)
    chex.assert_trees_all_close(
      small.run(kind, case, 'tiled', mesh, (2, 7)),
      small.run(kind, case, 'reference'),
      rtol=1e-11,
      atol=1e-11,
    )


@pytest.mark.slow
def test_devices_exchange_one_embedding_matrix_and_numbers_per_row(small, kind):
  b, d = 64, 512
  mesh = sharding.make_mesh(8, 1, 1)
  where = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
  rng = np.random.default_rng(0)
  queries, keys = (
    jax.device_put(rng.normal(size=(b, d)).astype(np.float32), where)
    for _ in range(2)
  )
  rows = jnp.full(b, 1 / b)

  def sent(dims):
    step = small.step_of(kind, 'tiled', mesh, dims=dims)
    one = jnp.ones(1)

    def gradients(queries, keys, scale, bias):
      return step(queries, keys, scale, bias, None, rows)[1]

    compiled = (
      jax.jit(gradients, out_shardings=(where, where, None, None))
      .lower(queries, keys, one, one)
      .compile()
    )
    found = costs.collectives(compiled.as_text())
    return sum(one['bytes'] for one in found.values())

  dims = nested.halving(d)
  # Gathered: the keys. Reduced and scattered: their gradient, counted by its
  # result, an eighth. G numbers per row: factors, maxima, sums, in and out.
  whole = 4 * b * d
  assert sent(dims) <= whole + whole / 8 + 4 * 8 * len(dims) * b
  assert sent(dims) <= 1.06 * sent((d,))
