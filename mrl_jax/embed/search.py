"""Exact nearest neighbours at every prefix in one pass over the database."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.embed import selection
from mrl_jax.shapes import Array, Float, Int

ROWS_AT_ONCE = 65_536  # a slab: read of the database at once
QUERIES_AT_ONCE = 256
LENGTHS_AT_ONCE = 1024  # rows: all blocks of theirs are read from a cache
SCORES_AT_ONCE = 1 << 25  # g * r * q of them are alive on one device


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
  passes the same arrays. To search often, keep the rows on the devices:
  `Resident`.

  `approximate` takes jax.lax.approx_max_k with a recall of 0.99 in each chunk
  of rows, fast on a TPU (arXiv:2206.14286) and exact elsewhere. It leaves
  nothing out where a hundred times k exceeds a chunk.

  Raises:
    ValueError: if k exceeds the rows, or widths differ.
  """
  dims = tuple(int(m) for m in dims)
  check(queries, database, dims, k)
  parts = slabs(database, dims, mesh)
  return best_of(parts, queries, dims, k, mesh, approximate)


class Resident:
  """A database that stays on the devices, to be searched many times.

  Takes what `nested_top_k` takes and finds what it finds, without reading the
  rows and measuring their lengths for every call. All rows up to the widest
  of `dims` must fit the devices' memory together, in float16 if they are,
  else in float32.
  """

  def __init__(
    self, database: Float[np.ndarray, 'r d'], dims: Sequence[int], mesh: Mesh
  ):
    self.dims, self.mesh = tuple(int(m) for m in dims), mesh
    self.shape = database.shape
    self.slabs = list(slabs(database, self.dims, mesh))

  def __len__(self) -> int:
    return self.shape[0]

  def top_k(
    self, queries: Float[np.ndarray, 'q d'], k: int, approximate: bool = False
  ) -> tuple[Float[Array, 'g q k'], Int[Array, 'g q k']]:
    """(cosine similarities, rows) of the k nearest rows per prefix."""
    check(queries, self, self.dims, k)
    return best_of(self.slabs, queries, self.dims, k, self.mesh, approximate)


class Slab(NamedTuple):
  """Consecutive rows, split over the devices.

  Attributes:
    limits: where it starts, its first row that no slab before it has, and the
      number of rows of the database.
    lengths: 1 / length of every prefix of every row.
  """

  limits: Int[np.ndarray, '3']
  rows: Float[Array, 's d']
  lengths: Float[Array, 'g s']


def slabs(database, dims: tuple[int, ...], mesh: Mesh) -> Iterator[Slab]:
  """The database on the devices, part by part."""
  total = len(database)
  size = slab_rows(total, mesh.size)
  apart = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
  measure = measuring(mesh, dims)
  for first in range(0, total, size):
    # The last slab starts early enough to be full.
    start = max(min(first, total - size), 0)
    rows = stream(database, start, size, dims[-1], apart)
    limits = np.array([start, first, total], np.int32)
    yield Slab(limits, rows, measure(rows))


def best_of(
  parts: Iterable[Slab], queries, dims, k, mesh, approximate
) -> tuple:
  """The k nearest rows of all slabs."""
  tile = min(QUERIES_AT_ONCE, len(queries))
  search = program(mesh, dims, k, approximate)
  everywhere = NamedSharding(mesh, PartitionSpec())
  count = round_up(len(queries), tile)
  # Columns of queries: a reduction over rows then runs over whole lanes.
  columns = filled(queries, 0, count, dims[-1]).reshape(-1, tile, dims[-1])
  asked = place(np.ascontiguousarray(columns.swapaxes(1, 2)), everywhere)
  shape = (len(columns), len(dims), tile, k)
  best = (
    place(np.full(shape, -np.inf, np.float32), everywhere),
    place(np.zeros(shape, np.int32), everywhere),
  )
  for slab in parts:
    best = search(asked, slab, *best)
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


def slab_rows(total: int, devices: int) -> int:
  """Rows of a slab: all are equal, the last may reach back into another."""
  count = -(-total // ROWS_AT_ONCE)
  return devices * -(-total // (count * devices))


def chunk_rows(share: int, queries: int, prefixes: int) -> int:
  """Rows of a device's share whose scores are alive together.

  All are equal, the last may reach back into another; whole groups where
  there are rows enough.
  """
  most = max(SCORES_AT_ONCE // (prefixes * queries), selection.GROUP)
  chunks = -(-share // most)
  chunk = round_up(-(-share // chunks), selection.GROUP)
  if chunk > share:
    chunk = round_up(-(-share // 2), selection.GROUP)
  return min(chunk, share)


@functools.lru_cache(maxsize=32)
def program(mesh: Mesh, dims, k: int, approximate: bool):
  """The jitted search of one slab, merged with what was best before it."""
  axes = mesh.axis_names

  def local(asked, slab, scores, rows):
    own, (start, first, total) = slab.rows, slab.limits
    start += jax.lax.axis_index(axes) * len(own)
    chunk = chunk_rows(len(own), asked.shape[-1], len(dims))

    def one(asked_best):
      columns, *best = asked_best
      scale = 1 / nested.prefix_norms(columns.T, dims)

      def step(best, begin):
        at = jnp.minimum(begin, len(own) - chunk)
        row = at + jnp.arange(chunk, dtype=jnp.int32)
        new = (row >= begin) & (row + start >= first) & (row + start < total)
        lengths = jax.lax.dynamic_slice_in_dim(slab.lengths, at, chunk, 1)
        products = prefix_products(own, at, chunk, columns, dims)
        find = selection.approximately if approximate else selection.exactly
        scores, rows = zip(
          *(
            find(product, selection.Scale(new, lengths[g], scale[g]), k)
            for g, product in enumerate(products)
          )
        )
        found = jnp.stack(scores), jnp.stack(rows) + at + start
        return selection.merge(best, found, k), None

      shape = (len(dims), columns.shape[1], k)
      empty = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
      found = jax.lax.scan(step, empty, begins(len(own), chunk))[0]
      if mesh.size > 1:
        found = (jax.lax.all_gather(x, axes, axis=2, tiled=True) for x in found)
      return selection.merge(best, found, k)

    return jax.lax.map(one, (asked, scores, rows))

  whole = PartitionSpec()
  parts = Slab(whole, PartitionSpec(axes), PartitionSpec(None, axes))
  return jax.jit(
    jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(whole, parts, whole, whole),
      out_specs=whole,
      check_vma=False,
    ),
    donate_argnums=(2, 3),
  )


@functools.lru_cache(maxsize=32)
def measuring(mesh: Mesh, dims):
  """The jitted 1 / length of every prefix of a slab's rows, [g s]."""
  axes = mesh.axis_names

  def local(own):
    size = min(LENGTHS_AT_ONCE, len(own))

    def step(lengths, begin):
      at = jnp.minimum(begin, len(own) - size)
      block = jax.lax.dynamic_slice_in_dim(own, at, size)
      return jax.lax.dynamic_update_slice_in_dim(
        lengths, 1 / row_norms(block, dims), at, 1
      ), None

    lengths = jnp.zeros((len(dims), len(own)))
    return jax.lax.scan(step, lengths, begins(len(own), size))[0]

  return jax.jit(
    jax.shard_map(
      local,
      mesh=mesh,
      in_specs=PartitionSpec(axes),
      out_specs=PartitionSpec(None, axes),
      check_vma=False,
    )
  )


def begins(rows: int, chunk: int) -> Int[Array, 'n']:
  """Where chunks begin; the last one reaches back to be whole."""
  return jnp.arange(-(-rows // chunk), dtype=jnp.int32) * chunk


def row_norms(rows: Float[Array, 'r d'], dims) -> Float[Array, 'g r']:
  """nested.prefix_norms by sums of blocks: faster for many rows at once."""
  squares, total, sums = jnp.square(rows.astype(jnp.float32)), 0, []
  for part in nested.blocks(dims):
    # The barrier keeps each sum from being made anew for all later ones.
    one = jax.lax.optimization_barrier(jnp.sum(squares[:, part], axis=1))
    total = total + one
    sums.append(total)
  return jnp.sqrt(jnp.stack(sums) + nested.EPSILON)


def prefix_products(own, at, count, columns, dims) -> list:
  """nested.prefix_products of some rows [r q], in full precision."""
  products = []
  for part in nested.blocks(dims):
    # Cut out of all rows at once: a cut of a cut would be copied twice.
    width = part.stop - part.start
    rows = jax.lax.dynamic_slice(own, (at, part.start), (count, width))
    rows = rows.astype(jnp.float32)
    one = jnp.matmul(rows, columns[part], precision='highest')
    products.append(products[-1] + one if products else one)
  return products


def round_up(size: int, multiple: int) -> int:
  return -(-size // multiple) * multiple


def filled(array, start: int, rows: int, width: int) -> np.ndarray:
  """Rows from `start` of some columns, zeros where there are no more."""
  part = np.asarray(array[start : start + rows, :width])
  part = part.astype(kept_as(part.dtype), copy=False)
  if len(part) == rows:
    return part
  return np.pad(part, ((0, rows - len(part)), (0, 0)))


def kept_as(dtype) -> np.dtype:
  """What rows are on the devices: float16 if they are, else float32."""
  return np.dtype(np.float16 if dtype == np.float16 else np.float32)


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
