"""Nested softmax cross entropy by tiles of rows and classes, in plain XLA.

For prefixes m_1 < ... < m_G = d of an embedding z and one kernel W,

  P_g = P_{g-1} + z[block_g] W[block_g]      (block_g = m_{g-1} .. m_g)
  logits_g = scale_g P_g + bias_g

so every granularity costs the products of the widest, 2bdv operations. The
gradient walks the prefixes downward with one running sum F of what the wider
ones already sent back:

  D_g = coefficient_g (softmax(logits_g) - targets)
  F_g = F_{g+1} + scale_g D_g
  dz[block_g] = F_g W[block_g]^T,  dW[block_g] = z[block_g]^T F_g

again the products of the widest. Two forms, which differ in what stays alive:

  kept        all logits of some rows stay until their gradients are made, in
              the forward pass: 6bdv operations, [g rows v] alive;
  recomputed  `statistics` passes over tiles of classes with a running maximum
              and sum, `gradients` computes the logits of a tile again: 8bdv
              operations, one [g rows classes] tile alive.

Tiles are small enough to stay in a cache, which is why the second form is the
fastest one on a CPU at many classes. The classes may be split over the devices
of a mesh axis; only numbers per row and prefix are then exchanged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax import nested
from mrl_jax.kernels import loops
from mrl_jax.kernels.statistics import Statistics, mean_logit
from mrl_jax.shapes import Array, Float, Int


class Problem(NamedTuple):
  """Arrays of one nested softmax.

  Attributes:
    embedding: z.
    kernel: W.
    bias: one row for all prefixes, or one each.
    scale: of each prefix's products, None for 1.
    labels: `t` classes per row, the one with the largest share first; -1 or
      another number outside the kernel's classes is nobody's.
    shares: of the target that each label has.
  """

  embedding: Float[Array, 'b d']
  kernel: Float[Array, 'd v']
  bias: Float[Array, 'h v']
  scale: Float[Array, 'g'] | None
  labels: Int[Array, 'b t']
  shares: Float[Array, 'b t']


class Gradients(NamedTuple):
  """Of sum(coefficient * loss), in the accumulation type."""

  embedding: Float[Array, 'b d']
  kernel: Float[Array, 'd v']
  bias: Float[Array, 'h v']
  scale: Float[Array, 'g'] | None


def wide(*arrays: Array) -> jnp.dtype:
  """The type sums are kept in: float32, or wider if an input is."""
  return jnp.result_type(jnp.float32, *arrays)


def product(left: Array, right: Array, precision: str | None = None) -> Array:
  kind = wide(left, right)
  return jnp.matmul(
    left, right, precision=precision, preferred_element_type=kind
  )


def prefix_logits(
  left: Sequence[Array],
  right: Sequence[Array],
  bias: Array,
  scale: Array | None,
) -> tuple[list, list]:
  """([b v] products, [b v] logits) of every prefix from the blocks' products.

  A plain bias starts the running sum, so that products and logits need not
  both be alive; the products then contain it.
  """
  plain = scale is None and len(bias) == 1
  products = []
  for x, y in zip(left, right):
    before = products[-1] if products else bias if plain else 0
    products.append(before + product(x, y))
  if plain:
    return products, products
  logits = [
    (p if scale is None else p * scale[g]) + bias[min(g, len(bias) - 1)]
    for g, p in enumerate(products)
  ]
  return products, logits


def picked_logits(problem: Problem, dims: Sequence[int]):
  """[g b t] logits at the labels, by gathering columns; 0 where outside."""
  z, kernel, bias, scale, labels, _ = problem
  columns = jnp.where(labels < 0, kernel.shape[1], labels)
  take = dict(axis=1, mode='fill', fill_value=0)
  chosen = jnp.take(kernel, columns, **take)
  kind = wide(z, kernel)
  parts = [
    jnp.einsum('bk,kbt->bt', z[:, s], chosen[s], preferred_element_type=kind)
    for s in nested.blocks(dims)
  ]
  sums = jnp.cumsum(jnp.stack(parts), axis=0)
  if scale is not None:
    sums = sums * scale[:, None, None]
  return sums + jnp.take(bias, columns, **take)


def statistics(
  problem: Problem,
  dims: Sequence[int],
  *,
  rows: int,
  classes: int,
  smoothed: bool = False,
  axis: str | None = None,
) -> Statistics:
  """Statistics of every row, `rows` x `classes` logits at a time.

  The maximum is a running one, so logits of any finite size are safe. With
  `axis`, the classes are split over that mesh axis: per row and prefix two
  numbers are maximised over it and 1 + t (2 + t if `smoothed`) summed.
  """
  picked = picked_logits(problem, dims)
  mean = None
  if smoothed:
    mean = mean_logit(*problem[:4], dims)
  own = in_classes(problem.labels[:, 0], problem.kernel.shape[1])
  start = jnp.where(own, picked[..., 0], -jnp.inf)
  parts = (problem.embedding, problem.labels[:, 0], start.T)

  def some_rows(part):
    return running(problem, dims, *part, classes)

  rival, total = over_rows(some_rows, parts, rows)
  return joined(rival.T, start, total.T, picked, mean, axis)


def joined(rival, own, total, picked, mean, axis: str | None) -> Statistics:
  """Statistics from sums of exp(logit - max(rival, own)), over all shards.

  `own` is the label's logit, -inf where it is another shard's; `rival` the
  largest of the others. They are kept apart because a logit that is made
  twice may be rounded twice: compared with itself it could lose.
  """
  top = jnp.maximum(rival, own)
  if axis is not None:
    rival, own = jax.lax.pmax((rival, own), axis)
    every = jnp.maximum(rival, own)
    total = total * jnp.exp(top - every)
    top = every
    if mean is None:
      total, picked = jax.lax.psum((total, picked), axis)
    else:
      mean = mean / jax.lax.axis_size(axis)
      total, picked, mean = jax.lax.psum((total, picked, mean), axis)
  lse = top + jnp.log(total)
  mean = jnp.zeros_like(lse) if mean is None else mean
  return Statistics(lse, picked, mean, rival)


def in_classes(labels: Array, classes: int) -> Array:
  return (labels >= 0) & (labels < classes)


def running(problem, dims, z, label, start, classes):
  """([b g] rival, [b g] sum of exp(logit - maximum)) over class tiles.

  The maximum is that of the rival, the largest logit but for the label's, and
  of `start`, the label's own.
  """
  left = [z[:, s] for s in nested.blocks(dims)]

  def add(carry, right, bias, first):
    rivals, totals = carry
    size = bias.shape[1]
    mine = (label - first)[:, None] == jnp.arange(size)
    _, logits = prefix_logits(left, right, bias, problem.scale)
    made = []
    for own, rival, total, tile in zip(start.T, rivals, totals, logits):
      others = jnp.max(jnp.where(mine, -jnp.inf, tile), axis=1)
      made.append(grown(own, rival, total, tile, others))
    return tuple(zip(*made))

  nothing = jnp.full_like(start.T, -jnp.inf), jnp.zeros_like(start.T)
  carry = tuple(tuple(x) for x in nothing)
  rivals, totals = over_classes(add, carry, problem, dims, classes)
  return jnp.stack(rivals, axis=1), jnp.stack(totals, axis=1)


def grown(own, rival, total, logits, others, axis: int = 1):
  """(rival, sum of exp(logit - max(rival, own))) with more logits.

  The sum is over `axis`; a maximum of -inf leaves it at 0.
  """
  new = jnp.maximum(rival, others)
  top = jnp.maximum(own, new)
  safe = jnp.where(jnp.isneginf(top), 0, top)
  seen = jnp.sum(jnp.exp(logits - jnp.expand_dims(safe, axis)), axis=axis)
  return new, total * jnp.exp(jnp.maximum(own, rival) - safe) + seen


def gradients(
  problem: Problem,
  lse: Float[Array, 'g b'],
  coefficient: Float[Array, 'g b'],
  dims: Sequence[int],
  smoothing: float = 0.0,
  total_classes: int | None = None,
  *,
  rows: int,
  classes: int,
) -> Gradients:
  """Gradients of sum(coefficient * loss), logits computed again tile by tile.

  `total_classes` is what smoothing is spread over: all shards' classes. With
  split classes the embedding's and the scale's gradients are this shard's
  part of a sum.
  """
  z, kernel, bias, scale, _, _ = problem
  total_classes = total_classes or kernel.shape[1]

  def some_rows(carry, part):
    z, labels, shares, lse, coefficient = part
    left = [z[:, s] for s in nested.blocks(dims)]

    def add(carry, right, tile_bias, first):
      products, logits = prefix_logits(left, right, tile_bias, scale)
      back = [jnp.exp(t - lse[:, g, None]) for g, t in enumerate(logits)]
      found = walk_down(
        left, right, products, back, labels - first, shares, coefficient,
        scale, len(bias), smoothing, total_classes,
      )  # fmt: skip
      return accumulate(carry, found, dims, first)

    zeros = [jnp.zeros(x.shape, wide(z, kernel)) for x in left]
    carry = carry._replace(embedding=zeros)
    carry = over_classes(add, carry, problem, dims, classes)
    made = jnp.concatenate(carry.embedding, axis=1)
    return carry._replace(embedding=None), made

  parts = (z, problem.labels, problem.shares, lse.T, coefficient.T)
  empty = no_gradients(problem)._replace(embedding=None)
  # exp(logit - inf) is 0, whatever the bias alone makes of an empty row.
  fill = 0, 0, 0, jnp.inf, 0
  carry, made = loops.scan_rows(some_rows, empty, parts, rows, fill)
  return carry._replace(embedding=made)


def kept(
  problem: Problem,
  coefficient: Float[Array, 'g b'],
  dims: Sequence[int],
  smoothing: float = 0.0,
  total_classes: int | None = None,
  *,
  rows: int,
  axis: str | None = None,
) -> tuple[Statistics, Gradients]:
  """Statistics, and gradients of sum(coefficient * loss), in one pass.

  The logits of `rows` rows over all classes are alive at a time.
  """
  z, kernel, bias, scale, _, _ = problem
  total_classes = total_classes or kernel.shape[1]
  right = [kernel[s] for s in nested.blocks(dims)]

  def some_rows(carry, part):
    z, labels, shares, coefficient = part
    left = [z[:, s] for s in nested.blocks(dims)]
    products, logits = prefix_logits(left, right, bias, scale)
    tops = [jnp.max(x, axis=1) for x in logits]
    # A shard may have no possible class: its maxima are -inf, its sums 0.
    tops = [jnp.where(jnp.isneginf(top), 0, top) for top in tops]
    exps = [jnp.exp(x - top[:, None]) for x, top in zip(logits, tops)]
    totals = jnp.stack([jnp.sum(x, axis=1) for x in exps])
    picked = jnp.stack([logits_at(x, labels) for x in logits])
    mean = None
    if smoothing:
      mean = jnp.stack([jnp.mean(x, axis=1) for x in logits])
    mine = labels[:, :1] == jnp.arange(kernel.shape[1])
    rivals = [jnp.max(jnp.where(mine, -jnp.inf, x), axis=1) for x in logits]
    tops = jnp.stack(tops)
    # Without need of hits, the rivals are never made: the sums use the tops.
    found = joined(tops, tops, totals, picked, mean, axis)
    rivals = jnp.stack(rivals)
    found = found._replace(
      top=rivals if axis is None else jax.lax.pmax(rivals, axis)
    )
    share = jnp.exp(tops - found.lse)
    back = [x * share[g, :, None] for g, x in enumerate(exps)]
    made = walk_down(
      left, right, products, back, labels, shares, coefficient, scale,
      len(bias), smoothing, total_classes,
    )  # fmt: skip
    zeros = [jnp.zeros_like(x) for x in made['z']]
    carry = accumulate(carry._replace(embedding=zeros), made, dims, 0)
    rows_first = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), found)
    embedding = jnp.concatenate(carry.embedding, axis=1)
    return carry._replace(embedding=None), (embedding, rows_first)

  parts = (z, problem.labels, problem.shares, coefficient.T)
  empty = no_gradients(problem)._replace(embedding=None)
  carry, (made, found) = loops.scan_rows(some_rows, empty, parts, rows)
  found = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found)
  return found, carry._replace(embedding=made)


def no_gradients(problem: Problem) -> Gradients:
  kind = wide(problem.embedding, problem.kernel)
  return Gradients(
    *jax.tree.map(lambda x: jnp.zeros(x.shape, kind), problem[:4])
  )


def logits_at(logits, labels):
  """[b t] of [b v], 0 where a label is no class."""
  columns = jnp.where(labels < 0, logits.shape[1], labels)
  return jnp.take_along_axis(logits, columns, 1, mode='fill', fill_value=0)


def walk_down(
  left, right, products, back, labels, shares, coefficient, scale, biases,
  smoothing, total_classes,
):  # fmt: skip
  """One tile's gradients from its softmax `back`, the widest prefix first."""
  size = back[0].shape[1]
  target = sum(
    (labels[:, t, None] == jnp.arange(size)) * shares[:, t, None]
    for t in range(labels.shape[1])
  )
  target = (1 - smoothing) * target + smoothing / total_classes
  running, shared = 0, 0
  made = {'z': [], 'w': [], 'bias': [], 'scale': []}
  for g in reversed(range(len(left))):
    down = (back[g] - target) * coefficient[:, g, None]
    shared = shared + down
    made['bias'].append(jnp.sum(down, axis=0))
    if scale is None:
      running = shared
    else:
      made['scale'].append(jnp.sum(down * products[g]))
      running = running + down * scale[g]
    made['z'].append(product(running, right[g].T))
    made['w'].append(product(left[g].T, running))
  if biases == 1:
    made['bias'] = [jnp.sum(shared, axis=0)]
  return {name: part[::-1] for name, part in made.items()}


def accumulate(carry: Gradients, found, dims, first) -> Gradients:
  """Adds one tile's gradients at its place."""
  z, kernel, bias, scale = carry

  for s, part in zip(nested.blocks(dims), found['w']):
    kernel = loops.add_at(kernel, part, (s.start, first))
  bias = loops.add_at(bias, jnp.stack(found['bias']), (0, first))
  if scale is not None:
    scale = scale + jnp.stack(found['scale'])
  return Gradients([a + b for a, b in zip(z, found['z'])], kernel, bias, scale)


def over_classes(add, carry, problem: Problem, dims, classes: int):
  """Folds `add(carry, kernel blocks, bias, first class)` over class tiles."""
  _, kernel, bias, *_ = problem

  def tile(carry, first, size):
    right = [
      jax.lax.dynamic_slice(kernel, (s.start, first), (s.stop - s.start, size))
      for s in nested.blocks(dims)
    ]
    some = jax.lax.dynamic_slice(bias, (0, first), (len(bias), size))
    return add(carry, right, some, first)

  return loops.over_tiles(tile, carry, kernel.shape[1], classes)


def over_rows(some_rows, arrays, rows: int):
  return loops.scan_rows(
    lambda _, part: (None, some_rows(part)), None, arrays, rows
  )[1]
