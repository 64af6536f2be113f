"""Nested softmax statistics and gradients, fused, for GPUs through Triton.

Three kernels: for the statistics and for the gradient of the embedding one
program owns a tile of rows and loops over tiles of classes; for the gradient
of the kernel and bias it owns a tile of classes and loops over rows. Whoever
owns an output adds to it alone: no atomics, and the same bits every time.
Each tile of logits is made when needed, three times in all, and never stored:
10 b v d operations where storing every logit takes 6 (arXiv:2411.09009;
arXiv:2205.13147 for the loss).

One accumulator runs through the blocks between dims, P_g = P_{g-1} +
z[block_g] @ W[block_g], so all prefixes cost the products of the widest. A
tensor core needs a depth of 16: narrower blocks are filled with zeros. Loads
and stores are masked, so nothing is padded outside.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from experimental import statistics as kept
from experimental import triton_tiles
from mrl_jax import nested
from mrl_jax.shapes import Array, Float, Int


def statistics(
  embedding: Float[Array, 'b d'],
  kernel: Float[Array, 'd v'],
  bias: Float[Array, 'g v'],
  scale: Float[Array, 'g'],
  labels: Int[Array, 'b t'],
  dims: Sequence[int],
  *,
  interpret: bool = False,
) -> kept.Statistics:
  """Reductions over the classes of every prefix's logits; none is stored.

  lse by a running maximum and sum over class tiles: exact at any size of the
  logits. A label outside [0, v) matches no class and picks 0, so shards of
  the classes combine: lse by logaddexp, picked by a sum.
  """
  shape = triton_tiles.shape_of(embedding, kernel, dims)
  mean = kept.mean_logit(embedding, kernel, bias, scale, shape.dims)
  g, t = len(shape.dims), labels.shape[1]
  lse, top, picked = pl.pallas_call(
    functools.partial(_statistics, shape=shape),
    grid=(pl.cdiv(shape.b, shape.rows),),
    out_shape=[
      jax.ShapeDtypeStruct((g, shape.b), jnp.float32),
      jax.ShapeDtypeStruct((g, shape.b), jnp.float32),
      jax.ShapeDtypeStruct((g * t, shape.b), jnp.float32),
    ],
    compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=2),
    interpret=interpret,
  )(
    *_operands(embedding, kernel, bias, scale),
    kept.inside(labels, shape.v).T,
  )
  picked = picked.reshape(g, t, shape.b).swapaxes(1, 2)
  return kept.Statistics(lse, picked, mean, top)


def gradients(
  embedding: Float[Array, 'b d'],
  kernel: Float[Array, 'd v'],
  bias: Float[Array, 'g v'],
  scale: Float[Array, 'g'],
  labels: Int[Array, 'b t'],
  shares: Float[Array, 'b t'],
  lse: Float[Array, 'g b'],
  coefficient: Float[Array, 'g b'],
  dims: Sequence[int],
  smoothing: float,
  *,
  classes: int | None = None,
  interpret: bool = False,
) -> tuple[
  Float[Array, 'b d'],
  Float[Array, 'd v'],
  Float[Array, 'g v'],
  Float[Array, 'g'],
]:
  """Gradients of sum_gb coefficient_gb * cross entropy_gb.

  D_g = coefficient_g * (exp(L_g - lse_g) - target), the target being
  (1 - smoothing) * sum_t shares_t [v == labels_t] + smoothing / classes.
  A block between dims belongs to every prefix at least as wide, so with
  F_b = sum_{g >= b} scale_g D_g its gradients are F_b @ W[block].T and
  z[:, block].T @ F_b: running sums, widest first, and the products of one
  head. `classes` is the number of them all where `kernel` is a shard.
  Products of bfloat16 operands take F_b in bfloat16.
  """
  shape = triton_tiles.shape_of(embedding, kernel, dims)
  g, d, b, v = len(shape.dims), shape.dims[-1], shape.b, shape.v
  inputs = (
    *_operands(embedding, kernel, bias, scale),
    kept.inside(labels, v).T,
    shares.T.astype(jnp.float32),
    # exp(L - inf) = 0 where no class is possible at all.
    jnp.where(jnp.isneginf(lse), jnp.inf, lse).astype(jnp.float32),
    coefficient.astype(jnp.float32),
  )

  def run(body, programs, outputs):
    return pl.pallas_call(
      functools.partial(
        body,
        shape=shape,
        smoothing=float(smoothing),
        floor=smoothing / (classes or v),
        wait=(lambda: None) if interpret else plgpu.debug_barrier,
      ),
      grid=(programs,),
      out_shape=[jax.ShapeDtypeStruct(s, jnp.float32) for s in outputs],
      # One stage: a load moved ahead must not pass the store it reads.
      compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=1),
      interpret=interpret,
    )(*inputs)

  d_embedding, d_scale = run(
    _d_embedding, pl.cdiv(b, shape.rows), [(b, d), (g, b)]
  )
  d_kernel, d_bias = run(_d_kernel, pl.cdiv(v, shape.columns), [(d, v), (g, v)])
  return (
    d_embedding.astype(embedding.dtype),
    d_kernel.astype(kernel.dtype),
    d_bias,
    jnp.sum(d_scale, axis=1),
  )


def _operands(embedding, kernel, bias, scale):
  dtype = kept.product_dtype(embedding, kernel)
  return (
    embedding.astype(dtype),
    kernel.astype(dtype),
    bias.astype(jnp.float32),
    scale.astype(jnp.float32),
  )


def _logits(
  z_ref,
  w_ref,
  bias_ref,
  scale_ref,
  shape: triton_tiles.Shape,
  tile: triton_tiles.Tile,
) -> Iterator[tuple[int, Array, Array]]:
  """(g, z[:m_g] @ W[:m_g], L_g) in order of g; L is -inf beyond the classes."""
  product = jnp.zeros((shape.rows, shape.columns), jnp.float32)
  for g, block in enumerate(nested.blocks(shape.dims)):
    count, chunk_of = triton_tiles.chunks(block)

    def add(k, total, chunk_of=chunk_of):
      chunk = chunk_of(k)
      z = triton_tiles.load_z(z_ref, chunk, shape, tile)
      w = triton_tiles.load_w(w_ref, chunk, shape, tile)
      return total + kept.product(z, w, (1, 0))

    product = triton_tiles.loop(count, add, product)
    at = bias_ref.at[np.int32(g), pl.ds(tile.column, shape.columns)]
    bias = plgpu.load(at, mask=tile.real_columns, other=-jnp.inf)
    yield g, product, scale_ref[g] * product + bias[None, :]


def _statistics(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref,
  lse_ref, top_ref, picked_ref, *, shape,
):  # fmt: skip
  i, g, t = pl.program_id(0), len(shape.dims), labels_ref.shape[0]
  nothing = jnp.zeros((shape.rows,), jnp.float32)

  def look(j, state):
    tops, sums, picked = (list(part) for part in state)
    tile = triton_tiles.tile_at(shape, i, j)
    hits = [
      triton_tiles.by_row(labels_ref, k, shape, tile, -1)[:, None]
      == tile.ids[None, :]
      for k in range(t)
    ]
    for g, _, logits in _logits(z_ref, w_ref, bias_ref, scale_ref, shape, tile):
      top = jnp.maximum(tops[g], jnp.max(logits, axis=1))
      # While all is -inf, any finite number will do: exp(-inf - 0) = 0.
      base = jnp.where(top == -jnp.inf, 0.0, top)
      added = jnp.sum(jnp.exp(logits - base[:, None]), axis=1)
      sums[g] = sums[g] * jnp.exp(tops[g] - base) + added
      tops[g] = top
      for k, hit in enumerate(hits):
        found = jnp.where(hit, logits, 0.0)
        picked[g * t + k] += jnp.sum(found, axis=1)
    return tuple(tops), tuple(sums), tuple(picked)

  tops, sums, picked = triton_tiles.loop(
    pl.cdiv(shape.v, shape.columns),
    look,
    ((nothing - jnp.inf,) * g, (nothing,) * g, (nothing,) * (g * t)),
  )
  tile = triton_tiles.tile_at(shape, i, jnp.int32(0))

  def save(ref, values):
    for number, value in enumerate(values):
      at = ref.at[np.int32(number), pl.ds(tile.row, shape.rows)]
      plgpu.store(at, value, mask=tile.real_rows)

  save(lse_ref, [top + jnp.log(total) for top, total in zip(tops, sums)])
  save(top_ref, tops)
  save(picked_ref, picked)


def _slopes(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref, shares_ref, lse_ref,
  coefficient_ref, shape, tile, *, smoothing, floor,
) -> Iterator[tuple[int, Array, Array]]:  # fmt: skip
  """(g, z[:m_g] @ W[:m_g], D_g) in order of g."""
  target = jnp.full((shape.rows, shape.columns), floor, jnp.float32)
  for k in range(labels_ref.shape[0]):
    labels = triton_tiles.by_row(labels_ref, k, shape, tile, -1)
    share = (1 - smoothing) * triton_tiles.by_row(shares_ref, k, shape, tile)
    hit = labels[:, None] == tile.ids[None, :]
    target += jnp.where(hit, share[:, None], 0.0)
  for g, product, logits in _logits(
    z_ref, w_ref, bias_ref, scale_ref, shape, tile
  ):
    lse = triton_tiles.by_row(lse_ref, g, shape, tile, jnp.inf)
    coefficient = triton_tiles.by_row(coefficient_ref, g, shape, tile)
    slope = jnp.exp(logits - lse[:, None]) - target
    yield g, product, coefficient[:, None] * slope


def _running_sums(slopes, dims) -> Iterator[tuple[slice, Array]]:
  """(block, F of it), the last block first."""
  total = None
  for block, slope in reversed(list(zip(nested.blocks(dims), slopes))):
    total = slope if total is None else total + slope
    yield block, total


def _d_embedding(
  *refs, shape, smoothing, floor, wait,
):  # fmt: skip
  *inputs, d_z_ref, d_scale_ref = refs
  (_, w_ref, _, scale_ref), i = inputs[:4], pl.program_id(0)

  def look(j, d_scales):
    tile, d_scales, scaled = (
      triton_tiles.tile_at(shape, i, j),
      list(d_scales),
      [],
    )
    for g, product, slope in _slopes(
      *inputs, shape, tile, smoothing=smoothing, floor=floor
    ):
      d_scales[g] += jnp.sum(slope * product, axis=1)
      scaled.append(scale_ref[g] * slope)
    for block, total in _running_sums(scaled, shape.dims):
      count, chunk_of = triton_tiles.chunks(block)
      factor = total.astype(w_ref.dtype)

      def add(k, _, chunk_of=chunk_of, factor=factor):
        chunk = chunk_of(k)
        w = triton_tiles.load_w(w_ref, chunk, shape, tile)
        at = pl.ds(tile.row, shape.rows), chunk.at
        mask = tile.real_rows[:, None] & chunk.real[None, :]
        triton_tiles.add_to(
          d_z_ref, at, kept.product(factor, w, (1, 1)), mask, j > 0
        )

      triton_tiles.loop(count, add, None)
    wait()
    return tuple(d_scales)

  nothing = jnp.zeros((shape.rows,), jnp.float32)
  d_scales = triton_tiles.loop(
    pl.cdiv(shape.v, shape.columns), look, (nothing,) * len(shape.dims)
  )
  tile = triton_tiles.tile_at(shape, i, jnp.int32(0))
  for g, d_scale in enumerate(d_scales):
    at = d_scale_ref.at[np.int32(g), pl.ds(tile.row, shape.rows)]
    plgpu.store(at, d_scale, mask=tile.real_rows)


def _d_kernel(*refs, shape, smoothing, floor, wait):
  *inputs, d_w_ref, d_bias_ref = refs
  (z_ref, _, _, scale_ref), j = inputs[:4], pl.program_id(0)

  def look(i, d_biases):
    tile, d_biases, scaled = (
      triton_tiles.tile_at(shape, i, j),
      list(d_biases),
      [],
    )
    for g, _, slope in _slopes(
      *inputs, shape, tile, smoothing=smoothing, floor=floor
    ):
      d_biases[g] += jnp.sum(slope, axis=0)
      scaled.append(scale_ref[g] * slope)
    for block, total in _running_sums(scaled, shape.dims):
      count, chunk_of = triton_tiles.chunks(block)
      factor = total.astype(z_ref.dtype)

      def add(k, _, chunk_of=chunk_of, factor=factor):
        chunk = chunk_of(k)
        z = triton_tiles.load_z(z_ref, chunk, shape, tile)
        at = chunk.at, pl.ds(tile.column, shape.columns)
        mask = chunk.real[:, None] & tile.real_columns[None, :]
        triton_tiles.add_to(
          d_w_ref, at, kept.product(z, factor, (0, 0)), mask, i > 0
        )

      triton_tiles.loop(count, add, None)
    wait()
    return tuple(d_biases)

  nothing = jnp.zeros((shape.columns,), jnp.float32)
  d_biases = triton_tiles.loop(
    pl.cdiv(shape.b, shape.rows), look, (nothing,) * len(shape.dims)
  )
  tile = triton_tiles.tile_at(shape, jnp.int32(0), j)
  for g, d_bias in enumerate(d_biases):
    at = d_bias_ref.at[np.int32(g), pl.ds(tile.column, shape.columns)]
    plgpu.store(at, d_bias, mask=tile.real_columns)
