"""The nested softmax by tiles of rows and classes, for one device's share.

For prefixes m_1 < ... < m_G = d of an embedding z and one kernel W,

  P_g = P_{g-1} + z[block_g] W[block_g]      (block_g = m_{g-1} .. m_g)
  logits_g = scale_g P_g + bias_g

so every prefix costs the products of the widest, 2bdv operations. The
gradient walks the prefixes downward with one running sum F of what the wider
ones already sent back:

  D_g = coefficient_g (softmax(logits_g) - target)
  F_g = F_{g+1} + scale_g D_g
  dz[block_g] = F_g W[block_g]^T,  dW[block_g] = z[block_g]^T F_g

again the products of the widest. `statistics` makes a tile of logits and keeps
a running maximum and sum. `gradients` makes the same tile again. That is 8bdv
operations, one [g rows classes] tile alive. Tiles are small enough to stay in
a cache; so this is the fastest form on a CPU at many classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.losses import tiles
from mrl_jax.losses.softmax.reference import Problem, Setting
from mrl_jax.shapes import Array, Float, Int, PyTree

# (rows, classes) of logits at a time, by platform: on a CPU a tile of each
# prefix stays in the cache.
TILES = {'cpu': (512, 512)}
TILES_ELSEWHERE = (4096, 2048)


class Statistics(NamedTuple):
  """What lives on of the logits, over the classes of all devices.

  Attributes:
    lse: log sum exp of a row's logits.
    expected: sum of target * logit; the loss is lse - expected.
    own: the first label's logit, -inf where it is not a class.
    rival: the largest logit of all other classes.
  """

  lse: Float[Array, 'g b']
  expected: Float[Array, 'g b']
  own: Float[Array, 'g b']
  rival: Float[Array, 'g b']


class Gradients(NamedTuple):
  """Of sum(coefficient * loss), in the wide type."""

  embedding: Float[Array, 'b d']
  kernel: Float[Array, 'd v']
  bias: Float[Array, 'h v']
  scale: Float[Array, 'g'] | None


class ClassTile(NamedTuple):
  """Some classes: the kernel's blocks between dims, and the first class."""

  kernel: list[Float[Array, 'm v']]
  bias: Float[Array, 'h v']
  first: int | Int[Array, '']


class Rows(NamedTuple):
  """What the gradients of some rows need."""

  embedding: Float[Array, 'b d']
  labels: Int[Array, 'b t']
  shares: Float[Array, 'b t']
  lse: Float[Array, 'b g']
  coefficient: Float[Array, 'b g']


def statistics(
  problem: Problem, setting: Setting, classes: int, axis: str | None = None
) -> Statistics:
  """Statistics of every row, a tile of logits at a time.

  The maximum is a running one, so logits of any finite size are safe.
  `classes` counts those of all devices. With `axis`, they are split over that
  mesh axis: two numbers per row and prefix are maximised over it, two summed.
  """
  picked = _picked_logits(problem, setting.dims)
  count, s = problem.kernel.shape[1], setting.smoothing
  parts = jnp.where(problem.shares > 0, picked * problem.shares, 0)
  expected = (1 - s) * jnp.sum(parts, axis=-1)
  if s:
    mean = _mean_logits(problem, setting.dims)
    expected = expected + s * mean * (count / classes)
  label = problem.labels[:, 0]
  inside = (label >= 0) & (label < count)
  own = jnp.where(inside, picked[..., 0], -jnp.inf)

  def chunk(carry, rows):
    return carry, _log_sums(problem, setting, *rows)

  rows = problem.embedding, label, own.T
  _, sums = tiles.scan_rows(chunk, None, rows, setting.tile[0])
  rival, total = sums.rival.T, sums.total.T
  if axis is not None:
    top = jnp.maximum(rival, own)
    rival, own = jax.lax.pmax((rival, own), axis)
    total = total * jnp.exp(top - jnp.maximum(rival, own))
    total, expected = jax.lax.psum((total, expected), axis)
  lse = tiles.log_sum(tiles.Running(rival, total), own)
  return Statistics(lse, expected, own, rival)


def gradients(
  problem: Problem,
  lse: Float[Array, 'g b'],
  coefficient: Float[Array, 'g b'],
  setting: Setting,
  classes: int,
) -> Gradients:
  """Gradients of sum(coefficient * loss), every tile of logits made again.

  `classes` counts those of all devices. With split classes the gradients of
  embedding and scale are this device's part of a sum.
  """
  wide = tiles.wide_type(problem.embedding, problem.kernel)

  def chunk(carry, rows):
    left = _blocks(rows.embedding, setting.dims)

    def add(carry, tile):
      products, logits = _prefix_logits(left, tile, problem.scale)
      target = _tile_target(rows, tile, setting.smoothing, classes)
      slopes = [
        (jnp.exp(x - rows.lse[:, g, None]) - target)
        * rows.coefficient[:, g, None]
        for g, x in enumerate(logits)
      ]
      more = _walk_down(left, tile, products, slopes, problem.scale)
      return _added(carry, more, tile, setting.dims)

    zeros = tuple(jnp.zeros(x.shape, wide) for x in left)
    carry = carry._replace(embedding=zeros)
    carry = _fold_classes(add, carry, problem, setting)
    embedding = jnp.concatenate(carry.embedding, axis=1)
    return carry._replace(embedding=None), embedding

  zeros = [
    None if x is None else jnp.zeros(x.shape, wide) for x in problem[1:4]
  ]
  rows = Rows(
    problem.embedding, problem.labels, problem.shares, lse.T, coefficient.T
  )
  # exp(logit - inf) is 0, whatever the bias alone makes of an empty row.
  fill = Rows(0, 0, 0, jnp.inf, 0)
  carry, embedding = tiles.scan_rows(
    chunk, Gradients(None, *zeros), rows, setting.tile[0], fill
  )
  return carry._replace(embedding=embedding)


def _blocks(embedding, dims) -> list[Array]:
  return [embedding[:, s] for s in nested.blocks(dims)]


def _picked_logits(
  problem: Problem, dims: tuple[int, ...]
) -> Float[Array, 'g b t']:
  """Logits at the labels, by gathering columns; 0 outside the classes."""
  z, kernel, bias, scale, labels, _ = problem
  columns = jnp.where(labels < 0, kernel.shape[1], labels)
  take = dict(axis=1, mode='fill', fill_value=0)
  chosen = jnp.take(kernel, columns, **take)
  wide = tiles.wide_type(z, kernel)
  parts = [
    jnp.einsum('bk,kbt->bt', z[:, s], chosen[s], preferred_element_type=wide)
    for s in nested.blocks(dims)
  ]
  sums = jnp.cumsum(jnp.stack(parts), axis=0)
  if scale is not None:
    sums = sums * scale[:, None, None]
  return sums + jnp.take(bias, columns, **take)


def _mean_logits(
  problem: Problem, dims: tuple[int, ...]
) -> Float[Array, 'g b']:
  """sum_v logits_v / v from one pass over the kernel: the mean is linear."""
  wide = tiles.wide_type(problem.embedding, problem.kernel)
  column = jnp.mean(problem.kernel, axis=1, dtype=wide)
  means = nested.prefix_sums(problem.embedding.astype(wide) * column, dims)
  if problem.scale is not None:
    means = means * problem.scale[:, None]
  return means + jnp.mean(problem.bias, axis=1)[:, None]


def _prefix_logits(
  left: list[Array], tile: ClassTile, scale: Array | None
) -> tuple[list[Array], list[Array]]:
  """([b v] products, [b v] logits) of every prefix, from the blocks' products.

  A shared bias starts the running sum, so that products and logits need not
  both be alive; the products then contain it.
  """
  plain = scale is None and len(tile.bias) == 1
  products = []
  for x, y in zip(left, tile.kernel):
    before = products[-1] if products else tile.bias if plain else 0
    products.append(before + tiles.product(x, y))
  if plain:
    return products, products
  logits = [
    (p if scale is None else p * scale[g])
    + tile.bias[min(g, len(tile.bias) - 1)]
    for g, p in enumerate(products)
  ]
  return products, logits


def _log_sums(
  problem: Problem,
  setting: Setting,
  embedding: Float[Array, 'b d'],
  label: Int[Array, 'b'],
  own: Float[Array, 'b g'],
) -> tiles.Running:
  """The sums [b g] of some rows over all tiles of classes."""
  left = _blocks(embedding, setting.dims)

  def add(sums, tile):
    mine = (label - tile.first)[:, None] == jnp.arange(tile.bias.shape[1])
    _, logits = _prefix_logits(left, tile, problem.scale)
    others = [jnp.max(jnp.where(mine, -jnp.inf, x), axis=1) for x in logits]
    return tuple(map(tiles.grow_log_sum, sums, logits, own.T, others))

  empty = tuple(tiles.nothing(x.shape, x.dtype) for x in own.T)
  sums = _fold_classes(add, empty, problem, setting)
  return jax.tree.map(lambda *x: jnp.stack(x, axis=1), *sums)


def _tile_target(
  rows: Rows, tile: ClassTile, smoothing: float, classes: int
) -> Float[Array, 'b v']:
  """The target distribution's part in a tile."""
  labels, place = rows.labels - tile.first, jnp.arange(tile.bias.shape[1])
  target = sum(
    (labels[:, t, None] == place) * rows.shares[:, t, None]
    for t in range(labels.shape[1])
  )
  return (1 - smoothing) * target + smoothing / classes


def _walk_down(
  left: list[Array],
  tile: ClassTile,
  products: list[Array],
  slopes: list[Array],
  scale: Array | None,
) -> Gradients:
  """A tile's gradients from those of its logits, as tuples over the blocks."""
  running = shared = 0
  parts = []
  for g in reversed(range(len(left))):
    shared = shared + slopes[g]
    d_scale = None
    if scale is None:
      running = shared
    else:
      d_scale = jnp.sum(slopes[g] * products[g])
      running = running + slopes[g] * scale[g]
    part = Gradients(
      tiles.product(running, tile.kernel[g].T),
      tiles.product(left[g].T, running),
      jnp.sum(slopes[g], axis=0),
      d_scale,
    )
    parts.append(part)
  whole = Gradients(*zip(*reversed(parts)))
  if len(tile.bias) == 1:
    whole = whole._replace(bias=(jnp.sum(shared, axis=0),))
  return whole


def _added(
  carry: Gradients, more: Gradients, tile: ClassTile, dims: tuple[int, ...]
) -> Gradients:
  """The gradients with those of one tile added at its place."""
  embedding, kernel, bias, scale = carry
  for s, part in zip(nested.blocks(dims), more.kernel):
    kernel = tiles.add_at(kernel, part, (s.start, tile.first))
  bias = tiles.add_at(bias, jnp.stack(more.bias), (0, tile.first))
  if scale is not None:
    scale = scale + jnp.stack(more.scale)
  embedding = tuple(x + y for x, y in zip(embedding, more.embedding))
  return Gradients(embedding, kernel, bias, scale)


def _fold_classes(
  add: Callable, carry: PyTree, problem: Problem, setting: Setting
) -> PyTree:
  """Folds add(carry, ClassTile) over the tiles of classes."""
  _, kernel, bias, *_ = problem

  def add_tile(carry, first, size):
    blocks = [
      jax.lax.dynamic_slice(kernel, (s.start, first), (s.stop - s.start, size))
      for s in nested.blocks(setting.dims)
    ]
    part = jax.lax.dynamic_slice(bias, (0, first), (len(bias), size))
    return add(carry, ClassTile(blocks, part, first))

  return tiles.fold(add_tile, carry, kernel.shape[1], setting.tile[1])
