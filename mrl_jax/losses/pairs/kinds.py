"""What differs between the contrastive losses: the sum over a row's logits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax.losses import tiles
from mrl_jax.shapes import Array, Bool, Float


class Kind(NamedTuple):
  """One contrastive loss: its definition, and its parts for tiles.

  A loss is a sum over a row's logits, less the logit of the row's own key.

  Attributes:
    losses: (logits [*g b r], pairs left out [b r]) -> losses [*g b]. Column i
      is the key of row i.
    columns: whether each column is summed like a row, and a loss is the mean
      of both.
    grow: (running sum [b], tile of logits [b r], own logit [b], largest other
      logit of the tile [b]) -> running sum.
    value: (running sum, own logit) -> sum.
    slopes: (logits [b r], sum - log weight [b], weight [b]) -> gradients of
      weight * sum.
  """

  losses: Callable[..., Array]
  columns: bool
  grow: Callable[..., tiles.Running]
  value: Callable[..., Array]
  slopes: Callable[..., Array]


def _one_way_losses(
  logits: Float[Array, '*g b r'], left_out: Bool[Array, 'b r']
) -> Float[Array, '*g b']:
  """-log softmax over the keys of each query's own key (arXiv:1807.03748)."""
  own = own_logits(logits)
  logits = jnp.where(left_out, -jnp.inf, logits)
  return jax.nn.logsumexp(logits, axis=-1) - own


def _symmetric_losses(
  logits: Float[Array, '*g b r'], left_out: Bool[Array, 'b r']
) -> Float[Array, '*g b']:
  """The mean of `one_way_losses` and of each key's own query among the queries.

  (arXiv:2103.00020). Keys that belong to no query are not asked.
  """
  b = logits.shape[-2]
  back = jnp.swapaxes(logits[..., :b], -1, -2)
  there = _one_way_losses(logits, left_out)
  return (there + _one_way_losses(back, left_out[:, :b].T)) / 2


def _sigmoid_losses(
  logits: Float[Array, '*g b r'], left_out: Bool[Array, 'b r']
) -> Float[Array, '*g b']:
  """Sum over keys of -log sigmoid(+-logit), + for the own key only.

  (arXiv:2303.15343, eq. 1). softplus(-x) = softplus(x) - x turns the own
  key's sign around.
  """
  own = own_logits(logits)
  logits = jnp.where(left_out, -jnp.inf, logits)
  return jnp.sum(jax.nn.softplus(logits), axis=-1) - own


def own_logits(logits: Float[Array, '*g b r']) -> Float[Array, '*g b']:
  """Of each query with its own key: the diagonal."""
  return jnp.diagonal(logits, axis1=-2, axis2=-1)


def _softmax_slopes(logits, level, weight):
  # weight * exp(logit - sum) = exp(logit - (sum - log weight)).
  return jnp.exp(logits - level[:, None])


def _grow_softplus(running, logits, own, others):
  # A quarter of the time of jax.nn.softplus, which guards nans.
  each = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
  total = running.total + jnp.sum(each, axis=1)
  return tiles.Running(jnp.maximum(running.rival, others), total)


def _softplus_value(running, own):
  return running.total


def _softplus_slopes(logits, level, weight):
  return jax.nn.sigmoid(logits) * weight[:, None]


ONE_WAY = Kind(
  losses=_one_way_losses,
  columns=False,
  grow=tiles.grow_log_sum,
  value=tiles.log_sum,
  slopes=_softmax_slopes,
)
SYMMETRIC = ONE_WAY._replace(losses=_symmetric_losses, columns=True)
SIGMOID = Kind(
  losses=_sigmoid_losses,
  columns=False,
  grow=_grow_softplus,
  value=_softplus_value,
  slopes=_softplus_slopes,
)
