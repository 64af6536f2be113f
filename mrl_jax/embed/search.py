"""Exact nearest neighbours at every prefix in one pass over the database."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from mrl_jax import nested
from mrl_jax.shapes import Array, Float, Int

# Rows scored at once on one device: the scores alive are [g, queries, rows].
QUERIES_AT_ONCE = 256
ROWS_AT_ONCE = 4096


def nested_top_k(
  queries: Float[np.ndarray, 'q d'],
  database: Float[np.ndarray, 'r d'],
  dims: Sequence[int],
  k: int,
  mesh: Mesh,
) -> tuple[Float[Array, 'g q k'], Int[Array, 'g q k']]:
  """(cosine similarities, rows) of the k nearest rows per prefix, best first.

  Both sides are cut to each of `dims` and then normalised. Products of the
  blocks between dims are summed up, so all prefixes cost the products of the
  widest. The database is split over all devices of the mesh; each keeps its
  own k best, and only those are gathered: g * q * k scores and rows per
  device. Equal scores keep the smaller row first. Every process passes the
  same arrays.

  Raises:
    ValueError: if k exceeds the rows, or widths differ.
  """
  if queries.shape[1] != database.shape[1] or dims[-1] > queries.shape[1]:
    raise ValueError(
      f'queries are {queries.shape[1]} wide, the database '
      f'{database.shape[1]}, dims end at {dims[-1]}'
    )
  if not 0 < k <= len(database):
    raise ValueError(f'k={k} must be from 1 to the {len(database)} rows')
  devices = mesh.size
  chunk = max(k, min(ROWS_AT_ONCE, -(-len(database) // devices)))
  rows = round_up(len(database), devices * chunk)
  every = PartitionSpec(mesh.axis_names)
  padded = place(pad(database, rows), mesh, every)
  width = min(QUERIES_AT_ONCE, len(queries))
  count = round_up(len(queries), width)
  asked = place(pad(queries, count), mesh, PartitionSpec())

  def local(asked, own):
    first = jax.lax.axis_index(mesh.axis_names) * len(own)
    blocks = own.reshape(-1, chunk, own.shape[1])
    starts = first + jnp.arange(len(blocks)) * chunk

    def one(some):
      return scan_top_k(some, blocks, starts, len(database), dims, k)

    scores, found = jax.lax.map(one, asked.reshape(-1, width, asked.shape[1]))
    # [queries/width g width k] -> [g q k]; then all devices' k best.
    scores = scores.swapaxes(0, 1).reshape(len(dims), count, k)
    found = found.swapaxes(0, 1).reshape(len(dims), count, k)
    if devices > 1:
      scores, found = (
        jax.lax.all_gather(x, mesh.axis_names, axis=2, tiled=True)
        for x in (scores, found)
      )
      scores, order = jax.lax.top_k(scores, k)
      found = jnp.take_along_axis(found, order, axis=-1)
    return scores, found

  search = jax.jit(
    jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(PartitionSpec(), every),
      out_specs=PartitionSpec(),
      check_vma=False,
    )
  )
  scores, found = search(asked, padded)
  return scores[:, : len(queries)], found[:, : len(queries)]


def scan_top_k(queries, blocks, starts, rows, dims, k):
  """Top k of some queries over blocks of rows, a running merge."""
  lengths = nested.prefix_norms(queries, dims)[:, :, None]

  def merge(best, block_start):
    block, start = block_start
    scores = similarities(queries, block, dims) / lengths
    index = start + jnp.arange(len(block), dtype=jnp.int32)
    scores = jnp.where(index < rows, scores, -jnp.inf)
    scores, order = jax.lax.top_k(scores, k)
    joined = jnp.concatenate([best[0], scores], axis=-1)
    found = jnp.concatenate([best[1], index[order]], axis=-1)
    scores, order = jax.lax.top_k(joined, k)
    return (scores, jnp.take_along_axis(found, order, axis=-1)), None

  shape = (len(dims), len(queries), k)
  empty = (jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))
  return jax.lax.scan(merge, empty, (blocks, starts))[0]


def similarities(queries, block, dims):
  """[g q r] products of prefixes over the rows' prefix lengths, float32."""
  with jax.default_matmul_precision('highest'):
    products = nested.prefix_products(queries, block.T, dims)
  return products / nested.prefix_norms(block, dims)[:, None, :]


def round_up(size: int, multiple: int) -> int:
  return -(-size // multiple) * multiple


def pad(array: np.ndarray, rows: int) -> np.ndarray:
  extra = rows - len(array)
  return np.pad(np.asarray(array, np.float32), ((0, extra), (0, 0)))


def place(array: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
  """A global array whose every process holds the whole in memory."""
  sharding = jax.sharding.NamedSharding(mesh, spec)
  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )
