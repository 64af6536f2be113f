"""Operands of a TPU kernel over rows and classes, cut into tiles that fit."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from experimental import lanes
from experimental import statistics as kept
from mrl_jax.shapes import Array, Float

SUBLANES = 16  # rows of a bfloat16 tile
VMEM_BYTES = 15 * 2**20  # of the 16 MiB that a kernel gets unless it asks


class Grid(NamedTuple):
  """What the body of a kernel has to know of the walk it is part of."""

  steps: tuple[lanes.Step, ...]
  classes: int
  rows: int  # of a tile
  columns: int  # classes of a tile
  turned: bool  # the kernel comes as [v d]
  class_axis: int  # of the grid

  def lanes(self, step: lanes.Step) -> tuple[slice, slice]:
    """Where a tile of the kernel holds the step's rows."""
    every = slice(None)
    return (every, step.rows) if self.turned else (step.rows, every)

  def copy(self, number: int) -> slice:
    """Where products of stacked copies hold one of them."""
    return slice(number * self.rows, (number + 1) * self.rows)


class Walk:
  """The operands, padded, and how their tiles are visited."""

  def __init__(
    self,
    embedding: Float[Array, 'b d'],
    kernel: Float[Array, 'd v'],
    dims: Sequence[int],
    *,
    row_bytes: int = 0,
    kernel_bytes: int = 0,
  ):
    """Bytes of accumulators, per entry of a tile of embedding or kernel."""
    dtype = kept.product_dtype(embedding, kernel)
    steps, classes = lanes.plan(dims), kernel.shape[1]
    deeper = steps[-1].rows.stop - dims[-1]
    self.width = dims[-1]
    self.kernel = jnp.pad(kernel.astype(dtype), ((0, deeper), (0, 0)))
    # XLA lays a matrix out with the fuller tiles; the kernel asked for in the
    # other order would be copied whole.
    turned = classes % lanes.LANES != 0
    if turned:
      self.kernel = self.kernel.T
    wide = lanes.spread(embedding.astype(dtype), steps)
    # Tiles are fetched ahead, so there are two of each; a full float32
    # product splits its operands into three bfloat16 parts.
    entry = 2 * dtype.itemsize + (6 if dtype == jnp.float32 else 0)
    rows, columns = largest_tile(
      len(wide),
      classes,
      row_bytes=wide.shape[1] * (entry + row_bytes),
      column_bytes=(dims[-1] + deeper) * (entry + kernel_bytes),
      entry_bytes=4 * (len(dims) + 2),
    )
    self.row_tiles = pl.cdiv(len(wide), rows)
    self.class_tiles = pl.cdiv(classes, columns)
    self.grid = Grid(steps, classes, rows, columns, turned, class_axis=1)
    self.embedding = self.pad(wide, 0)

  def pad(self, array: Float[Array, 'b n'], value: float) -> Array:
    """The array with whole tiles of rows."""
    extra = self.row_tiles * self.grid.rows - len(array)
    return jnp.pad(array, ((0, extra), (0, 0)), constant_values=value)

  def run(
    self,
    body: Callable,
    bias: Float[Array, 'g v'],
    scale: Float[Array, 'g'],
    inputs: Sequence[Array],
    *,
    rowwise: Sequence[int] = (),
    classwise: int = 0,
    scratch: Sequence[tuple[int, int]] = (),
    interpret: bool,
  ) -> list[Array]:
    """What `body` makes of every tile, gathered along the inner walk.

    Either float32 arrays [b width] for the widths in `rowwise`, and classes
    are the inner walk; or a gradient of the kernel and a float32 [g v] with
    g = `classwise`, and rows are. `inputs` are [b n].
    """
    grid, tile_counts = self.grid, (self.row_tiles, self.class_tiles)
    if classwise:
      grid, tile_counts = grid._replace(class_axis=0), tile_counts[::-1]

    def by_row(width):
      return _block((grid.rows, width), 0, 1 - grid.class_axis)

    def by_class(height):
      return _block((height, grid.columns), 1, grid.class_axis)

    of_kernel = by_class(len(self.kernel))
    if grid.turned:
      block = (grid.columns, self.kernel.shape[1])
      of_kernel = _block(block, 0, grid.class_axis)
    tall, dtype = len(self.embedding), self.kernel.dtype
    out_specs = [by_row(width) for width in rowwise]
    outputs = [((tall, width), jnp.float32) for width in rowwise]
    if classwise:
      out_specs = [of_kernel, by_class(classwise)]
      outputs = [(self.kernel.shape, dtype)]
      outputs += [((classwise, grid.classes), jnp.float32)]
      # Sums over rows are kept in float32 till the last.
      scratch = [] if dtype == jnp.float32 else [of_kernel.block_shape]

    results = pl.pallas_call(
      functools.partial(body, grid=grid),
      grid=tile_counts,
      in_specs=[
        by_row(self.embedding.shape[1]),
        of_kernel,
        by_class(len(bias)),
        _block((1, len(scale)), 0, None, memory_space=pltpu.SMEM),
        *(by_row(array.shape[1]) for array in inputs),
      ],
      out_specs=out_specs,
      out_shape=[jax.ShapeDtypeStruct(*output) for output in outputs],
      scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
      compiler_params=pltpu.CompilerParams(
        dimension_semantics=('parallel', 'arbitrary')
      ),
      cost_estimate=self._cost(products=2 if len(inputs) > 1 else 1),
      interpret=interpret,
    )(
      self.embedding,
      self.kernel,
      bias.astype(jnp.float32),
      scale.astype(jnp.float32)[None],
      *inputs,
    )
    if not classwise:
      return results
    d_kernel, d_bias = results
    d_kernel = d_kernel.T if grid.turned else d_kernel
    return [d_kernel[: self.width], d_bias]

  def _cost(self, products: int) -> pl.CostEstimate:
    """For XLA's schedule and its reports: it cannot look inside."""
    tall, wide = self.embedding.shape
    entries = tall * self.grid.classes
    prefixes = sum(
      prefix is not None for step in self.grid.steps for prefix in step.prefixes
    )
    return pl.CostEstimate(
      flops=2 * products * entries * wide,
      transcendentals=entries * prefixes,
      bytes_accessed=self.kernel.nbytes * self.row_tiles,
    )


def _block(
  shape: tuple[int, int], tiled: int, axis: int | None, **options
) -> pl.BlockSpec:
  """Whole but for the side `tiled`, which the grid's `axis` walks, if any."""

  def place(*tile):
    # A bare 0 is 64 bits wide where those are on, and a TPU refuses it.
    at = [jnp.int32(0), jnp.int32(0)]
    if axis is not None:
      at[tiled] = tile[axis]
    return tuple(at)

  return pl.BlockSpec(shape, place, **options)


def largest_tile(
  rows: int,
  classes: int,
  *,
  row_bytes: int,
  column_bytes: int,
  entry_bytes: int,
) -> tuple[int, int]:
  """(rows, columns) with the most work per byte moved that fits in VMEM.

  A tile of r x c moves r + c vectors for r * c products.

  Raises:
    ValueError: if not even the smallest tile fits.
  """
  tallest = min(512, lanes.up(rows, SUBLANES))
  broadest = min(512, lanes.up(classes, lanes.LANES))
  fits = [
    (r, c)
    for r in {min(tallest, 2**k * SUBLANES) for k in range(6)}
    for c in {min(broadest, 2**k * lanes.LANES) for k in range(3)}
    if r * row_bytes + c * column_bytes + r * c * entry_bytes <= VMEM_BYTES
  ]
  if not fits:
    raise ValueError(
      f'a kernel column takes {column_bytes} bytes of fast memory; 128 of them '
      f'do not fit in {VMEM_BYTES}: narrow the embedding, or use bfloat16'
    )
  return max(fits, key=lambda tile: (tile[0] * tile[1] / sum(tile), tile))
