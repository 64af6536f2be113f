"""Loops over chunks of rows and over tiles of classes or keys."""

import jax
import jax.numpy as jnp


def over_tiles(add, carry, total: int, size: int):
  """Folds `add(carry, first, size)` over tiles of `total`, the last smaller."""
  size = min(size, total)
  count, rest = divmod(total, size)
  if count == 1:
    carry = add(carry, 0, size)
  else:
    carry = jax.lax.fori_loop(
      0, count, lambda i, carry: add(carry, i * size, size), carry
    )
  return add(carry, count * size, rest) if rest else carry


def add_at(array, part, where):
  """The array with `part` added at the offsets `where`."""
  old = jax.lax.dynamic_slice(array, where, part.shape)
  return jax.lax.dynamic_update_slice(array, old + part, where)


def chunks_of(b: int, rows: int) -> tuple[int, int]:
  """(how many chunks, of how many rows) hold b rows, at most `rows` each."""
  count = max(-(-b // rows), 1)
  return count, -(-b // count)


def is_padded(b: int, rows: int) -> bool:
  count, size = chunks_of(b, rows)
  return count * size != b


def row_chunks(arrays, rows: int, fill):
  """Each [b ...] as [chunks, at most rows, ...], filled up; and b."""
  b = len(jax.tree.leaves(arrays)[0])
  count, size = chunks_of(b, rows)

  def split(x, value):
    space = (0, count * size - b), *((0, 0),) * (x.ndim - 1)
    x = jnp.pad(x, space, constant_values=value)
    return x.reshape(count, size, *x.shape[1:])

  return tuple(
    jax.tree.map(lambda x, value=value: split(x, value), array)
    for array, value in zip(arrays, fill)
  ), b


def scan_rows(some_rows, carry, arrays: tuple, rows: int, fill=None):
  """`some_rows` scanned over chunks of rows; a single chunk runs bare.

  Rows that fill up the last chunk have `fill`, one number for each of
  `arrays`, by default 0.
  """
  chunks, b = row_chunks(arrays, rows, fill or (0,) * len(arrays))
  if len(jax.tree.leaves(chunks)[0]) == 1:
    return some_rows(carry, arrays)
  carry, made = jax.lax.scan(some_rows, carry, chunks)
  return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:b], made)
