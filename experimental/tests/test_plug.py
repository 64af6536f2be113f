"""The kernels serve the whole loss, on one device and on eight."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experimental import pallas_gpu, pallas_tpu, plug
from mrl_jax import nested, sharding
from mrl_jax.losses import softmax

DIMS = (4, 8, 32)


def run(form, bias, scale, labels, mesh=None):
  rng = np.random.default_rng(0)
  z, kernel = (
    rng.normal(size=s).astype(np.float32) for s in ((24, 32), (32, 40))
  )
  loss = softmax.Softmax(label_smoothing=0.1, form=form, mesh=mesh)
  if np.isinf(bias).any():
    loss = softmax.Softmax(form=form, mesh=mesh)

  def total(z, kernel, bias, scale):
    result = loss(
      z,
      softmax.Targets(
        [nested.Classifier(DIMS, kernel, bias, scale)],
        labels,
        jnp.tile(jnp.asarray([0.7, 0.3]), (24, 1)),
      ),
      nested.Granularities(DIMS, jnp.asarray((2.0, 1.0, 0.5))),
      jnp.full(24, 1 / 24),
    )
    return result.total, result

  step = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))
  return step(z, kernel, bias, scale)


@pytest.mark.parametrize('sizes', [None, (2, 2, 2), (1, 1, 8)])
@pytest.mark.parametrize('kernels', [pallas_tpu, pallas_gpu])
def test_kernels_serve_the_loss_on_one_device_and_on_eight(
  kernels, sizes, monkeypatch
):
  rng = np.random.default_rng(1)
  labels = jnp.asarray(rng.integers(0, 20, (24, 2)))
  impossible = rng.normal(size=(1, 40)).astype(np.float32)
  impossible[:, 20:] = -np.inf
  cases = [
    (rng.normal(size=(3, 40)).astype(np.float32), jnp.full(3, 2.0)),
    (impossible, None),
  ]
  expected = [run('reference', *case, labels) for case in cases]
  place = softmax.api.sharded
  monkeypatch.setattr(place, 'tiled', plug.plugged(kernels, interpret=True))
  mesh = sizes and sharding.make_mesh(*sizes)
  found = [run('tiled', *case, labels, mesh) for case in cases]
  # A sum of float32 losses in another order.
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)
