"""The nested softmax cross entropy as it is defined: slow, and the oracle.

For every prefix z[:m] of an embedding z and one kernel W (arXiv:2205.13147,
eq. 1),

  logits_m = scale_m * (z[:m] W[:m]) + bias_m
  loss_m = -sum_v target_v log softmax(logits_m)_v
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.losses import tiles
from mrl_jax.shapes import Array, Bool, Float, Int


class Problem(NamedTuple):
  """The arrays of one classifier's loss.

  Attributes:
    embedding: z, as wide as the kernel.
    kernel: W.
    bias: one row for all prefixes, or one each.
    scale: of each prefix's products, None for 1.
    labels: `t` classes per row, the one with the largest share first. A label
      outside [0, v) is not a class of this kernel and is ignored.
    shares: of the target that each label has.
  """

  embedding: Float[Array, 'b d']
  kernel: Float[Array, 'd v']
  bias: Float[Array, 'h v']
  scale: Float[Array, 'g'] | None
  labels: Int[Array, 'b t']
  shares: Float[Array, 'b t']


class Setting(NamedTuple):
  """What is known before any array is.

  Attributes:
    dims: of the prefixes; the last is the kernel's width.
    smoothing: share of the target that is spread over all classes.
    mesh: over which rows and classes are split, None for one device.
    tile: (rows, classes) of logits at a time, in the forms that have tiles.
  """

  dims: tuple[int, ...]
  smoothing: float
  mesh: Mesh | None
  tile: tuple[int, int]


def loss(
  problem: Problem,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  setting: Setting,
) -> nested.Loss:
  """The plain loss, nested by `nested.matryoshka`: a whole loss per prefix."""
  embedding, kernel, bias, scale, labels, _ = problem
  count, wide = len(setting.dims), tiles.wide_type(embedding, kernel)
  target = target_distribution(problem, setting.smoothing)

  def plain(z, bias, scale):
    logits = scale * (z @ kernel.astype(wide)) + bias
    losses = cross_entropy(logits, target)
    return losses, (losses, hits(logits, labels[:, 0]))

  each = (
    jnp.broadcast_to(bias, (count, kernel.shape[1])),
    jnp.ones(count, wide) if scale is None else scale,
  )
  nest = nested.matryoshka(plain, setting.dims, weights, has_aux=True)
  sums, (losses, correct) = nest(embedding.astype(wide), each=each)
  return nested.Loss(jnp.sum(row_weights * sums), losses, correct)


def target_distribution(
  problem: Problem, smoothing: float
) -> Float[Array, 'b v']:
  """(1 - s) * shares at the labels + s / classes (arXiv:1512.00567, sec. 7)."""
  classes = problem.kernel.shape[1]
  onehot = jax.nn.one_hot(problem.labels, classes, dtype=problem.shares.dtype)
  mixed = jnp.sum(onehot * problem.shares[:, :, None], axis=1)
  return mixed * (1 - smoothing) + smoothing / classes


def cross_entropy(
  logits: Float[Array, '*g b v'], target: Float[Array, 'b v']
) -> Float[Array, '*g b']:
  """-sum_v target_v log softmax(logits)_v per row, in nats."""
  wide = jnp.promote_types(logits.dtype, jnp.float32)
  log_probabilities = jax.nn.log_softmax(logits.astype(wide), axis=-1)
  # An impossible class, of logit -inf, that is no target adds nothing.
  parts = jnp.where(target > 0, target.astype(wide) * log_probabilities, 0)
  return -jnp.sum(parts, axis=-1)


def hits(
  logits: Float[Array, '*g b v'], label: Int[Array, 'b']
) -> Bool[Array, '*g b']:
  """Whether the label's logit is above all others; a tie is not a hit."""
  own = label[:, None] == jnp.arange(logits.shape[-1])
  highest = jnp.max(jnp.where(own, logits, -jnp.inf), axis=-1)
  return highest > jnp.max(jnp.where(own, -jnp.inf, logits), axis=-1)
