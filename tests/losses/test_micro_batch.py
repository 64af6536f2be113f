"""A batch in parts gives the gradient of the whole, in less memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mrl_jax import nested
from mrl_jax.encoders import vit
from mrl_jax.losses import micro_batch, pairs


@pytest.mark.slow
def test_parts_of_a_batch_give_the_gradient_of_the_whole():
  """GradCache: a real encoder, 64 rows, 8 at a time, and less memory."""
  encoder = vit.ViT(
    image_size=8, patch_size=2, channels=1, width=32, depth=2, heads=2,
    rngs=nnx.Rngs(0),
  )  # fmt: skip
  graph, params = nnx.split(encoder)
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.normal(size=(64, 8, 8, 1)), jnp.float32)
  others = images + 0.1 * jnp.asarray(rng.normal(size=images.shape))
  nested_loss = pairs.InfoNCE(form='dense')

  def encode(params, images):
    return nnx.merge(graph, params)(images)

  def loss(params, size):
    def embed(x):
      if not size:
        return encode(params, x)
      return micro_batch.embed(lambda part, _: encode(params, part), x, size)

    return nested_loss(
      embed(images),
      pairs.Targets(embed(others), scale=jnp.asarray([10.0])),
      nested.Granularities((8, 32), jnp.ones(2)),
      jnp.full(64, 1 / 64),
    ).total

  def compiled(size):
    step = jax.jit(jax.value_and_grad(lambda p: loss(p, size)))
    return step.lower(params).compile()

  whole, parts = compiled(0), compiled(8)
  # float32 sums over the batch in another order.
  chex.assert_trees_all_close(
    parts(params), whole(params), rtol=1e-4, atol=1e-6
  )
  memory = [c.memory_analysis().temp_size_in_bytes for c in (whole, parts)]
  assert memory[1] < memory[0] / 3
  with pytest.raises(ValueError, match='parts of 7 rows'):
    loss(params, 7)


def test_gradients_and_indices_of_parts():
  rng = np.random.default_rng(0)
  kernel, rows = jnp.asarray(rng.normal(size=(3, 2))), rng.normal(size=(6, 3))

  def total(kernel, size):
    def encode(part, index):
      return jnp.tanh(part @ kernel) * (index + 1)

    embeddings = micro_batch.embed(encode, jnp.asarray(rows), size)
    # Part i has every third row from i.
    expected = jnp.tanh(rows @ kernel) * jnp.tile(jnp.arange(1, 4), 2)[:, None]
    return [jnp.sum(x**2) for x in (embeddings, expected)]

  parts, whole = jax.jacobian(total)(kernel, 2)
  chex.assert_trees_all_close(parts, whole, rtol=1e-5)
  assert jnp.abs(whole).min() > 0


def test_parts_keep_the_order_of_rows():
  rows = jnp.arange(12.0)[:, None]
  embeddings = micro_batch.embed(lambda part, i: part * 2, rows, 3)
  np.testing.assert_array_equal(embeddings, rows * 2)
