"""Prefix products on a matrix unit whose depth is a multiple of 128.

A block between dims that is narrower than 128 costs a depth of 128 all the
same. So the embedding is cut into groups of 128 lanes; where dims end inside
a group, the group is repeated, once per end, with zeros beyond it, and the
copies are stacked along the rows of ONE product. Dims 8, 16, 32, 64, 128 cost
5 * 128 of depth in one pass over 128 rows of the kernel; 256, 512, ... cost
themselves.

`spread` lays the copies side by side. It is linear and small, so it runs
outside the kernels and its transpose folds their gradients back: a kernel
sees neither masks nor odd boundaries.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mrl_jax.shapes import Array, Float

LANES = 128


class Step(NamedTuple):
  """One product: kernel rows against copies of the same embedding lanes."""

  rows: slice  # of the kernel
  columns: tuple[slice, ...]  # of the spread embedding, one per copy
  prefixes: tuple[int | None, ...]  # what each copy completes, if anything
  ends: tuple[int, ...]  # where each copy turns to zeros, counted in rows


def up(size: int, multiple: int) -> int:
  """The smallest multiple that is at least `size`."""
  return -(-size // multiple) * multiple


def plan(dims: Sequence[int]) -> tuple[Step, ...]:
  """The products that give every prefix, in order of width.

  The last copy of a step is whole: it is what wider prefixes add to. Groups
  in which nothing ends are one deeper product.
  """
  width = up(dims[-1], LANES)
  prefix_of = {m: g for g, m in enumerate((*dims[:-1], width))}

  def cuts(start):
    return [m for m in range(start + 1, start + LANES) if m in prefix_of]

  steps, column, start = [], 0, 0
  while start < width:
    ends, stop = cuts(start), start + LANES
    while not ends and stop not in prefix_of and not cuts(stop):
      stop += LANES
    ends.append(stop)
    depth = stop - start
    columns = [column + copy * depth for copy in range(len(ends))]
    steps.append(
      Step(
        rows=slice(start, stop),
        columns=tuple(slice(c, c + depth) for c in columns),
        prefixes=tuple(prefix_of.get(m) for m in ends),
        ends=tuple(m - start for m in ends),
      )
    )
    column, start = columns[-1] + depth, stop
  return tuple(steps)


def spread(
  embedding: Float[Array, 'b d'], steps: Sequence[Step]
) -> Float[Array, 'b lanes']:
  """The copies of every step side by side, zero beyond their ends."""
  width = steps[-1].rows.stop
  padded = jnp.pad(embedding, ((0, 0), (0, width - embedding.shape[1])))
  copies = []
  for step in steps:
    lanes = padded[:, step.rows]
    lane = jnp.arange(lanes.shape[1])
    copies += [jnp.where(lane < end, lanes, 0) for end in step.ends]
  return jnp.concatenate(copies, axis=1)


def fold(
  d_spread: Float[Array, 'b lanes'], steps: Sequence[Step], width: int
) -> Float[Array, 'b d']:
  """The transpose of `spread`: the gradient of an embedding of that width."""
  shape = (d_spread.shape[0], width)
  transpose = jax.linear_transpose(
    lambda embedding: spread(embedding, steps),
    jax.ShapeDtypeStruct(shape, d_spread.dtype),
  )
  return transpose(d_spread)[0]
