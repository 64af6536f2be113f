"""A database on the devices, slab by slab of consecutive rows."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.shapes import Array, Float, Int

ROWS_AT_ONCE = 65_536  # a slab: read of the database at once
LENGTHS_AT_ONCE = 1024  # rows: all blocks of theirs are read from a cache


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


def of_database(database, dims: tuple[int, ...], mesh: Mesh) -> Iterator[Slab]:
  """The slabs of a database of any float type, perhaps mapped from a file."""
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


def slab_rows(total: int, devices: int) -> int:
  """Rows of a slab: all are equal, the last may reach back into another."""
  count = -(-total // ROWS_AT_ONCE)
  return devices * -(-total // (count * devices))


@functools.lru_cache(maxsize=32)
def measuring(mesh: Mesh, dims):
  """The jitted 1 / length of every prefix of a slab's rows, [g s]."""
  axes = mesh.axis_names

  def local(rows):
    size = min(LENGTHS_AT_ONCE, len(rows))

    def step(lengths, begin):
      at = jnp.minimum(begin, len(rows) - size)
      chunk = jax.lax.dynamic_slice_in_dim(rows, at, size)
      return jax.lax.dynamic_update_slice_in_dim(
        lengths, 1 / _row_norms(chunk, dims), at, 1
      ), None

    lengths = jnp.zeros((len(dims), len(rows)))
    return jax.lax.scan(step, lengths, begins(len(rows), size))[0]

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


def _row_norms(rows: Float[Array, 'r d'], dims) -> Float[Array, 'g r']:
  """nested.prefix_norms by sums of blocks: faster for many rows at once."""
  squares, total, sums = jnp.square(rows.astype(jnp.float32)), 0, []
  for block in nested.blocks(dims):
    # The barrier keeps each sum from being made anew for all later ones.
    one = jax.lax.optimization_barrier(jnp.sum(squares[:, block], axis=1))
    total = total + one
    sums.append(total)
  return jnp.sqrt(jnp.stack(sums) + nested.EPSILON)


def stream(array, start: int, rows: int, width: int, sharding) -> jax.Array:
  """A slab on the devices; a process reads what its own devices hold."""

  def shard(index):
    first, last, _ = index[0].indices(rows)
    return filled(array, start + first, last - first, width)

  return jax.make_array_from_callback((rows, width), sharding, shard)


def filled(array, start: int, rows: int, width: int) -> np.ndarray:
  """Rows from `start` of some columns, zeros where there are no more."""
  values = np.asarray(array[start : start + rows, :width])
  values = values.astype(kept_as(values.dtype), copy=False)
  if len(values) == rows:
    return values
  return np.pad(values, ((0, rows - len(values)), (0, 0)))


def kept_as(dtype) -> np.dtype:
  """What rows are on the devices: float16 if they are, else float32."""
  return np.dtype(np.float16 if dtype == np.float16 else np.float32)
