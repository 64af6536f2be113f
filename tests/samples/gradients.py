"""Checks of an encoder's gradients: with remat, and on eight devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mrl_jax import sharding


def _prepared(encoder, arrays, mesh=None):
  """(f(params, arrays) -> gradients and embeddings, its two arguments)."""
  graph, params, rest = nnx.split(encoder, nnx.Param, ...)
  params = nnx.to_pure_dict(params)
  if mesh:
    where = sharding.shardings({'encoder': params}, mesh)
    params = jax.device_put(params, where['encoder'])
    arrays = jax.device_put(arrays, sharding.over_batch(mesh))

  def loss(params, arrays):
    state = nnx.state(encoder, nnx.Param)
    nnx.replace_by_pure_dict(state, params)
    z = nnx.merge(graph, state, rest)(arrays, train=True)
    return jnp.sum(z[:, :5] ** 3), z

  return jax.jit(jax.grad(loss, has_aux=True)), params, arrays


def check_remat(make, arrays):
  """make(remat) -> an encoder whose gradients do not depend on it."""
  results = []
  for remat in (False, True):
    step, params, given = _prepared(make(remat), arrays)
    results.append(step(params, given)[0])
    shown = str(jax.make_jaxpr(step)(params, given))
    assert ('remat' in shown or 'checkpoint' in shown) == remat
  chex.assert_trees_all_close(*results, atol=1e-6)


def check_mesh(make, arrays, sizes):
  """Eight devices compute what one does; returns the parameters on them."""
  step, params, given = _prepared(make(), arrays)
  expected = step(params, given)
  mesh = sharding.make_mesh(*sizes)
  step, placed, spread = _prepared(make(), arrays, mesh)
  gradients, z = step(placed, spread)
  np.testing.assert_allclose(z, expected[1], atol=1e-5)
  chex.assert_trees_all_close(
    jax.device_get(gradients),
    jax.device_get(expected[0]),
    rtol=1e-4,  # sums over the batch in another order
    atol=1e-4,
  )
  return placed
