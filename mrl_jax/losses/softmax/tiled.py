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

import functools
import itertools
import operator
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


class Parameters(NamedTuple):
  """Gradients that all rows add to."""

  kernel: Float[Array, 'd v']
  bias: Float[Array, 'h v']
  scale: Float[Array, 'g'] | None


class ClassTile(NamedTuple):
  """Some classes: the kernel's blocks between dims, and the first class."""

  kernel: list[Float[Array, 'm v']]
  bias: Float[Array, 'h v']
  first: int | Int[Array, '']


class Rows(NamedTuple):
  """What the gradients need of a chunk of rows."""

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
  sums = tiles.Running(sums.rival.T, sums.total.T)
  return joined(sums, own, expected, axis)


def joined(
  sums: tiles.Running,
  own: Float[Array, 'g b'],
  expected: Float[Array, 'g b'],
  axis: str | None,
) -> Statistics:
  """Statistics over the classes of all devices from those of one."""
  rival, total = sums
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
  embedding, kernel, bias, scale, labels, shares = problem
  zeros = functools.partial(
    jnp.zeros_like, dtype=tiles.wide_type(embedding, kernel)
  )

  def chunk(parameters, rows):
    left = _blocks(rows.embedding, setting.dims)

    def add(carry, tile):
      products, logits = _prefix_logits(left, tile, scale)
      target = _tile_target(rows, tile, setting.smoothing, classes)
      slopes = [
        (jnp.exp(x - rows.lse[:, g, None]) - target)
        * rows.coefficient[:, g, None]
        for g, x in enumerate(logits)
      ]
      return _walk_down(
        carry, left, tile, products, slopes, scale, setting.dims
      )

    carry = [zeros(x) for x in left], parameters
    of_rows, parameters = _fold_classes(add, carry, problem, setting)
    return parameters, jnp.concatenate(of_rows, axis=1)

  parameters = Parameters(
    zeros(kernel), zeros(bias), None if scale is None else zeros(scale)
  )
  rows = Rows(embedding, labels, shares, lse.T, coefficient.T)
  # exp(logit - inf) is 0, whatever the bias alone makes of an empty row.
  fill = 0, 0, 0, jnp.inf, 0
  parameters, of_embedding = tiles.scan_rows(
    chunk, parameters, rows, setting.tile[0], fill
  )
  return Gradients(of_embedding, *parameters)


def _blocks(embedding, dims) -> list[Array]:
  return [embedding[:, s] for s in nested.blocks(dims)]


def _picked_logits(
  problem: Problem, dims: tuple[int, ...]
) -> Float[Array, 'g b t']:
  """Logits at the labels, by gathering columns; 0 outside the classes."""
  z, kernel, bias, scale, labels, _ = problem
  columns = jnp.where(labels < 0, kernel.shape[1], labels)
  take = functools.partial(jnp.take, axis=1, mode='fill', fill_value=0)
  chosen = take(kernel, columns)
  wide = tiles.wide_type(z, kernel)
  parts = [
    jnp.einsum('bk,kbt->bt', z[:, s], chosen[s], preferred_element_type=wide)
    for s in nested.blocks(dims)
  ]
  sums = jnp.cumsum(jnp.stack(parts), axis=0)
  if scale is not None:
    sums = sums * scale[:, None, None]
  return sums + take(bias, columns)


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
  products: list[Array] = []
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
  """The sums [b g] of a chunk of rows over all tiles of classes."""
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
  parts = [
    (labels[:, t, None] == place) * rows.shares[:, t, None]
    for t in range(labels.shape[1])
  ]
  target = functools.reduce(operator.add, parts)
  return (1 - smoothing) * target + smoothing / classes


def _walk_down(
  carry: tuple[list[Array], Parameters],
  left: list[Array],
  tile: ClassTile,
  products: list[Array],
  slopes: list[Array],
  scale: Array | None,
  dims: tuple[int, ...],
) -> tuple[list[Array], Parameters]:
  """(gradients of the rows' blocks, of the parameters) with those of a tile.

  They come from the slopes of its logits. Running sums start at the widest
  prefix.
  """
  of_rows, (kernel, bias, of_scale) = carry
  scaled, shared = slopes, slopes
  if scale is not None and of_scale is not None:
    scaled = [slope * scale[g] for g, slope in enumerate(slopes)]
    sums = [jnp.sum(slope * p) for slope, p in zip(slopes, products)]
    of_scale = of_scale + jnp.stack(sums)
  running = list(itertools.accumulate(reversed(scaled)))[::-1]
  of_rows = [
    x + tiles.product(f, w.T) for x, f, w in zip(of_rows, running, tile.kernel)
  ]
  for s, x, f in zip(nested.blocks(dims), left, running):
    block = tiles.product(x.T, f)
    kernel = tiles.add_at(kernel, block, (s.start, tile.first))
  if len(bias) == 1:
    shared = [functools.reduce(operator.add, reversed(slopes))]
  of_bias = jnp.stack([jnp.sum(x, axis=0) for x in shared])
  bias = tiles.add_at(bias, of_bias, (0, tile.first))
  return of_rows, Parameters(kernel, bias, of_scale)


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
