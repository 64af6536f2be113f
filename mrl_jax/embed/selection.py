"""The k best of many scores per column, without sorting them all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax.shapes import Array, Bool, Float, Int

GROUP = 8  # consecutive rows, looked at through their maximum
RECALL_TARGET = 0.99  # of `approximately`


class Scale(NamedTuple):
  """What makes products of a chunk cosines: -inf for rows that are not new."""

  new: Bool[Array, 'r']
  rows: Float[Array, 'r']
  columns: Float[Array, 'q']

  def whole(self, products: Float[Array, 'r q']) -> Float[Array, 'r q']:
    scaled = products * self.rows[:, None] * self.columns
    return jnp.where(self.new[:, None], scaled, -jnp.inf)

  def at(self, products, rows: Int[Array, 'n q']) -> Float[Array, 'n q']:
    """`whole` at rows of each column; those beyond the last are not new."""
    near = jnp.take_along_axis(products, rows, axis=0, mode='clip')
    scaled = near * self.rows.at[rows].get(mode='clip') * self.columns
    new = self.new.at[rows].get(mode='fill', fill_value=False)
    return jnp.where(new, scaled, -jnp.inf)


def exactly(products: Float[Array, 'r q'], scale: Scale, k: int) -> tuple:
  """(the k best scores or all, their rows), [q k].

  The k groups of consecutive rows with the largest maxima hold the k best
  rows: a row outside them has k group maxima before it. Of equal maxima the
  earlier groups are taken, and groups are looked through in order, so that of
  equal scores the smaller row comes first.
  """
  if len(products) <= GROUP * k:
    scores = scale.whole(products)
    return jax.lax.top_k(scores.T, min(k, len(products)))
  rows = _members(_best_rows(group_maxima(scale.whole(products)), k))
  best, order = jax.lax.top_k(scale.at(products, rows.T).T, k)
  return best, jnp.take_along_axis(rows, order, axis=-1)


def _best_rows(scores: Float[Array, 'r q'], k: int) -> Int[Array, 'q k']:
  """Rows of the k best scores or all, found through groups of groups."""
  if len(scores) <= GROUP * k:
    return jax.lax.top_k(scores.T, min(k, len(scores)))[1]
  rows = _members(_best_rows(group_maxima(scores), k))
  near = jnp.take_along_axis(
    scores, rows.T, axis=0, mode='fill', fill_value=-jnp.inf
  )
  order = jax.lax.top_k(near.T, k)[1]
  return jnp.take_along_axis(rows, order, axis=-1)


def group_maxima(scores: Float[Array, 'r q']) -> Float[Array, 'n q']:
  """The largest of every GROUP rows, the last group may be smaller."""
  lacking = -len(scores) % GROUP
  if lacking:
    fill = ((0, lacking), (0, 0))
    scores = jnp.pad(scores, fill, constant_values=-jnp.inf)
  return jnp.max(scores.reshape(-1, GROUP, scores.shape[1]), axis=1)


def _members(groups: Int[Array, 'q k']) -> Int[Array, 'q n']:
  """Rows of the groups, increasing."""
  groups = jnp.sort(groups, axis=-1)[..., None]
  rows = groups * GROUP + jnp.arange(GROUP, dtype=jnp.int32)
  return rows.reshape(len(rows), -1)


def approximately(products: Float[Array, 'r q'], scale: Scale, k: int):
  """(scores, rows) [q k] of most of the k best, or of all."""
  return tuple(
    jax.lax.approx_max_k(
      scale.whole(products).T,
      min(k, len(products)),
      recall_target=RECALL_TARGET,
    )
  )


def merge(best, new, k: int) -> tuple:
  """The k best of two lists; equal scores keep the order of the lists."""
  scores, rows = (jnp.concatenate(both, axis=-1) for both in zip(best, new))
  scores, order = jax.lax.top_k(scores, k)
  return scores, jnp.take_along_axis(rows, order, axis=-1)
