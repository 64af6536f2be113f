"""Exact nearest neighbours at every prefix in one pass over the database."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.shapes import Array, Float, Int

ROWS_AT_ONCE = 65_536  # a slab: read of the database at once
QUERIES_AT_ONCE = 256
SCORES_AT_ONCE = 1 << 24  # g * r * q of them are alive on one device
BLOCK = 1024  # rows multiplied at once: their products stay in cache
GROUP = 8
EPSILON = 1e-12  # under the root, as in nested.prefix_norms
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
  slab, chunk, block = sizes(total, tile, len(dims), mesh.size)
  search = program(mesh, dims, k, chunk, block, approximate)
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


def sizes(total: int, tile: int, prefixes: int, devices: int) -> tuple:
  """(rows of a slab, of a chunk of it on one device, of a block of that).

  A slab is the same number of chunks on each device, a chunk whole blocks.
  Scores of a chunk are alive together, products of a block stay in cache.
  """
  share = -(-min(ROWS_AT_ONCE, total) // devices)
  most = max(SCORES_AT_ONCE // (prefixes * tile), 1)
  chunks = -(-share // most)
  blocks = -(-share // (chunks * BLOCK))
  block = round_up(-(-share // (chunks * blocks)), GROUP)
  return devices * chunks * blocks * block, blocks * block, block


@functools.lru_cache(maxsize=32)
def program(mesh: Mesh, dims, k: int, chunk: int, block: int, approximate):
  """The jitted search of one slab, merged with what was best before it."""
  axes = mesh.axis_names

  def local(asked, own, start, total, scores, rows):
    start += jax.lax.axis_index(axes) * len(own)
    blocks = own.reshape(-1, chunk // block, block, own.shape[1])
    there = start + jnp.arange(len(own), dtype=jnp.int32) < total
    given = (
      blocks,
      jax.lax.map(lambda some: jax.lax.map(scales, some), blocks),
      there.reshape(blocks.shape[:3]),
      start + chunk * jnp.arange(len(blocks), dtype=jnp.int32),
    )

    def one(asked_best):
      columns, *best = asked_best
      found = scan(columns, given)
      if mesh.size > 1:
        found = (jax.lax.all_gather(x, axes, axis=2, tiled=True) for x in found)
      return merge(best, found, k)

    return jax.lax.map(one, (asked, scores, rows))

  def scales(rows):
    return 1 / row_norms(rows, dims)

  def scan(columns, given):
    own = 1 / nested.prefix_norms(columns.T, dims)

    def score(_, some):
      scores = similarities(columns, own, *some, dims)
      return None, (scores, [group_maxima(one) for one in scores])

    def step(best, some):
      _, found = jax.lax.scan(score, None, some[:3])
      levels = [
        [x.reshape(-1, x.shape[-1]) for x in level] for level in zip(*found)
      ]
      select = approximately if approximate else exactly
      scores, rows = zip(*(select(*level, k) for level in levels))
      found = jnp.stack(scores), jnp.stack(rows) + some[3]
      return merge(best, found, k), None

    shape = (len(dims), columns.shape[1], k)
    empty = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
    return jax.lax.scan(step, empty, given)[0]

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


def row_norms(rows: Float[Array, 'r d'], dims) -> Float[Array, 'g r']:
  """nested.prefix_norms by sums of blocks: faster for many rows at once."""
  squares, total, sums = jnp.square(rows.astype(jnp.float32)), 0, []
  for part in nested.blocks(dims):
    # The barrier keeps each sum from being made anew for all later ones.
    one = jax.lax.optimization_barrier(jnp.sum(squares[:, part], axis=1))
    total = total + one
    sums.append(total)
  return jnp.sqrt(jnp.stack(sums) + EPSILON)


def similarities(columns, own, rows, scale, there, dims) -> list:
  """Of every prefix the cosines [r q], -inf for rows that are not there."""
  rows = rows.astype(jnp.float32)
  products, scores = 0, []
  for g, part in enumerate(nested.blocks(dims)):
    product = jnp.matmul(rows[:, part], columns[part], precision='highest')
    products = products + product
    scaled = products * scale[g][:, None] * own[g]
    scores.append(jnp.where(there[:, None], scaled, -jnp.inf))
  return scores


def group_maxima(scores: Float[Array, 'r q']) -> Float[Array, 'n q']:
  """The largest of every GROUP rows, of the last that are left too."""
  lacking = -len(scores) % GROUP
  if lacking:
    fill = ((0, lacking), (0, 0))
    scores = jnp.pad(scores, fill, constant_values=-jnp.inf)
  return jnp.max(scores.reshape(-1, GROUP, scores.shape[1]), axis=1)


def exactly(scores: Float[Array, 'r q'], maxima, k: int) -> tuple:
  """(the k best scores or all, their rows), [q k].

  The k groups of consecutive rows with the largest maxima hold the k best
  rows: a row outside them has k group maxima before it. So do, of groups,
  the k best groups of groups, and so on. Of equal maxima the earlier groups
  are taken, and groups are looked through in order, so that of equal scores
  the smaller row comes first.
  """
  if len(scores) <= GROUP * k:
    return jax.lax.top_k(scores.T, min(k, len(scores)))
  chosen = jnp.sort(exactly(maxima, group_maxima(maxima), k)[1], axis=-1)
  rows = chosen[..., None] * GROUP + jnp.arange(GROUP, dtype=jnp.int32)
  rows = rows.reshape(len(chosen), -1)
  # Groups at the end of a level may lack rows: those read as -inf.
  some = jnp.take_along_axis(
    scores, rows.T, axis=0, mode='fill', fill_value=-jnp.inf
  )
  best, order = jax.lax.top_k(some.T, k)
  return best, jnp.take_along_axis(rows, order, axis=-1)


def approximately(scores: Float[Array, 'r q'], _, k: int) -> tuple:
  """(scores, rows) [q k] of most of the k best, or of all."""
  best, rows = jax.lax.approx_max_k(
    scores.T, min(k, len(scores)), recall_target=RECALL_TARGET
  )
  return best, rows


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
