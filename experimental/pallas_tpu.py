"""Nested softmax statistics and gradients, fused, for TPU.

Three kernels, each over tiles of rows and classes: the statistics (classes
inner), the gradient of the embedding (the same walk) and that of the kernel
and bias (rows inner). The last two make each tile of logits again, so that
none is ever stored: 10 b v d operations in all, where storing every logit
takes 6 (arXiv:2411.09009; arXiv:2205.13147 for the loss). `lanes` says how
all prefixes cost about one product.

Inputs are padded only along the embedding's rows and width. The last tile of
classes may reach beyond the kernel's end: what it reads there is replaced by
zero weights and logits of -inf.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from experimental import lanes, tiles
from experimental import statistics as kept
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
  dims = nested.check_dims(dims, embedding.shape[1])
  mean = kept.mean_logit(embedding, kernel, bias, scale, dims)
  b, g, t = embedding.shape[0], len(dims), labels.shape[1]
  walk = tiles.Walk(embedding, kernel, dims)
  lse, top, picked = walk.run(
    _statistics,
    bias,
    scale,
    [walk.pad(kept.inside(labels, walk.grid.classes), -1)],
    rowwise=[g, g, g * t],
    scratch=[(walk.grid.rows, g)],
    interpret=interpret,
  )
  picked = picked[:b].reshape(b, g, t).swapaxes(0, 1)
  return kept.Statistics(lse[:b].T, picked, mean, top[:b].T)


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
  dims = nested.check_dims(dims, embedding.shape[1])
  b, g, v = embedding.shape[0], len(dims), kernel.shape[1]
  # Where exp(L - inf) = 0: in padded rows, and where no class is possible.
  lse = jnp.where(jnp.isneginf(lse), jnp.inf, lse)
  target = dict(smoothing=float(smoothing), floor=smoothing / (classes or v))

  def run(walk, body, **outputs):
    inputs = [
      walk.pad(kept.inside(labels, v), -1),
      walk.pad(shares.astype(jnp.float32), 0),
      walk.pad(lse.T.astype(jnp.float32), jnp.inf),
      walk.pad(coefficient.T.astype(jnp.float32), 0),
    ]
    body = functools.partial(body, **target)
    return walk.run(body, bias, scale, inputs, **outputs, interpret=interpret)

  walk = tiles.Walk(embedding, kernel, dims, row_bytes=8)
  lanes_wide = walk.embedding.shape[1]
  d_spread, d_scale = run(walk, _d_embedding, rowwise=[lanes_wide, g])
  d_embedding = lanes.fold(d_spread[:b], walk.grid.steps, dims[-1])

  walk = tiles.Walk(embedding, kernel, dims, kernel_bytes=8)
  d_kernel, d_bias = run(walk, _d_kernel, classwise=g)
  return (
    d_embedding.astype(embedding.dtype),
    d_kernel.astype(kernel.dtype),
    d_bias,
    jnp.sum(d_scale[:b], axis=0),
  )


def _operand(w_ref, bias_ref, grid):
  """The kernel's and bias's tiles, and class ids; beyond the end 0 and -inf."""
  first = pl.program_id(grid.class_axis) * grid.columns

  def ids(shape, axis):
    return first + jax.lax.broadcasted_iota(jnp.int32, shape, axis)

  across = ids((1, grid.columns), 1)
  if grid.classes % grid.columns == 0:
    return w_ref[...], bias_ref[...], across
  along = ids((grid.columns, 1), 0) if grid.turned else across
  w = jnp.where(along < grid.classes, w_ref[...], jnp.zeros((), w_ref.dtype))
  bias = jnp.where(across < grid.classes, bias_ref[...], -jnp.inf)
  return w, bias, across


def _copies(z_ref, step):
  return jnp.concatenate([z_ref[:, c] for c in step.columns], axis=0)


def _products(z_ref, w, grid) -> Iterator[tuple[int, Array]]:
  """(g, z[:m_g] @ W[:m_g]) in order of g."""
  total = None
  for step in grid.steps:
    part_of_w = w[grid.lanes(step)]
    stacked = kept.product(
      _copies(z_ref, step), part_of_w, (1, int(grid.turned))
    )
    for copy, prefix in enumerate(step.prefixes):
      part = stacked[grid.copy(copy)]
      product = part if total is None else total + part
      if prefix is not None:
        yield prefix, product
    total = product


def _statistics(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref,
  lse_ref, top_ref, picked_ref, sum_ref, *, grid,
):  # fmt: skip
  tile, t = pl.program_id(1), labels_ref.shape[1]

  @pl.when(tile == 0)
  def _():
    top_ref[...] = jnp.full(top_ref.shape, -jnp.inf, jnp.float32)
    sum_ref[...] = jnp.zeros(sum_ref.shape, jnp.float32)
    picked_ref[...] = jnp.zeros(picked_ref.shape, jnp.float32)

  w, bias, ids = _operand(w_ref, bias_ref, grid)
  hits = [labels_ref[:, k : k + 1] == ids for k in range(t)]
  labels, first = labels_ref[...], tile * grid.columns
  near = (labels >= first) & (labels < first + grid.columns)
  some = jnp.max(near.astype(jnp.float32)) > 0

  for g, product in _products(z_ref, w, grid):
    logits = scale_ref[0, g] * product + bias[g : g + 1]
    at = (slice(None), slice(g, g + 1))
    old = top_ref[at]
    top = jnp.maximum(old, jnp.max(logits, axis=1, keepdims=True))
    # While all is -inf, any finite number will do: exp(-inf - 0) = 0.
    base = jnp.where(top == -jnp.inf, 0.0, top)
    added = jnp.sum(jnp.exp(logits - base), axis=1, keepdims=True)
    sum_ref[at] = sum_ref[at] * jnp.exp(old - base) + added
    top_ref[at] = top

    @pl.when(some)
    def _(g=g, logits=logits):
      for k, hit in enumerate(hits):
        at = (slice(None), slice(g * t + k, g * t + k + 1))
        found = jnp.sum(jnp.where(hit, logits, 0.0), axis=1, keepdims=True)
        picked_ref[at] += found

  @pl.when(tile == pl.num_programs(1) - 1)
  def _():
    lse_ref[...] = top_ref[...] + jnp.log(sum_ref[...])


def _slopes(
  z_ref, w, bias, ids, scale_ref, labels_ref, shares_ref, lse_ref,
  coefficient_ref, *, grid, smoothing, floor,
) -> Iterator[tuple[int, Array, Array]]:  # fmt: skip
  """(g, z[:m_g] @ W[:m_g], D_g) in order of g."""
  target = jnp.full((grid.rows, grid.columns), floor, jnp.float32)
  for k in range(labels_ref.shape[1]):
    share = (1 - smoothing) * shares_ref[:, k : k + 1]
    target += jnp.where(labels_ref[:, k : k + 1] == ids, share, 0.0)
  for g, product in _products(z_ref, w, grid):
    at = (slice(None), slice(g, g + 1))
    logits = scale_ref[0, g] * product + bias[g : g + 1]
    p = jnp.exp(logits - lse_ref[at])
    yield g, product, coefficient_ref[at] * (p - target)


def _running_sums(slopes, steps) -> Iterator[tuple[lanes.Step, Array]]:
  """(step, F of each of its copies stacked along the rows), widest first."""
  wider = None
  for step in reversed(steps):
    *cut, last = (None if g is None else slopes[g] for g in step.prefixes)
    parts = [part for part in (wider, last) if part is not None]
    whole = sum(parts[1:], parts[0])
    yield step, jnp.concatenate([*cut, whole], axis=0)
    wider = sum(cut, whole)


def _d_embedding(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref, shares_ref, lse_ref,
  coefficient_ref, d_z_ref, d_scale_ref, *, grid, smoothing, floor,
):  # fmt: skip
  @pl.when(pl.program_id(1) == 0)
  def _():
    d_z_ref[...] = jnp.zeros(d_z_ref.shape, jnp.float32)
    d_scale_ref[...] = jnp.zeros(d_scale_ref.shape, jnp.float32)

  w, bias, ids = _operand(w_ref, bias_ref, grid)
  scaled = {}
  for g, product, slope in _slopes(
    z_ref, w, bias, ids, scale_ref, labels_ref, shares_ref, lse_ref,
    coefficient_ref, grid=grid, smoothing=smoothing, floor=floor,
  ):  # fmt: skip
    d_scale = jnp.sum(slope * product, axis=1, keepdims=True)
    d_scale_ref[:, g : g + 1] += d_scale
    scaled[g] = scale_ref[0, g] * slope
  for step, sums in _running_sums(scaled, grid.steps):
    part_of_w = w[grid.lanes(step)]
    parts = kept.product(
      sums.astype(w.dtype), part_of_w, (1, int(not grid.turned))
    )
    for copy, columns in enumerate(step.columns):
      d_z_ref[:, columns] += parts[grid.copy(copy)]


def _d_kernel(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref, shares_ref, lse_ref,
  coefficient_ref, d_w_ref, d_bias_ref, *scratch, grid, smoothing, floor,
):  # fmt: skip
  total_ref = scratch[0] if scratch else d_w_ref

  @pl.when(pl.program_id(1) == 0)
  def _():
    total_ref[...] = jnp.zeros(total_ref.shape, jnp.float32)
    d_bias_ref[...] = jnp.zeros(d_bias_ref.shape, jnp.float32)

  w, bias, ids = _operand(w_ref, bias_ref, grid)
  scaled = {}
  for g, _, slope in _slopes(
    z_ref, w, bias, ids, scale_ref, labels_ref, shares_ref, lse_ref,
    coefficient_ref, grid=grid, smoothing=smoothing, floor=floor,
  ):  # fmt: skip
    d_bias_ref[g : g + 1] += jnp.sum(slope, axis=0, keepdims=True)
    scaled[g] = scale_ref[0, g] * slope
  for step, sums in _running_sums(scaled, grid.steps):
    factors = [_copies(z_ref, step), sums.astype(w.dtype)]
    if grid.turned:
      factors.reverse()
    total_ref[grid.lanes(step)] += kept.product(*factors, (0, 0))
  if scratch:

    @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
    def _():
      d_w_ref[...] = total_ref[...].astype(d_w_ref.dtype)
