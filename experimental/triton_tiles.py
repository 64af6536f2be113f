"""Tiles of rows and classes for a Triton program: where, how big, how deep."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from mrl_jax import nested
from mrl_jax.shapes import Array

SHALLOWEST, DEEPEST = 16, 64  # of one product
REGISTER_BYTES = 208 * 2**10  # of 255 KiB that 8 warps share


class Shape(NamedTuple):
  """What is known of a call when it is compiled."""

  dims: tuple[int, ...]
  b: int
  v: int
  rows: int  # of a tile
  columns: int  # classes of a tile


class Tile(NamedTuple):
  """Where a tile lies, and which of its rows and classes exist."""

  row: Array
  column: Array
  real_rows: Array  # [rows]
  real_columns: Array  # [columns]
  ids: Array  # [columns] int32


def shape_of(embedding, kernel, dims) -> Shape:
  """The largest square tile whose logits of every prefix fit in registers."""
  dims = nested.check_dims(dims, embedding.shape[1])
  side = 128
  while side > 16 and 4 * side * side * (len(dims) + 3) > REGISTER_BYTES:
    side //= 2
  b, v = len(embedding), kernel.shape[1]
  rows, columns = (
    max(SHALLOWEST, min(side, pl.next_power_of_2(size))) for size in (b, v)
  )
  return Shape(dims, b, v, rows, columns)


def loop(count: int, body: Callable, start):
  """fori_loop with 32-bit counters also where 64-bit types are on."""
  return jax.lax.fori_loop(
    0, count, lambda k, state: body(k.astype(jnp.int32), state), start
  )


def tile_at(shape: Shape, i: Array, j: Array) -> Tile:
  row, column = i * shape.rows, j * shape.columns
  rows = row + jnp.arange(shape.rows, dtype=jnp.int32)
  ids = column + jnp.arange(shape.columns, dtype=jnp.int32)
  return Tile(row, column, rows < shape.b, ids < shape.v, ids)


def by_row(ref, number, shape, tile, other=0):
  """Entries [number, rows of the tile]."""
  at = ref.at[np.int32(number), pl.ds(tile.row, shape.rows)]
  return plgpu.load(at, mask=tile.real_rows, other=other)


class Chunk(NamedTuple):
  """Part of a block between dims, as deep as one product."""

  at: pl.Slice  # of the embedding's width
  real: Array  # which of them belong to the block


def chunks(block: slice) -> tuple[int, Callable[[Array], Chunk]]:
  """How many products a block takes, and where each of them lies."""
  width = block.stop - block.start
  depth = max(SHALLOWEST, min(DEEPEST, pl.next_power_of_2(width)))

  def chunk(k):
    first = block.start + k * depth
    inner = first + jnp.arange(depth, dtype=jnp.int32)
    return Chunk(pl.ds(first, depth), inner < block.stop)

  return pl.cdiv(width, depth), chunk


def load_z(z_ref, chunk, shape, tile):
  mask = tile.real_rows[:, None] & chunk.real[None, :]
  at = z_ref.at[pl.ds(tile.row, shape.rows), chunk.at]
  return plgpu.load(at, mask=mask, other=0)


def load_w(w_ref, chunk, shape, tile):
  mask = chunk.real[:, None] & tile.real_columns[None, :]
  at = w_ref.at[chunk.at, pl.ds(tile.column, shape.columns)]
  return plgpu.load(at, mask=mask, other=0)


def add_to(ref, at, value, mask, again):
  """Adds to what this program wrote before, or writes if it did not."""
  old = plgpu.load(ref.at[at], mask=mask & again, other=0)
  plgpu.store(ref.at[at], old + value, mask=mask)
