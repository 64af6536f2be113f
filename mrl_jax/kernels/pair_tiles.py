"""Sums over all pairs of queries and keys at every prefix, by tiles.

Similarities of normalised prefixes are block prefix sums with a factor per
row and per column,

  P_g = P_{g-1} + q[block_g] k[block_g]^T
  cosines_g = left_g P_g right_g,   left_g = 1 / |q[:m_g]|,
                                    right_g = 1 / |k[:m_g]|
  logits_g = scale_g cosines_g + bias_g

so all granularities cost the products of the widest. Two sums over them give
the contrastive losses: `softmax` makes log sum exp over each row and, if asked
for, each column (InfoNCE); `softplus` makes sum softplus(logit + bias) over
each row (the sigmoid loss). Positives are linear in the logits and stay with
the caller.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.kernels import loops
from mrl_jax.kernels.softmax_tiles import grown, product, wide
from mrl_jax.shapes import Array, Float, Int


class Pairs(NamedTuple):
  """Arrays of one sum over pairs.

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
    rows, columns: log sum exp, or sum softplus; columns 0 unless asked for.
    rival: the largest logit of a row but for its own key's.
  """

  rows: Float[Array, 'g b']
  columns: Float[Array, 'g r']
  rival: Float[Array, 'g b']


class Gradients(NamedTuple):
  queries: Float[Array, 'b d']
  keys: Float[Array, 'r d']
  left: Float[Array, 'g b']
  right: Float[Array, 'g r']
  scale: Float[Array, 'g']
  bias: Float[Array, 'g'] | None


class Rows(NamedTuple):
  """What belongs to some rows, row first.

  `index` is the own key's, counted from 1: rows that fill up a chunk have 0.
  """

  queries: Array
  left: Array
  ids: Array | None
  own: Array
  index: Array


# The logit of a pair that is left out: finite, so that 0 times it is 0.
LOWEST = -1e30


class Tile(NamedTuple):
  """The cosines of some rows and keys at all prefixes.

  `own` are the pairs that belong together, `out` those left out, None for
  none; `left`, `right` the blocks that were multiplied.
  """

  cosines: list
  own: Array
  out: Array | None
  left: list
  right: list
  factors: tuple


def rows_of(pairs: Pairs) -> Rows:
  b = len(pairs.queries)
  index = pairs.first + jnp.arange(1, b + 1)
  return Rows(pairs.queries, pairs.left.T, pairs.ids, pairs.own.T, index)


def make_tile(
  pairs: Pairs, some: Rows, first, size: int, dims, padded: bool
) -> Tile:
  blocks = nested.blocks(dims)
  cut = functools.partial(
    jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size
  )
  keys, factor = cut(pairs.keys), cut(pairs.right, axis=1)
  left = [some.queries[:, s] for s in blocks]
  right = [keys[:, s] for s in blocks]
  own = some.index[:, None] == first + jnp.arange(1, size + 1)
  out = None
  if some.ids is not None:
    out = (some.ids[:, None] == cut(pairs.key_ids)) & ~own
  if padded:
    empty = jnp.broadcast_to(some.index[:, None] == 0, own.shape)
    out = empty if out is None else out | empty
  products, cosines = 0, []
  for g, (x, y) in enumerate(zip(left, right)):
    # A scale of 100 would show the rounding of anything less.
    products = products + product(x, y.T, precision='highest')
    cosine = products * some.left[:, g, None] * factor[g]
    # Without the barrier XLA makes a cosine anew for each of its uses.
    products, cosine = jax.lax.optimization_barrier((products, cosine))
    cosines.append(cosine)
  return Tile(cosines, own, out, left, right, (some.left.T, factor))


def logits_of(tile: Tile, pairs: Pairs) -> list:
  logits = []
  for g, cosine in enumerate(tile.cosines):
    logit = cosine * pairs.scale[g]
    if pairs.bias is not None:
      logit = logit + pairs.bias[g]
    if tile.out is not None:
      logit = jnp.where(tile.out, LOWEST, logit)
    logits.append(logit)
  return logits


def softplus(x):
  """log(1 + exp(x)); a quarter of the time of jax.nn's, which guards nans."""
  return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def sums(
  pairs: Pairs,
  dims: Sequence[int],
  kind: str,
  *,
  rows: int,
  columns: int,
  both: bool = False,
  axis: tuple[str, ...] = (),
) -> Sums:
  """Sums of every row, and with `both` of every column, tile by tile.

  Running maxima make logits of any finite size safe. With `axis`, this
  device has some of the queries and all keys: per key and prefix one number
  is maximised over the axis and one summed.
  """
  g, r = pairs.right.shape
  kind_ = wide(pairs.queries, pairs.keys)
  padded = loops.is_padded(len(pairs.queries), rows)
  zeros = functools.partial(jnp.zeros, dtype=kind_)
  lowest = functools.partial(jnp.full, fill_value=-jnp.inf, dtype=kind_)

  def some_rows(columns_carry, part):
    (some,) = part
    b = len(some.queries)

    def add(carry, first, size):
      rivals, totals, column_top, column_total = carry
      tile = make_tile(pairs, some, first, size, dims, padded)
      made = []
      for i, logit in enumerate(logits_of(tile, pairs)):
        others = jnp.max(jnp.where(tile.own, -jnp.inf, logit), axis=1)
        if kind == 'softmax':
          start = some.own[:, i]
          made.append(grown(start, rivals[i], totals[i], logit, others))
        else:
          total = totals[i] + jnp.sum(softplus(logit), axis=1)
          made.append((jnp.maximum(rivals[i], others), total))
        if both:
          where = (i, first)
          old = [
            jax.lax.dynamic_slice(x, where, (1, size))[0]
            for x in (column_top, column_total)
          ]
          highest = jnp.max(logit, axis=0)
          new = grown(-jnp.inf, *old, logit, highest, axis=0)
          column_top, column_total = (
            jax.lax.dynamic_update_slice(x, y[None], where)
            for x, y in zip((column_top, column_total), new)
          )
      return *zip(*made), column_top, column_total

    start = tuple(lowest((g, b))), tuple(zeros((g, b))), *columns_carry
    rivals, totals, *columns_carry = loops.over_tiles(add, start, r, columns)
    made = jnp.stack(rivals, axis=1), jnp.stack(totals, axis=1)
    return tuple(columns_carry), made

  empty = (lowest((g, r)), zeros((g, r))) if both else (lowest((1, 1)),) * 2
  (column_top, column_total), made = loops.scan_rows(
    some_rows, empty, (rows_of(pairs),), rows
  )
  rival, total = (x.T for x in made)
  if kind == 'softmax':
    total = jnp.maximum(rival, pairs.own) + jnp.log(total)
  if not both:
    return Sums(total, zeros((g, r)), rival)
  if axis:
    every = jax.lax.pmax(column_top, axis)
    column_total = column_total * jnp.exp(column_top - every)
    column_top, column_total = every, jax.lax.psum(column_total, axis)
  return Sums(total, column_top + jnp.log(column_total), rival)


def gradients(
  pairs: Pairs,
  found: Sums,
  row_weights: Float[Array, 'g b'],
  column_weights: Float[Array, 'g r'],
  dims: Sequence[int],
  kind: str,
  *,
  rows: int,
  columns: int,
  both: bool = False,
) -> Gradients:
  """Gradients of sum(row_weights * rows) + sum(column_weights * columns).

  The weights are at least 0. The logits are made again tile by tile.
  """
  kind_ = wide(pairs.queries, pairs.keys)
  g, r = pairs.right.shape
  padded = loops.is_padded(len(pairs.queries), rows)
  # weight * exp(logit - sum) = exp(logit - (sum - log weight)). A weight of 0
  # makes it exp(-inf); so does a key that no query is compared with.
  row_sums = found.rows
  if kind == 'softmax':
    row_sums = row_sums - jnp.log(row_weights)
  column_sums = jnp.where(
    column_weights > 0, found.columns - jnp.log(column_weights), jnp.inf
  )

  def some_rows(carry, part):
    some, sums, weights = part

    def add(carry, first, size):
      tile = make_tile(pairs, some, first, size, dims, padded)
      back = []
      for i, logit in enumerate(logits_of(tile, pairs)):
        if kind == 'softplus':
          p = jax.nn.sigmoid(logit) * weights[:, i, None]
        else:
          p = jnp.exp(logit - sums[:, i, None])
        if both:
          where = (i, first), (1, size)
          p = p + jnp.exp(logit - jax.lax.dynamic_slice(column_sums, *where))
        back.append(p)
      return accumulate(carry, walk_down(tile, back, pairs.scale), dims, first)

    b = len(some.queries)
    own = (
      [jnp.zeros((b, s.stop - s.start), kind_) for s in nested.blocks(dims)],
      jnp.zeros((b, g), kind_),
    )
    (queries, left), carry = loops.over_tiles(add, (own, carry), r, columns)
    return carry, (jnp.concatenate(queries, axis=1), left)

  parts = (rows_of(pairs), row_sums.T, row_weights.T)
  (keys, right, scale, bias), (queries, left) = loops.scan_rows(
    some_rows, no_gradients(pairs, kind_), parts, rows
  )
  bias = None if pairs.bias is None else bias
  return Gradients(queries, keys.T, left.T, right, scale, bias)


def together(
  pairs: Pairs,
  row_weights: Float[Array, 'g b'],
  dims: Sequence[int],
  kind: str,
  *,
  rows: int,
) -> tuple[Sums, Gradients]:
  """Rows' sums and gradients of sum(row_weights * rows) in one pass.

  The logits of `rows` queries with all keys are alive at a time.
  """
  kind_ = wide(pairs.queries, pairs.keys)
  g, r = pairs.right.shape
  padded = loops.is_padded(len(pairs.queries), rows)

  def some_rows(carry, part):
    some, weights = part
    tile = make_tile(pairs, some, 0, r, dims, padded)
    found, back = [], []
    for i, logit in enumerate(logits_of(tile, pairs)):
      others = jnp.max(jnp.where(tile.own, -jnp.inf, logit), axis=1)
      if kind == 'softplus':
        total = jnp.sum(softplus(logit), axis=1)
        p = jax.nn.sigmoid(logit)
      else:
        total = jax.nn.logsumexp(logit, axis=1)
        p = jnp.exp(logit - total[:, None])
      back.append(p * weights[:, i, None])
      found.append((total, others))
    total, rival = (jnp.stack(x, axis=1) for x in zip(*found))
    made = walk_down(tile, back, pairs.scale)
    own = [jnp.zeros_like(x) for x in made['queries']], jnp.zeros_like(total)
    (queries, left), carry = accumulate((own, carry), made, dims, 0)
    return carry, (jnp.concatenate(queries, axis=1), left, total, rival)

  (keys, right, scale, bias), (queries, left, total, rival) = loops.scan_rows(
    some_rows, no_gradients(pairs, kind_), (rows_of(pairs), row_weights.T), rows
  )
  bias = None if pairs.bias is None else bias
  sums = Sums(total.T, jnp.zeros((g, r), kind_), rival.T)
  return sums, Gradients(queries, keys.T, left.T, right, scale, bias)


def walk_down(tile: Tile, back: list, scale) -> dict:
  """One tile's gradients from those of its logits, the widest prefix first.

  A factor's gradient is sum(back * cosine) scale / factor: products need not
  be kept. Those of the keys are transposed, [m r]: a tile is then never
  transposed, which on a CPU takes longer than its product with a short prefix.
  """
  left, right = tile.factors
  running = 0
  names = 'queries', 'keys', 'left', 'right', 'scale', 'bias'
  made = {name: [] for name in names}
  for g in reversed(range(len(back))):
    part = back[g] * tile.cosines[g]
    rows, columns = jnp.sum(part, axis=1), jnp.sum(part, axis=0)
    made['left'].append(scale[g] * rows / left[g])
    made['right'].append(scale[g] * columns / right[g])
    made['scale'].append(jnp.sum(rows))
    made['bias'].append(jnp.sum(back[g]))
    running = running + back[g] * (scale[g] * left[g])[:, None] * right[g]
    made['queries'].append(product(running, tile.right[g]))
    made['keys'].append(product(tile.left[g].T, running))
  return {name: part[::-1] for name, part in made.items()}


def no_gradients(pairs: Pairs, kind) -> tuple:
  """Zeros for what all tiles add to: keys [d r], right, scale, bias."""
  g, r = pairs.right.shape
  shapes = pairs.keys.shape[::-1], (g, r), (g,), (g,)
  return tuple(jnp.zeros(shape, kind) for shape in shapes)


def accumulate(carry, found: dict, dims, first):
  (queries, left), (keys, right, scale, bias) = carry

  queries = [x + y for x, y in zip(queries, found['queries'])]
  left = left + jnp.stack(found['left'], axis=1)
  for s, part in zip(nested.blocks(dims), found['keys']):
    keys = loops.add_at(keys, part, (s.start, first))
  right = loops.add_at(right, jnp.stack(found['right']), (0, first))
  scale = scale + jnp.stack(found['scale'])
  bias = bias + jnp.stack(found['bias'])
  return (queries, left), (keys, right, scale, bias)
