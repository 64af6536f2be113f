"""Exact nearest neighbours at every prefix in one pass over the database."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.shapes import Array, Bool, Float, Int

ROWS_AT_ONCE = 65_536  # a slab: read of the database at once
QUERIES_AT_ONCE = 256
SCORES_AT_ONCE = 1 << 25  # g * r * q of them are alive on one device
GROUP = 8
EPSILON = 1e-30  # under the root: a prefix may be 1e-10 of its row
RECALL_TARGET = 0.99  # of approximate=True


def nested_top_k(
  queries: Float[np.ndarray, 'q d'],
  database: Float[np.ndarray, 'r d'],
  dims: Sequence[int],
  k: int,
  mesh: Mesh,
  approximate: bool = False,
) -> tuple[Float[Array, 'g q k'], Int[Array, 'g q k']]:
  """(cosine similarities, rows) of the k nearest rows per prefix, best first.

  Both sides are cut to each of `dims` and then normalised. Products of the
  blocks between dims are summed up, so all prefixes cost the products of the
  widest. The database may be mapped from a file and of any float type: slabs
  of it are read one after another, each split over all devices of the mesh,
  and only every device's k best are gathered: g * q * k scores and rows.
  Equal scores keep the smaller row first. Zero rows score 0. Every process
  passes the same arrays.

  `approximate` takes jax.lax.approx_max_k with a recall of 0.99 in each chunk
  of rows, fast on a TPU (arXiv:2206.14286) and exact elsewhere.

  Raises:
    ValueError: if k exceeds the rows, or widths differ.
  """
  dims = tuple(int(m) for m in dims)
  check(queries, database, dims, k)
  total, tile = len(database), min(QUERIES_AT_ONCE, len(queries))
  slab, chunk = sizes(total, tile, len(dims), mesh.size)
  search = program(mesh, dims, k, chunk, approximate)
  everywhere = NamedSharding(mesh, PartitionSpec())
  apart = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
  count = round_up(len(queries), tile)
  # Columns of queries: a reduction over rows then runs over whole lanes.
  columns = filled(queries, 0, count, dims[-1]).reshape(-1, tile, dims[-1])
  asked = place(np.ascontiguousarray(columns.swapaxes(1, 2)), everywhere)
  shape = (len(columns), len(dims), tile, k)
  best = (
    place(np.full(shape, -np.inf, np.float32), everywhere),
    place(np.zeros(shape, np.int32), everywhere),
  )
  for first in range(0, total, slab):
    # The last slab starts early enough to be full.
    start = max(min(first, total - slab), 0)
    part = stream(database, start, slab, dims[-1], apart)
    best = search(asked, part, np.array([start, first, total]), *best)
    jax.block_until_ready(best)  # else the slabs would pile up
  return tuple(
    x.swapaxes(0, 1).reshape(len(dims), count, k)[:, : len(queries)]
    for x in best
  )


def check(queries, database, dims, k) -> None:
  """Raises ValueError if the arguments of a search do not fit each other."""
  if queries.shape[1] != database.shape[1] or dims[-1] > queries.shape[1]:
    raise ValueError(
      f'queries are {queries.shape[1]} wide, the database '
      f'{database.shape[1]}, dims end at {dims[-1]}'
    )
  if not len(queries):
    raise ValueError('there are no queries to search for')
  if not 0 < k <= len(database):
    raise ValueError(f'k={k} must be from 1 to the {len(database)} rows')


def sizes(total: int, tile: int, prefixes: int, devices: int) -> tuple:
  """(rows of a slab, rows of a chunk of it on one device).

  Slabs are equal, but for a few rows, and so are chunks: both the last slab
  and the last chunk may reach back into the one before. Chunks are whole
  groups where there are rows enough. Scores of a chunk are alive together.
  """
  slabs = -(-total // ROWS_AT_ONCE)
  share = -(-total // (slabs * devices))
  most = max(SCORES_AT_ONCE // (prefixes * tile), GROUP)
  chunks = -(-share // most)
  chunk = round_up(-(-share // chunks), GROUP)
  if chunk > share:
    chunk = round_up(-(-share // 2), GROUP)
  return devices * share, min(chunk, share)


@functools.lru_cache(maxsize=32)
def program(mesh: Mesh, dims, k: int, chunk: int, approximate: bool):
  """The jitted search of one slab, merged with what was best before it."""
  axes = mesh.axis_names

  def local(asked, own, limits, scores, rows):
    start, first, total = limits
    start += jax.lax.axis_index(axes) * len(own)
    begins = jnp.arange(-(-len(own) // chunk), dtype=jnp.int32) * chunk

    def ready(begin):
      """(its first row, which rows are new, 1 / lengths) of a chunk."""
      place = jnp.minimum(begin, len(own) - chunk)
      row = place + jnp.arange(chunk, dtype=jnp.int32)
      new = (row >= begin) & (row + start >= first) & (row + start < total)
      block = jax.lax.dynamic_slice_in_dim(own, place, chunk)
      return place, new, 1 / row_norms(block, dims)

    def one(asked_best):
      columns, *best = asked_best
      scale = 1 / nested.prefix_norms(columns.T, dims, EPSILON)

      def step(best, given):
        place, new, lengths = given
        products = prefix_products(own, place, chunk, columns, dims)
        find = approximately if approximate else exactly
        scores, rows = zip(
          *(
            find(product, Scale(new, lengths[g], scale[g]), k)
            for g, product in enumerate(products)
          )
        )
        found = jnp.stack(scores), jnp.stack(rows) + place + start
        return merge(best, found, k), None

      shape = (len(dims), columns.shape[1], k)
      empty = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
      found = jax.lax.scan(step, empty, prepared)[0]
      if mesh.size > 1:
        found = (jax.lax.all_gather(x, axes, axis=2, tiled=True) for x in found)
      return merge(best, found, k)

    prepared = jax.lax.map(ready, begins)
    return jax.lax.map(one, (asked, scores, rows))

  whole, split = PartitionSpec(), PartitionSpec(axes)
  return jax.jit(
    jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(whole, split, whole, whole, whole),
      out_specs=whole,
      check_vma=False,
    ),
    donate_argnums=(3, 4),
  )


def row_norms(rows: Float[Array, 'r d'], dims) -> Float[Array, 'g r']:
  """nested.prefix_norms by sums of blocks: faster for many rows at once."""
  squares, total, sums = jnp.square(rows.astype(jnp.float32)), 0, []
  for part in nested.blocks(dims):
    # The barrier keeps each sum from being made anew for all later ones.
    one = jax.lax.optimization_barrier(jnp.sum(squares[:, part], axis=1))
    total = total + one
    sums.append(total)
  return jnp.sqrt(jnp.stack(sums) + EPSILON)


class Scale(NamedTuple):
  """What makes products of a chunk cosines: -inf for rows that are not new."""

  new: Bool[Array, 'r']
  rows: Float[Array, 'r']
  columns: Float[Array, 'q']

  def all(self, products: Float[Array, 'r q']) -> Float[Array, 'r q']:
    scaled = products * self.rows[:, None] * self.columns
    return jnp.where(self.new[:, None], scaled, -jnp.inf)

  def some(self, products, rows: Int[Array, 'n q']) -> Float[Array, 'n q']:
    """`all` at some rows of each column; those beyond the last are not new."""
    near = jnp.take_along_axis(products, rows, axis=0, mode='clip')
    scaled = near * self.rows.at[rows].get(mode='clip') * self.columns
    new = self.new.at[rows].get(mode='fill', fill_value=False)
    return jnp.where(new, scaled, -jnp.inf)


def prefix_products(own, place, chunk, columns, dims) -> list:
  """nested.prefix_products of some rows [r q], in full precision."""
  products = []
  for part in nested.blocks(dims):
    # Cut out of all rows at once: a cut of a cut would be copied twice.
    width = part.stop - part.start
    rows = jax.lax.dynamic_slice(own, (place, part.start), (chunk, width))
    rows = rows.astype(jnp.float32)
    one = jnp.matmul(rows, columns[part], precision='highest')
    products.append(products[-1] + one if products else one)
  return products


def exactly(products: Float[Array, 'r q'], scale: Scale, k: int) -> tuple:
  """(the k best scores or all, their rows), [q k].

  The k groups of consecutive rows with the largest maxima hold the k best
  rows: a row outside them has k group maxima before it. Of equal maxima the
  earlier groups are taken, and groups are looked through in order, so that of
  equal scores the smaller row comes first.
  """
  if len(products) <= GROUP * k:
    scores = scale.all(products)
    return jax.lax.top_k(scores.T, min(k, len(products)))
  rows = members(best_rows(group_maxima(scale.all(products)), k))
  best, order = jax.lax.top_k(scale.some(products, rows.T).T, k)
  return best, jnp.take_along_axis(rows, order, axis=-1)


def best_rows(scores: Float[Array, 'r q'], k: int) -> Int[Array, 'q k']:
  """Rows of the k best scores or all, found through groups of groups."""
  if len(scores) <= GROUP * k:
    return jax.lax.top_k(scores.T, min(k, len(scores)))[1]
  rows = members(best_rows(group_maxima(scores), k))
  some = jnp.take_along_axis(
    scores, rows.T, axis=0, mode='fill', fill_value=-jnp.inf
  )
  order = jax.lax.top_k(some.T, k)[1]
  return jnp.take_along_axis(rows, order, axis=-1)


def group_maxima(scores: Float[Array, 'r q']) -> Float[Array, 'n q']:
  """The largest of every GROUP rows, the last group may be smaller."""
  lacking = -len(scores) % GROUP
  if lacking:
    fill = ((0, lacking), (0, 0))
    scores = jnp.pad(scores, fill, constant_values=-jnp.inf)
  return jnp.max(scores.reshape(-1, GROUP, scores.shape[1]), axis=1)


def members(groups: Int[Array, 'q k']) -> Int[Array, 'q n']:
  """Rows of the groups, increasing."""
  groups = jnp.sort(groups, axis=-1)[..., None]
  rows = groups * GROUP + jnp.arange(GROUP, dtype=jnp.int32)
  return rows.reshape(len(rows), -1)


def approximately(products: Float[Array, 'r q'], scale: Scale, k: int):
  """(scores, rows) [q k] of most of the k best, or of all."""
  return tuple(
    jax.lax.approx_max_k(
      scale.all(products).T,
      min(k, len(products)),
      recall_target=RECALL_TARGET,
    )
  )


def merge(best, found, k: int) -> tuple:
  """The k best of two lists; equal scores keep the order of the lists."""
  scores, rows = (jnp.concatenate(both, axis=-1) for both in zip(best, found))
  scores, order = jax.lax.top_k(scores, k)
  return scores, jnp.take_along_axis(rows, order, axis=-1)


def round_up(size: int, multiple: int) -> int:
  return -(-size // multiple) * multiple


def filled(array, start: int, rows: int, width: int) -> np.ndarray:
  """Rows from `start` of some columns, zeros where there are no more."""
  part = np.asarray(array[start : start + rows, :width])
  if part.dtype not in (np.float16, np.float32):
    part = part.astype(np.float32)
  if len(part) == rows:
    return part
  return np.pad(part, ((0, rows - len(part)), (0, 0)))


def stream(array, start: int, rows: int, width: int, sharding) -> jax.Array:
  """A slab on the devices; a process reads what its own devices hold."""

  def part(index):
    first, last, _ = index[0].indices(rows)
    return filled(array, start + first, last - first, width)

  return jax.make_array_from_callback((rows, width), sharding, part)


def place(array: np.ndarray, sharding) -> jax.Array:
  """A global array whose every process holds the whole in memory."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )
