"""Sums over all pairs at every prefix, by tiles, for one device's queries.

Similarities of normalised prefixes are block prefix sums with a factor per
query and per key,

  P_g = P_{g-1} + q[block_g] k[block_g]^T
  cosines_g = left_g P_g right_g,   left_g = 1 / |q[:m_g]|,
                                    right_g = 1 / |k[:m_g]|
  logits_g = scale_g cosines_g + bias_g

so all prefixes cost the products of the widest. kinds.py says which sums over
them make a loss. `sums` makes a tile of logits and keeps running sums,
`gradients` makes the same tile again.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.losses import tiles
from mrl_jax.losses.pairs.reference import Setting
from mrl_jax.shapes import Array, Bool, Float, Int

# (queries, keys) of logits at a time, by platform: on a CPU a tile of each
# prefix stays in the cache.
TILES = {'cpu': (256, 256)}
TILES_ELSEWHERE = (4096, 4096)

# The logit of a pair that is left out. It is finite, so that the sum of a
# column is finite even if every pair of it is left out.
LOWEST = -1e30


class Pairs(NamedTuple):
  """The arrays of sums over pairs.

  Attributes:
    left, right: factors of the products, above 0, per prefix.
    scale: of the cosines, per prefix.
    bias: added to the logits of each prefix, None for 0.
    ids, key_ids: a pair of equal ids is left out, unless the key is the
      query's own; None for none.
    own: the logits of the queries with their own keys, without gradients.
    first: the key that belongs to the first query; the next to the second.
  """

  queries: Float[Array, 'b d']
  keys: Float[Array, 'r d']
  left: Float[Array, 'g b']
  right: Float[Array, 'g r']
  scale: Float[Array, 'g']
  bias: Float[Array, 'g'] | None
  ids: Int[Array, 'b'] | None
  key_ids: Int[Array, 'r'] | None
  own: Float[Array, 'g b']
  first: Int[Array, '']


class Sums(NamedTuple):
  """Over each row's keys and each column's queries; and the best other key.

  Attributes:
    rows, columns: the kind's sums, None for columns that are not summed.
    rival: the largest logit of a row but for its own key's.
  """

  rows: Float[Array, 'g b']
  columns: Float[Array, 'g r'] | None
  rival: Float[Array, 'g b']


class Gradients(NamedTuple):
  """Of a weighted sum of Sums, in the wide type."""

  queries: Float[Array, 'b d']
  keys: Float[Array, 'r d']
  left: Float[Array, 'g b']
  right: Float[Array, 'g r']
  scale: Float[Array, 'g']
  bias: Float[Array, 'g'] | None


class Shared(NamedTuple):
  """Gradients that all queries add to.

  Those of the keys are transposed: a tile is then never transposed, which on
  a CPU takes longer than its product with a short prefix.
  """

  keys: Float[Array, 'd r']
  right: Float[Array, 'g r']
  scale: Float[Array, 'g']
  bias: Float[Array, 'g'] | None


class Rows(NamedTuple):
  """What belongs to a chunk of queries, query first.

  `number` is the own key's, from 1; rows that fill up a chunk have 0.
  """

  queries: Float[Array, 'b d']
  left: Float[Array, 'b g']
  ids: Int[Array, 'b'] | None
  own: Float[Array, 'b g']
  number: Int[Array, 'b']


class Tile(NamedTuple):
  """The cosines of a tile of queries and keys at all prefixes.

  Attributes:
    own: the pairs that belong together.
    left_out: the pairs that are not summed, None for none.
    queries, keys: the blocks that were multiplied.
    left, right: the factors of each prefix.
  """

  cosines: list[Float[Array, 'b r']]
  own: Bool[Array, 'b r']
  left_out: Bool[Array, 'b r'] | None
  queries: list[Float[Array, 'b m']]
  keys: list[Float[Array, 'r m']]
  left: Float[Array, 'g b']
  right: Float[Array, 'g r']


def sums(pairs: Pairs, setting: Setting, axis: tuple[str, ...] = ()) -> Sums:
  """Sums of every row and, if the kind asks, of every column, tile by tile.

  Running maxima make logits of any finite size safe. With `axis`, this
  device has a part of the queries and all keys: per key and prefix one number
  is maximised over the axis and one summed.
  """
  kind, (g, r) = setting.kind, pairs.right.shape
  wide = tiles.wide_type(pairs.queries, pairs.keys)
  make_tile = _tile_maker(pairs, setting)

  def chunk(columns, rows):
    def add(carry, first, size):
      running, columns = carry
      tile = make_tile(rows, first, size)
      logits = _logits(tile, pairs)
      others = [jnp.max(jnp.where(tile.own, -jnp.inf, x), 1) for x in logits]
      running = tuple(map(kind.grow, running, logits, rows.own.T, others))
      if kind.columns:
        columns = _grow_columns(columns, logits, first)
      return running, columns

    empty = (tiles.nothing((len(rows.queries),), wide),) * g
    running, columns = tiles.fold(add, (empty, columns), r, setting.tile[1])
    return columns, jax.tree.map(lambda *x: jnp.stack(x, axis=1), *running)

  columns = tiles.nothing((g, r), wide) if kind.columns else None
  columns, running = tiles.scan_rows(
    chunk, columns, _rows_of(pairs), setting.tile[0]
  )
  running = tiles.Running(running.rival.T, running.total.T)
  rows = kind.value(running, pairs.own)
  return Sums(rows, _columns_value(columns, axis), running.rival)


def _columns_value(
  columns: tiles.Running | None, axis: tuple[str, ...]
) -> Float[Array, 'g r'] | None:
  """log sum exp of each column over the queries of all devices."""
  if columns is None:
    return None
  rival, total = columns
  if axis:
    top = jax.lax.pmax(rival, axis)
    total = jax.lax.psum(total * jnp.exp(rival - top), axis)
    rival = top
  return tiles.log_sum(tiles.Running(rival, total), -jnp.inf)


def gradients(
  pairs: Pairs,
  totals: Sums,
  row_weights: Float[Array, 'g b'],
  column_weights: Float[Array, 'g r'] | None,
  setting: Setting,
) -> Gradients:
  """Gradients of sum(row_weights * rows) + sum(column_weights * columns).

  The weights are at least 0. The logits are made again tile by tile.
  """
  kind, dims = setting.kind, setting.dims
  g, r = pairs.right.shape
  make_tile = _tile_maker(pairs, setting)
  # A weight of 0 makes a level inf, and exp(logit - level) 0.
  levels = totals.rows - jnp.log(row_weights)
  column_levels = None
  if totals.columns is not None and column_weights is not None:
    column_levels = totals.columns - jnp.log(column_weights)
  zeros = functools.partial(
    jnp.zeros, dtype=tiles.wide_type(pairs.queries, pairs.keys)
  )

  def chunk(shared, part):
    rows, levels, weights = part

    def add(carry, first, size):
      tile = make_tile(rows, first, size)
      slopes = []
      for i, logits in enumerate(_logits(tile, pairs)):
        slope = kind.slopes(logits, levels[:, i], weights[:, i])
        if column_levels is not None:
          level = jax.lax.dynamic_slice(column_levels, (i, first), (1, size))
          slope = slope + jnp.exp(logits - level)
        slopes.append(slope)
      return _walk_down(carry, tile, slopes, pairs, first, dims)

    of_rows = [zeros(x.shape) for x in _blocks(rows.queries, dims)]
    carry = of_rows, zeros(rows.left.shape), shared
    of_rows, left, shared = tiles.fold(add, carry, r, setting.tile[1])
    return shared, (jnp.concatenate(of_rows, axis=1), left)

  of_keys, bias = zeros(pairs.keys.shape[::-1]), pairs.bias
  bias = None if bias is None else zeros(g)
  shared = Shared(of_keys, zeros((g, r)), zeros(g), bias)
  rows = _rows_of(pairs), levels.T, row_weights.T
  shared, (queries, left) = tiles.scan_rows(
    chunk, shared, rows, setting.tile[0]
  )
  keys, right, scale, bias = shared
  return Gradients(queries, keys.T, left.T, right, scale, bias)


def _blocks(vectors: Array, dims: tuple[int, ...]) -> list[Array]:
  return [vectors[:, s] for s in nested.blocks(dims)]


def _rows_of(pairs: Pairs) -> Rows:
  number = pairs.first + jnp.arange(1, len(pairs.queries) + 1)
  return Rows(pairs.queries, pairs.left.T, pairs.ids, pairs.own.T, number)


def _tile_maker(pairs: Pairs, setting: Setting):
  """A function of (rows, first key, count of keys) that makes their Tile."""
  padded = tiles.is_padded(len(pairs.queries), setting.tile[0])
  return functools.partial(_make_tile, pairs, setting.dims, padded)


def _make_tile(
  pairs: Pairs,
  dims: tuple[int, ...],
  padded: bool,
  rows: Rows,
  first,
  size: int,
) -> Tile:
  cut = functools.partial(
    jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size
  )
  keys, right = cut(pairs.keys), cut(pairs.right, axis=1)
  query_blocks, key_blocks = _blocks(rows.queries, dims), _blocks(keys, dims)
  own = rows.number[:, None] == first + jnp.arange(1, size + 1)
  left_out = None
  if rows.ids is not None and pairs.key_ids is not None:
    left_out = (rows.ids[:, None] == cut(pairs.key_ids)) & ~own
  if padded:
    empty = jnp.broadcast_to(rows.number[:, None] == 0, own.shape)
    left_out = empty if left_out is None else left_out | empty
  products, cosines = jnp.zeros(()), []
  for g, (x, y) in enumerate(zip(query_blocks, key_blocks)):
    # A scale of 100 would show the rounding of anything less.
    products = products + tiles.product(x, y.T, precision='highest')
    cosine = products * rows.left[:, g, None] * right[g]
    # Without the barrier XLA makes a cosine anew for each of its uses.
    products, cosine = jax.lax.optimization_barrier((products, cosine))
    cosines.append(cosine)
  left = rows.left.T
  return Tile(cosines, own, left_out, query_blocks, key_blocks, left, right)


def _logits(tile: Tile, pairs: Pairs) -> list[Array]:
  """[b r] of every prefix."""
  logits = []
  for g, cosine in enumerate(tile.cosines):
    logit = cosine * pairs.scale[g]
    if pairs.bias is not None:
      logit = logit + pairs.bias[g]
    if tile.left_out is not None:
      logit = jnp.where(tile.left_out, LOWEST, logit)
    logits.append(logit)
  return logits


def _grow_columns(
  columns: tiles.Running, logits: list[Array], first
) -> tiles.Running:
  """The columns' sums [g r] with one tile's logits."""
  for g, logit in enumerate(logits):
    where, size = (g, first), (1, logit.shape[1])
    old = [jax.lax.dynamic_slice(x, where, size)[0] for x in columns]
    highest = jnp.max(logit, axis=0)
    new = tiles.grow_log_sum(
      tiles.Running(*old), logit, -jnp.inf, highest, axis=0
    )
    columns = tiles.Running(
      *[
        jax.lax.dynamic_update_slice(x, y[None], where)
        for x, y in zip(columns, new)
      ]
    )
  return columns


def _walk_down(
  carry, tile: Tile, slopes: list[Array], pairs: Pairs, first, dims
):
  """The carry of `gradients` with those of a tile, from its logits' slopes.

  A factor's gradient is sum(slope * cosine) scale / factor: products need not
  be kept. Running sums start at the widest prefix.
  """
  of_rows, of_left, (keys, right, of_scale, bias) = carry
  scale = pairs.scale
  each = [slope * cosine for slope, cosine in zip(slopes, tile.cosines)]
  rows = jnp.stack([jnp.sum(x, axis=1) for x in each])
  columns = jnp.stack([jnp.sum(x, axis=0) for x in each])
  of_products = [
    slope * (scale[g] * tile.left[g])[:, None] * tile.right[g]
    for g, slope in enumerate(slopes)
  ]
  running = list(itertools.accumulate(reversed(of_products)))[::-1]
  of_rows = [
    x + tiles.product(f, y) for x, f, y in zip(of_rows, running, tile.keys)
  ]
  of_left = of_left + (scale[:, None] * rows / tile.left).T
  for s, x, f in zip(nested.blocks(dims), tile.queries, running):
    keys = tiles.add_at(keys, tiles.product(x.T, f), (s.start, first))
  of_right = scale[:, None] * columns / tile.right
  right = tiles.add_at(right, of_right, (0, first))
  of_scale = of_scale + jnp.sum(rows, axis=1)
  if bias is not None:
    bias = bias + jnp.stack([jnp.sum(slope) for slope in slopes])
  return of_rows, of_left, Shared(keys, right, of_scale, bias)
