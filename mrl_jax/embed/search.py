"""Exact nearest neighbours at every prefix in one pass over the database."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.shapes import Array, Float, Int

ROWS_AT_ONCE = 65_536  # a slab: read of the database at once
QUERIES_AT_ONCE = 256
SCORES_AT_ONCE = 1 << 25  # g * r * q of them are alive on one device
ROWS_PER_NEIGHBOUR = 128  # of a chunk; fewer cost more selecting per row
SMALLEST_CHUNK = 1024
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
  slab, chunk, group = sizes(total, tile, len(dims), k, mesh.size)
  search = program(mesh, dims, k, chunk, group, approximate)
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
  for start in range(0, total, slab):
    part = stream(database, start, slab, dims[-1], apart)
    best = search(asked, part, np.int32(start), np.int32(total), *best)
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


def sizes(total: int, tile: int, prefixes: int, k: int, devices: int) -> tuple:
  """(rows of a slab, of a chunk of it on one device, of a group).

  A slab is the same number of chunks on each device, a chunk whole groups.
  The group is the power of two nearest below the root of chunk / k: as many
  maxima are looked through as scores of chosen groups.
  """
  share = -(-min(ROWS_AT_ONCE, total) // devices)
  most = max(SCORES_AT_ONCE // (prefixes * tile), 1)
  chunk = min(share, most, max(ROWS_PER_NEIGHBOUR * k, SMALLEST_CHUNK))
  group = 1 << max(int(math.log2(max(chunk / k, 1)) / 2), 0)
  chunks = -(-share // chunk)
  chunk = round_up(-(-share // chunks), group)
  return devices * chunks * chunk, chunk, group


@functools.lru_cache(maxsize=32)
def program(mesh: Mesh, dims, k: int, chunk: int, group: int, approximate):
  """The jitted search of one slab, merged with what was best before it."""
  axes = mesh.axis_names

  def local(asked, own, start, total, scores, rows):
    start += jax.lax.axis_index(axes) * len(own)
    lengths = nested.prefix_norms(own, dims)

    def one(given):
      columns, *best = given
      found = scan(columns, own, lengths, start, total)
      if mesh.size > 1:
        found = (jax.lax.all_gather(x, axes, axis=2, tiled=True) for x in found)
      return merge(best, found, k)

    return jax.lax.map(one, (asked, scores, rows))

  def scan(columns, own, lengths, start, total):
    scale = 1 / nested.prefix_norms(columns.T, dims)
    blocks = own.reshape(-1, chunk, own.shape[1])
    lengths = lengths.reshape(len(dims), -1, chunk).swapaxes(0, 1)
    starts = start + chunk * jnp.arange(len(blocks), dtype=jnp.int32)

    def step(best, given):
      block, lengths, start = given
      there = start + jnp.arange(chunk, dtype=jnp.int32) < total
      scores = similarities(columns, block, 1 / lengths, scale, there, dims)
      found = select(scores, k, group, approximate)
      return merge(best, (found[0], found[1] + start), k), None

    shape = (len(dims), columns.shape[1], k)
    empty = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
    return jax.lax.scan(step, empty, (blocks, lengths, starts))[0]

  whole, split = PartitionSpec(), PartitionSpec(axes)
  return jax.jit(
    jax.shard_map(
      local,
      mesh=mesh,
      in_specs=(whole, split, whole, whole, whole, whole),
      out_specs=whole,
      check_vma=False,
    ),
    donate_argnums=(4, 5),
  )


def similarities(columns, block, row_scale, column_scale, there, dims) -> list:
  """Of every prefix the cosines [r q], -inf for rows that are not there."""
  block = block.astype(jnp.float32)
  products, scores = 0, []
  for g, part in enumerate(nested.blocks(dims)):
    product = jnp.matmul(block[:, part], columns[part], precision='highest')
    products = products + product
    scaled = products * row_scale[g][:, None] * column_scale[g]
    scores.append(jnp.where(there[:, None], scaled, -jnp.inf))
  return scores


def select(scores: list, k: int, group: int, approximate: bool) -> tuple:
  """(the k best scores or all, their rows) of each prefix, [g q k].

  The k groups of consecutive rows with the largest maxima hold the k best
  rows: a row outside them has k group maxima before it. Of equal maxima the
  earlier groups are taken, and groups are looked through in order, so that of
  equal scores the smaller row comes first.
  """
  found = []
  for one in scores:
    keep = min(k, len(one))
    if approximate:
      best = jax.lax.approx_max_k(
        one, keep, reduction_dimension=0, recall_target=RECALL_TARGET
      )
      found.append([x.T for x in best])
      continue
    if len(one) // group <= keep:
      found.append(jax.lax.top_k(one.T, keep))
      continue
    groups = one.reshape(-1, group, one.shape[1])
    chosen = jax.lax.top_k(jnp.max(groups, axis=1).T, keep)[1]
    chosen = jnp.sort(chosen, axis=-1)
    some = jnp.take_along_axis(groups, chosen.T[:, None], axis=0)
    some = some.reshape(keep * group, -1).T
    best, order = jax.lax.top_k(some, keep)
    which = jnp.take_along_axis(chosen, order // group, axis=-1)
    found.append((best, which * group + order % group))
  return tuple(jnp.stack(x) for x in zip(*found))


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
  if part.dtype == np.float64:
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
