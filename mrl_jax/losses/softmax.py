"""Softmax cross entropy over nested logits."""

import jax
import jax.numpy as jnp

from mrl_jax.shapes import Array, Float, Int


def smooth_labels(
  labels: Int[Array, 'b'] | Float[Array, 'b v'],
  classes: int,
  smoothing: float = 0.0,
) -> Float[Array, 'b v']:
  """Target distributions: (1 - s) * onehot + s / classes.

  `labels` are class ids, or already distributions (of a mixup, say), which
  are smoothed the same way (arXiv:1512.00567, section 7).
  """
  if jnp.issubdtype(labels.dtype, jnp.integer):
    labels = jax.nn.one_hot(labels, classes, dtype=jnp.float32)
  return labels * (1 - smoothing) + smoothing / classes


def cross_entropy(
  logits: Float[Array, '*b v'], targets: Float[Array, 'b v']
) -> Float[Array, '*b']:
  """-sum_v targets_v log softmax(logits)_v per example, in nats, float32."""
  wide = jnp.promote_types(logits.dtype, jnp.float32)
  log_probabilities = jax.nn.log_softmax(logits.astype(wide), axis=-1)
  return -jnp.sum(targets.astype(wide) * log_probabilities, axis=-1)


def nested_cross_entropy(
  logits: Float[Array, 'g b v'],
  targets: Float[Array, 'b v'],
  weights: Float[Array, 'g'],
) -> Float[Array, 'b']:
  """Weighted sum over prefixes of each example's cross entropy, in nats.

  loss_b = sum_g weights_g * CE(logits_gb, targets_b)
  (arXiv:2205.13147, eq. 1: a sum, not a mean). Not averaged over the batch:
  callers that mask or shard need the rows.
  """
  losses = cross_entropy(logits, targets)
  return jnp.tensordot(jnp.asarray(weights, losses.dtype), losses, axes=1)
