"""Exact nearest neighbours at every prefix in one pass over the database."""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.embed import selection, slabs
from mrl_jax.shapes import Array, Float, Int

QUERIES_AT_ONCE = 256
SCORES_AT_ONCE = 1 << 25  # g * r * q of them are alive on one device


def nested_top_k(
  queries: Float[np.ndarray, 'q d'],
  database: Float[np.ndarray, 'r d'],
  dims: Sequence[int],
  k: int,
  mesh: Mesh,
) -> tuple[Float[np.ndarray, 'g q k'], Int[np.ndarray, 'g q k']]:
  """(cosine similarities, rows) of the k nearest rows per prefix, best first.

  Both sides are cut to each of `dims` and then normalised. Products of the
  blocks between dims are summed up, so all prefixes cost the products of the
  widest. The database may be mapped from a file and of any float type: slabs
  of it are read one after another, each split over all devices of the mesh,
  and only every device's k best are gathered: g * q * k scores and rows.
  Equal scores keep the smaller row first. Zero rows score 0. Every process
  passes the same arrays. To search often, keep the rows on the devices:
  `Resident`.

  Raises:
    ValueError: if k exceeds the rows, or widths differ.
  """
  dims = tuple(int(m) for m in dims)
  _check(queries, database.shape, dims, k)
  parts = slabs.of_database(database, dims, mesh)
  return _best_of(parts, queries, dims, k, mesh)


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
    self.slabs = list(slabs.of_database(database, self.dims, mesh))

  def top_k(
    self, queries: Float[np.ndarray, 'q d'], k: int, approximate: bool = False
  ) -> tuple[Float[np.ndarray, 'g q k'], Int[np.ndarray, 'g q k']]:
    """(cosine similarities, rows) of the k nearest rows per prefix.

    `approximate` takes jax.lax.approx_max_k with a recall of 0.99 in each
    chunk of rows, fast on a TPU (arXiv:2206.14286) and exact elsewhere. It
    leaves nothing out where a hundred times k exceeds a chunk.
    """
    _check(queries, self.shape, self.dims, k)
    return _best_of(self.slabs, queries, self.dims, k, self.mesh, approximate)


def _check(queries, shape: tuple[int, int], dims, k: int) -> None:
  """Raises ValueError if the arguments of a search do not fit each other."""
  rows, width = shape
  if queries.shape[1] != width or dims[-1] > width:
    raise ValueError(
      f'queries are {queries.shape[1]} wide, the database {width}, dims end '
      f'at {dims[-1]}'
    )
  if not len(queries):
    raise ValueError('there are no queries to search for')
  if not 0 < k <= rows:
    raise ValueError(f'k={k} must be from 1 to the {rows} rows')


def _best_of(
  parts: Iterable[slabs.Slab], queries, dims, k, mesh, approximate=False
) -> tuple:
  """The k nearest rows of all slabs."""
  tile = min(QUERIES_AT_ONCE, len(queries))
  search = program(mesh, dims, k, approximate)
  everywhere = NamedSharding(mesh, PartitionSpec())
  count = _round_up(len(queries), tile)
  # Columns of queries: a reduction over rows then runs over whole lanes.
  columns = slabs.filled(queries, 0, count, dims[-1])
  columns = columns.reshape(-1, tile, dims[-1]).swapaxes(1, 2)
  asked = _place(np.ascontiguousarray(columns), everywhere)
  shape = (len(columns), len(dims), tile, k)
  best = (
    _place(np.full(shape, -np.inf, np.float32), everywhere),
    _place(np.zeros(shape, np.int32), everywhere),
  )
  for slab in parts:
    best = search(asked, slab, *best)
    jax.block_until_ready(best)  # else the slabs would pile up
  return tuple(
    x.swapaxes(0, 1).reshape(len(dims), count, k)[:, : len(queries)]
    for x in jax.device_get(best)
  )


def chunk_rows(share: int, queries: int, prefixes: int) -> int:
  """Rows of a device's share whose scores are alive together.

  All are equal, the last may reach back into another; whole groups where
  there are rows enough.
  """
  most = max(SCORES_AT_ONCE // (prefixes * queries), selection.GROUP)
  chunks = -(-share // most)
  chunk = _round_up(-(-share // chunks), selection.GROUP)
  if chunk > share:
    chunk = _round_up(-(-share // 2), selection.GROUP)
  return min(chunk, share)


@functools.lru_cache(maxsize=32)
def program(mesh: Mesh, dims, k: int, approximate: bool):
  """The jitted search of one slab, merged with what was best before it."""
  axes = mesh.axis_names
  find = selection.approximately if approximate else selection.exactly

  def local(asked, slab, scores, rows):
    share, (start, first, total) = slab.rows, slab.limits
    start += jax.lax.axis_index(axes) * len(share)
    chunk = chunk_rows(len(share), asked.shape[-1], len(dims))

    def tile(columns_and_best):
      columns, *best = columns_and_best
      scale = 1 / nested.prefix_norms(columns.T, dims)

      def step(best, begin):
        at = jnp.minimum(begin, len(share) - chunk)
        row = at + jnp.arange(chunk, dtype=jnp.int32)
        new = (row >= begin) & (row + start >= first) & (row + start < total)
        lengths = jax.lax.dynamic_slice_in_dim(slab.lengths, at, chunk, 1)
        products = chunk_products(share, at, chunk, columns, dims)
        scores, rows = zip(
          *(
            find(product, selection.Scale(new, lengths[g], scale[g]), k)
            for g, product in enumerate(products)
          )
        )
        nearest = jnp.stack(scores), jnp.stack(rows) + at + start
        return selection.merge(best, nearest, k), None

      shape = (len(dims), columns.shape[1], k)
      empty = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
      new = jax.lax.scan(step, empty, slabs.begins(len(share), chunk))[0]
      if mesh.size > 1:
        new = (jax.lax.all_gather(x, axes, axis=2, tiled=True) for x in new)
      return selection.merge(best, new, k)

    return jax.lax.map(tile, (asked, scores, rows))

  whole = PartitionSpec()
  parts = slabs.Slab(whole, PartitionSpec(axes), PartitionSpec(None, axes))
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


def chunk_products(
  share: Float[Array, 's d'], at, count: int, columns, dims
) -> list[Float[Array, 'c q']]:
  """nested.prefix_products of `count` rows from `at`, in full precision."""
  products = []
  for block in nested.blocks(dims):
    # Cut out of all rows at once: a cut of a cut would be copied twice.
    width = block.stop - block.start
    rows = jax.lax.dynamic_slice(share, (at, block.start), (count, width))
    rows = rows.astype(jnp.float32)
    one = jnp.matmul(rows, columns[block], precision='highest')
    products.append(products[-1] + one if products else one)
  return products


def _round_up(size: int, multiple: int) -> int:
  return -(-size // multiple) * multiple


def _place(array: np.ndarray, sharding) -> jax.Array:
  """A global array whose every process holds the whole in memory."""
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )
