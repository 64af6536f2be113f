"""All logits from the matmuls of one prefix; JAX differentiates."""

import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.losses import tiles
from mrl_jax.losses.softmax import reference
from mrl_jax.losses.softmax.reference import Problem, Setting
from mrl_jax.shapes import Array, Float


def loss(
  problem: Problem,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  setting: Setting,
) -> nested.Loss:
  """The loss from sums over the blocks between dims; XLA splits the work."""
  embedding, kernel, bias, scale, labels, _ = problem
  wide = tiles.wide_type(embedding, kernel)
  logits = nested.prefix_products(
    embedding.astype(wide), kernel.astype(wide), setting.dims
  )
  if scale is not None:
    logits = logits * scale[:, None, None]
  logits = logits + bias[:, None]
  target = reference.target_distribution(problem, setting.smoothing)
  losses = reference.cross_entropy(logits, target)
  return nested.Loss(
    jnp.sum(weights[:, None] * row_weights * losses),
    losses,
    reference.hits(logits, labels[:, 0]),
  )
