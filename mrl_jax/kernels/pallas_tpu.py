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
from jax.experimental.pallas import tpu as pltpu

from mrl_jax import nested
from mrl_jax.kernels import lanes
from mrl_jax.kernels import statistics as kept
from mrl_jax.shapes import Array, Float, Int

SUBLANES = 16  # rows of a bfloat16 tile
TILE_BYTES = 13 * 2**20  # of the 16 MiB that a kernel may use unless told


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
  walk = _Walk(embedding, kernel, dims, row_bytes=0, kernel_bytes=0)
  lse, top, picked = walk.run(
    functools.partial(_statistics, steps=walk.steps, classes=walk.classes),
    (bias, scale),
    (walk.pad(kept.inside(labels, walk.classes), -1),),
    rowwise=(g, g, g * t),
    scratch=[pltpu.VMEM((walk.rows, g), jnp.float32)],
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
  (b, d), v, g = embedding.shape, kernel.shape[1], len(dims)
  body = dict(
    classes=v, smoothing=float(smoothing), floor=smoothing / (classes or v)
  )

  def rowwise(walk):
    # Where exp(L - inf) = 0: in padded rows, and where no class is possible.
    safe = jnp.where(jnp.isneginf(lse), jnp.inf, lse)
    return (
      walk.pad(kept.inside(labels, v), -1),
      walk.pad(shares.astype(jnp.float32), 0),
      walk.pad(safe.T.astype(jnp.float32), jnp.inf),
      walk.pad(coefficient.T.astype(jnp.float32), 0),
    )

  walk = _Walk(embedding, kernel, dims, row_bytes=8, kernel_bytes=0)
  d_spread, d_scale = walk.run(
    functools.partial(_d_embedding, steps=walk.steps, **body),
    (bias, scale),
    rowwise(walk),
    rowwise=(walk.spread.shape[1], g),
    interpret=interpret,
  )
  d_embedding = lanes.fold(d_spread[:b], walk.steps, d)

  walk = _Walk(embedding, kernel, dims, row_bytes=0, kernel_bytes=8)
  d_kernel, d_bias = walk.run(
    functools.partial(_d_kernel, steps=walk.steps, **body),
    (bias, scale),
    rowwise(walk),
    classwise=((walk.kernel.shape[0], walk.kernel.dtype), (g, jnp.float32)),
    scratch=[pltpu.VMEM((walk.kernel.shape[0], walk.columns), jnp.float32)]
    if walk.kernel.dtype != jnp.float32
    else [],
    interpret=interpret,
  )
  return (
    d_embedding.astype(embedding.dtype),
    d_kernel[:d].astype(kernel.dtype),
    d_bias,
    jnp.sum(d_scale[:b], axis=0),
  )


class _Walk:
  """Padded operands, and a grid over their tiles of rows and classes."""

  def __init__(self, embedding, kernel, dims, *, row_bytes, kernel_bytes):
    """`row_bytes`, `kernel_bytes`: accumulators, per entry of z and W."""
    dtype = kept.product_dtype(embedding, kernel)
    self.steps = lanes.plan(dims)
    self.classes = kernel.shape[1]
    deeper = self.steps[-1].rows.stop - kernel.shape[0]
    self.kernel = jnp.pad(kernel.astype(dtype), ((0, deeper), (0, 0)))
    wide = lanes.spread(embedding.astype(dtype), self.steps)
    entry = 2 * dtype.itemsize
    self.rows, self.columns = _tiles(
      *wide.shape,
      *self.kernel.shape,
      row_bytes=entry + row_bytes,
      kernel_bytes=entry + kernel_bytes,
      held=len(dims) + 2 * max(len(step.ends) for step in self.steps),
    )
    self.row_tiles = pl.cdiv(len(embedding), self.rows)
    self.class_tiles = pl.cdiv(self.classes, self.columns)
    self.spread = self.pad(wide, 0)

  def pad(self, array, value):
    """`array` with whole tiles of rows."""
    extra = self.row_tiles * self.rows - len(array)
    return jnp.pad(array, ((0, extra), (0, 0)), constant_values=value)

  def run(
    self, body, small, inputs, *, rowwise=(), classwise=(), scratch=(), interpret
  ):
    """pallas_call: rows outermost, or classes if that is what comes out.

    `rowwise` are widths of float32 outputs [b width], `classwise` heights and
    dtypes of outputs [height v].
    """
    bias, scale = (array.astype(jnp.float32) for array in small)
    grid = (self.row_tiles, self.class_tiles)
    place = (lambda i, j: (i, j)) if rowwise else (lambda j, i: (i, j))
    # A bare 0 is an int64 where 64-bit types are on, which a TPU refuses.
    zero = jnp.int32

    def by_row(width):
      shape = (self.rows, width)
      return pl.BlockSpec(shape, lambda *ij: (place(*ij)[0], zero(0)))

    def by_class(height):
      shape = (height, self.columns)
      return pl.BlockSpec(shape, lambda *ij: (zero(0), place(*ij)[1]))

    tall = self.row_tiles * self.rows
    flops = 2 * self.spread.size * self.classes * (2 if len(inputs) > 1 else 1)
    return pl.pallas_call(
      body,
      grid=grid if rowwise else grid[::-1],
      in_specs=[
        by_row(self.spread.shape[1]),
        by_class(self.kernel.shape[0]),
        by_class(len(bias)),
        pl.BlockSpec(memory_space=pltpu.SMEM),
        *(by_row(array.shape[1]) for array in inputs),
      ],
      out_specs=[
        *(by_row(width) for width in rowwise),
        *(by_class(height) for height, _ in classwise),
      ],
      out_shape=[
        *(jax.ShapeDtypeStruct((tall, w), jnp.float32) for w in rowwise),
        *(jax.ShapeDtypeStruct((h, self.classes), t) for h, t in classwise),
      ],
      scratch_shapes=list(scratch),
      compiler_params=pltpu.CompilerParams(
        dimension_semantics=('parallel', 'arbitrary')
      ),
      cost_estimate=pl.CostEstimate(
        flops=flops,
        transcendentals=tall * self.classes * len(bias),
        bytes_accessed=self.kernel.nbytes
        * (self.row_tiles if rowwise else 1 + len(classwise)),
      ),
      interpret=interpret,
      name='nested_softmax' + body.func.__name__,
    )(self.spread, self.kernel, bias, scale, *inputs)


def _tiles(b, wide, depth, classes, *, row_bytes, kernel_bytes, held):
  """(rows, columns) of the largest tile that fits, tall before broad.

  `held` counts the float32 tiles [rows, columns] alive at once. A kernel
  column is read again for every tile of rows: those want to be many.
  """
  tallest = min(512, lanes.up(b, SUBLANES))
  broadest = min(512, lanes.up(classes, lanes.LANES))
  for area in (2**18, 2**17, 2**16, 2**15, 2**14, 2**13):
    rows = min(tallest, 512 if area >= 2**16 else 256)
    while rows >= SUBLANES:
      columns = min(broadest, area // rows // lanes.LANES * lanes.LANES)
      if columns:
        used = rows * (wide * row_bytes + 4 * columns * held)
        if used + depth * columns * kernel_bytes <= TILE_BYTES:
          return rows, columns
      rows = rows // 2 // SUBLANES * SUBLANES
  raise ValueError(f'an embedding of width {depth} fits no tile of a kernel')


def _operand(w_ref, bias_ref, classes, axis):
  """The kernel's and bias's tiles, and class ids; beyond the end 0 and -inf."""
  columns = w_ref.shape[1]
  first = pl.program_id(axis) * columns
  ids = first + jax.lax.broadcasted_iota(jnp.int32, (1, columns), 1)
  if classes % columns == 0:
    return w_ref[...], bias_ref[...], ids
  w = jnp.where(ids < classes, w_ref[...], jnp.zeros((), w_ref.dtype))
  return w, jnp.where(ids < classes, bias_ref[...], -jnp.inf), ids


def _dot(left, right, contract):
  """Product over the named axes, accumulated in float32."""
  return jax.lax.dot_general(
    left,
    right,
    ((contract[:1], contract[1:]), ((), ())),
    precision=kept.product_precision(left.dtype),
    preferred_element_type=jnp.float32,
  )


def _copies(z_ref, step):
  return jnp.concatenate([z_ref[:, c] for c in step.columns], axis=0)


def _products(z_ref, w, steps) -> Iterator[tuple[int, Array]]:
  """(g, z[:m_g] @ W[:m_g]) in order of g."""
  rows, total = z_ref.shape[0], None
  for step in steps:
    stacked = _dot(_copies(z_ref, step), w[step.rows], (1, 0))
    for copy, prefix in enumerate(step.prefixes):
      part = stacked[copy * rows : (copy + 1) * rows]
      product = part if total is None else total + part
      if prefix is not None:
        yield prefix, product
    total = product


def _statistics(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref,
  lse_ref, top_ref, picked_ref, sum_ref, *, steps, classes,
):  # fmt: skip
  tile, t = pl.program_id(1), labels_ref.shape[1]

  @pl.when(tile == 0)
  def _():
    top_ref[...] = jnp.full(top_ref.shape, -jnp.inf, jnp.float32)
    sum_ref[...] = jnp.zeros(sum_ref.shape, jnp.float32)
    picked_ref[...] = jnp.zeros(picked_ref.shape, jnp.float32)

  w, bias, ids = _operand(w_ref, bias_ref, classes, 1)
  hits = [labels_ref[:, k : k + 1] == ids for k in range(t)]
  first = tile * w.shape[1]
  near = (labels_ref[...] >= first) & (labels_ref[...] < first + w.shape[1])
  some = jnp.max(near.astype(jnp.float32)) > 0

  for g, product in _products(z_ref, w, steps):
    logits = scale_ref[g] * product + bias[g : g + 1]
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
  coefficient_ref, *, steps, smoothing, floor,
) -> Iterator[tuple[int, Array, Array]]:  # fmt: skip
  """(g, z[:m_g] @ W[:m_g], D_g) in order of g."""
  target = jnp.full((z_ref.shape[0], w.shape[1]), floor, jnp.float32)
  for k in range(labels_ref.shape[1]):
    share = (1 - smoothing) * shares_ref[:, k : k + 1]
    target += jnp.where(labels_ref[:, k : k + 1] == ids, share, 0.0)
  for g, product in _products(z_ref, w, steps):
    at = (slice(None), slice(g, g + 1))
    logits = scale_ref[g] * product + bias[g : g + 1]
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
  coefficient_ref, d_z_ref, d_scale_ref, *, steps, classes, smoothing, floor,
):  # fmt: skip
  @pl.when(pl.program_id(1) == 0)
  def _():
    d_z_ref[...] = jnp.zeros(d_z_ref.shape, jnp.float32)
    d_scale_ref[...] = jnp.zeros(d_scale_ref.shape, jnp.float32)

  w, bias, ids = _operand(w_ref, bias_ref, classes, 1)
  scaled = {}
  for g, product, slope in _slopes(
    z_ref, w, bias, ids, scale_ref, labels_ref, shares_ref, lse_ref,
    coefficient_ref, steps=steps, smoothing=smoothing, floor=floor,
  ):  # fmt: skip
    d_scale = jnp.sum(slope * product, axis=1, keepdims=True)
    d_scale_ref[:, g : g + 1] += d_scale
    scaled[g] = scale_ref[g] * slope
  rows = z_ref.shape[0]
  for step, sums in _running_sums(scaled, steps):
    parts = _dot(sums.astype(w.dtype), w[step.rows], (1, 1))
    for copy, columns in enumerate(step.columns):
      d_z_ref[:, columns] += parts[copy * rows : (copy + 1) * rows]


def _d_kernel(
  z_ref, w_ref, bias_ref, scale_ref, labels_ref, shares_ref, lse_ref,
  coefficient_ref, d_w_ref, d_bias_ref, *scratch, steps, classes, smoothing,
  floor,
):  # fmt: skip
  total_ref = scratch[0] if scratch else d_w_ref

  @pl.when(pl.program_id(1) == 0)
  def _():
    total_ref[...] = jnp.zeros(total_ref.shape, jnp.float32)
    d_bias_ref[...] = jnp.zeros(d_bias_ref.shape, jnp.float32)

  w, bias, ids = _operand(w_ref, bias_ref, classes, 0)
  scaled = {}
  for g, _, slope in _slopes(
    z_ref, w, bias, ids, scale_ref, labels_ref, shares_ref, lse_ref,
    coefficient_ref, steps=steps, smoothing=smoothing, floor=floor,
  ):  # fmt: skip
    d_bias_ref[g : g + 1] += jnp.sum(slope, axis=0, keepdims=True)
    scaled[g] = scale_ref[g] * slope
  for step, sums in _running_sums(scaled, steps):
    total_ref[step.rows] += _dot(
      _copies(z_ref, step), sums.astype(w.dtype), (0, 0)
    )
  if scratch:

    @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
    def _():
      d_w_ref[...] = total_ref[...].astype(d_w_ref.dtype)
