"""All logits from the matmuls of one prefix; JAX differentiates."""

import jax
import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.losses import tiles
from mrl_jax.losses.pairs import reference
from mrl_jax.losses.pairs.reference import Problem, Setting
from mrl_jax.shapes import Array, Float


def loss(
  problem: Problem,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  setting: Setting,
) -> nested.Loss:
  """The loss from sums over the blocks between dims; XLA splits the work."""
  dims, queries = setting.dims, problem.queries
  keys, left_out = (
    reference.every_key(problem),
    reference.pairs_left_out(problem),
  )
  wide = tiles.wide_type(queries, keys)
  with jax.default_matmul_precision('highest'):
    products = nested.prefix_products(
      queries.astype(wide), keys.astype(wide).T, dims
    )
  left, right = (
    nested.prefix_norms(queries, dims),
    nested.prefix_norms(keys, dims),
  )
  cosines = products / left[:, :, None] / right[:, None, :]
  logits = cosines * problem.scale[:, None, None]
  if problem.bias is not None:
    logits = logits + problem.bias[:, None, None]
  losses = setting.kind.losses(logits, left_out)
  return nested.Loss(
    jnp.sum(weights[:, None] * row_weights * losses),
    losses,
    reference.hits(logits, left_out),
  )
