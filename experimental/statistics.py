"""What a fused nested softmax keeps of its logits, and what is linear in them.

The logits of prefix g are L_g = scale_g * (z[:m_g] @ W[:m_g]) + bias_g, with
m_g = dims[g] (arXiv:2205.13147, MRL-E). At a large vocabulary they are too
many to store: kernels make them one tile at a time, twice or more, and only
these few numbers per row live on (the idea of Cut Cross-Entropy,
arXiv:2411.09009).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.shapes import Array, Float, Int


class Statistics(NamedTuple):
  """Reductions of the nested logits over the classes, in float32 or wider."""

  lse: Float[Array, 'g b']  # log sum_v exp L
  picked: Float[Array, 'g b t']  # L at the labels, 0 where a label is outside
  mean: Float[Array, 'g b']  # sum_v L / v
  top: Float[Array, 'g b']  # max_v L, or only over v that are not the label


def product_dtype(
  embedding: Float[Array, 'b d'], kernel: Float[Array, 'd v']
) -> jnp.dtype:
  """bfloat16 where both operands are, else float32."""
  both = embedding.dtype == kernel.dtype == jnp.bfloat16
  return jnp.dtype(jnp.bfloat16 if both else jnp.float32)


def product(
  left: Float[Array, 'i j'], right: Float[Array, 'k l'], axes: tuple[int, int]
) -> Float[Array, 'm n']:
  """Their product over axes[0] of left and axes[1] of right, in float32.

  float32 operands keep every bit; bfloat16 ones are summed in float32.
  """
  full = left.dtype == jnp.float32
  precision = jax.lax.Precision.HIGHEST if full else None
  return jax.lax.dot_general(
    left,
    right,
    (((axes[0],), (axes[1],)), ((), ())),
    precision=precision,
    preferred_element_type=jnp.float32,
  )


def inside(labels: Int[Array, 'b t'], classes: int) -> Int[Array, 'b t']:
  """The labels in [0, classes), and -1 for all others."""
  fits = (labels >= 0) & (labels < classes)
  return jnp.where(fits, labels, -1).astype(jnp.int32)


def mean_logit(
  embedding: Float[Array, 'b d'],
  kernel: Float[Array, 'd v'],
  bias: Float[Array, 'h v'],
  scale: Float[Array, 'g'] | None,
  dims: Sequence[int],
) -> Float[Array, 'g b']:
  """sum_v L_g / v, from one pass over the kernel and no logits.

  The mean is linear: scale_g * z[:m_g] @ mean_v W[:m_g] + mean_v bias_g. It
  is a program of its own, so that who does not smooth labels does not pay.
  """
  kind = jnp.result_type(jnp.float32, embedding, kernel)
  column = jnp.mean(kernel, axis=1, dtype=kind)
  wide = embedding.astype(kind)
  products = jnp.cumsum(
    jnp.stack(
      [jnp.sum(wide[:, s] * column[s], axis=1) for s in nested.blocks(dims)]
    ),
    axis=0,
  )
  if scale is not None:
    products = products * scale.astype(kind)[:, None]
  return products + jnp.mean(bias, axis=1, dtype=kind)[:, None]
