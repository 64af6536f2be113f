"""One differentiable nested softmax loss out of the fused forms, on a mesh.

Written as its own derivative rule around `shard_map`, so that what crosses
devices stands here: rows lie over `data` and `fsdp`, classes over `tensor`.
With b, d, v of one device:

  statistics   tensor       (3 + t) G b numbers: maxima, sum, picked logits;
                            G b more with label smoothing
  gradients    tensor       b d: the embedding's, as in the plain loss
               data, fsdp   d v: the kernel's, as in the plain loss

A kernel that is split over `fsdp` is gathered before, as in the plain loss.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from mrl_jax import sharding
from mrl_jax.kernels import pallas_gpu, pallas_tpu, softmax_tiles
from mrl_jax.kernels.softmax_tiles import Problem
from mrl_jax.shapes import Array, Bool, Float

FORMS = ('rows', 'columns', 'pallas')
KERNELS = {'tpu': pallas_tpu, 'gpu': pallas_gpu}
BATCH = ('data', 'fsdp')
CLASSES = 'tensor'

# Bytes of float32 logits [g rows v] per device up to which they are simply
# made by `blocks`, and up to which `rows` keeps them, by platform. Measured on
# CPU (docs/results.md); elsewhere a share of memory that is never missed.
SMALL = {'cpu': (4 << 20, 16 << 20)}
SMALL_ELSEWHERE = (256 << 20, 0)
# (rows, classes) of logits at a time: on a CPU a tile of each prefix stays in
# the cache.
TILES = {'cpu': (512, 512)}
TILES_ELSEWHERE = (4096, 2048)


class Options(NamedTuple):
  """What is known before any array is."""

  dims: tuple[int, ...]
  smoothing: float
  form: str
  tile: tuple[int, int]
  mesh: Mesh | None
  platform: str


def choose(prefixes: int, rows: int, classes: int, mesh: Mesh | None):
  """The fused form that serves a shape best, None for none."""
  split = mesh.size if mesh else 1
  held = 4 * prefixes * rows * classes / split
  small, kept = SMALL.get(sharding.platform(mesh), SMALL_ELSEWHERE)
  if held <= small:
    return None
  return 'rows' if held <= kept else 'columns'


def check(form: str, mesh: Mesh | None) -> None:
  """Raises ValueError for a form that the mesh's devices cannot run."""
  platform = sharding.platform(mesh)
  if form == 'pallas' and platform not in KERNELS:
    raise ValueError(
      f"form='pallas' needs a TPU or a GPU, this is {platform}; "
      "use 'columns', which gives the same"
    )


def loss(
  problem: Problem,
  coefficient: Float[Array, 'g b'],
  dims: tuple[int, ...],
  smoothing: float,
  *,
  form: str,
  mesh: Mesh | None,
  tile: tuple[int, int] | None,
) -> tuple[Float[Array, ''], Float[Array, 'g b'], Bool[Array, 'g b']]:
  """(sum(coefficient * losses), losses, hits); only the sum has gradients."""
  rows = len(problem.embedding)
  platform = sharding.platform(mesh)
  tile = tile or TILES.get(platform, TILES_ELSEWHERE)
  if mesh is not None and mesh.size == 1:
    mesh = None
  if mesh is not None and rows % (mesh.shape['data'] * mesh.shape['fsdp']):
    raise ValueError(
      f"{rows} rows do not divide over the mesh's data x fsdp = "
      f'{mesh.shape["data"]} x {mesh.shape["fsdp"]}'
    )
  options = Options(dims, smoothing, form, tile, mesh, platform)
  return fused(options, problem, coefficient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(options: Options, problem: Problem, coefficient):
  found = spread(options, problem, coefficient, 'statistics')
  return values(options, found, problem.shares, coefficient)


def forward(options, problem, coefficient):
  if options.form == 'rows':
    found, made = spread(options, problem, coefficient, 'both')
    kept = (made, problem, coefficient)
  else:
    found = spread(options, problem, coefficient, 'statistics')
    kept = (problem, found.lse, coefficient)
  return values(options, found, problem.shares, coefficient), kept


def backward(options, kept, cotangents):
  change = cotangents[0]
  if options.form == 'rows':
    made, problem, coefficient = kept
    made = jax.tree.map(lambda x: x * change, made)
  else:
    problem, lse, coefficient = kept
    made = spread(options, problem, coefficient * change, 'gradients', lse)
  made = cast(made, problem)
  rest = Problem(*made, labels=None, shares=jnp.zeros_like(problem.shares))
  return rest, jnp.zeros_like(coefficient)


fused.defvjp(forward, backward)


def values(options, found, shares, coefficient):
  picked = jnp.sum(found.picked * shares, axis=-1)
  s = options.smoothing
  losses = found.lse - (1 - s) * picked - s * found.mean
  own = found.picked[..., 0]
  # The kernels' top is over all classes, the label's own among them.
  kernels = options.form == 'pallas'
  hits = own >= found.top if kernels else own > found.top
  return jnp.sum(coefficient * losses), losses, hits


def cast(made, problem: Problem):
  like = zip(made, problem[:4])
  return tuple(None if g is None else g.astype(x.dtype) for g, x in like)


def spread(
  options: Options, problem: Problem, coefficient, what: str, lse=None
):
  """Runs one device's share of the work everywhere; joins what it must."""
  mesh = options.mesh
  if mesh is None:
    return local(options, what, None, (), problem, coefficient, lse)
  classes = problem.kernel.shape[1]
  split = mesh.shape[CLASSES] > 1 and classes % mesh.shape[CLASSES] == 0
  axis = CLASSES if split else None
  P = PartitionSpec
  row, column, per_prefix = P(BATCH), P(None, axis), P(None, BATCH)
  arrays = Problem(row, column, column, P(), row, row)
  statistics = softmax_tiles.Statistics(*[per_prefix] * 4)
  gradients = softmax_tiles.Gradients(row, column, column, P())
  if problem.scale is None:
    arrays = arrays._replace(scale=None)
    gradients = gradients._replace(scale=None)
  out = {
    'statistics': statistics,
    'gradients': gradients,
    'both': (statistics, gradients),
  }
  return jax.shard_map(
    functools.partial(local, options, what, axis, BATCH),
    mesh=mesh,
    in_specs=(arrays, per_prefix, None if lse is None else per_prefix),
    out_specs=out[what],
    check_vma=False,
  )(problem, coefficient, lse)


def local(options, what, axis, batch_axes, problem, coefficient, lse):
  """One device's rows and classes."""
  total = own = problem.kernel.shape[1]
  if axis:
    total = own * jax.lax.axis_size(axis)
    first = own * jax.lax.axis_index(axis)
    problem = problem._replace(labels=problem.labels - first)
  rows, classes = options.tile
  dims, smoothing = options.dims, options.smoothing
  if options.form == 'pallas':
    kernels = KERNELS[options.platform]
    if what == 'statistics':
      return kernel_statistics(kernels, problem, dims, smoothing, axis)
    made = kernel_gradients(
      kernels, problem, lse, coefficient, dims, smoothing, total
    )
    return summed(made, axis, batch_axes)
  if what == 'statistics':
    return softmax_tiles.statistics(
      problem,
      dims,
      rows=rows,
      classes=classes,
      smoothed=bool(smoothing),
      axis=axis,
    )
  found = None
  if what == 'both':
    found, made = softmax_tiles.kept(
      problem, coefficient, dims, smoothing, total, rows=rows, axis=axis
    )
  else:
    made = softmax_tiles.gradients(
      problem,
      lse,
      coefficient,
      dims,
      smoothing,
      total,
      rows=rows,
      classes=classes,
    )
  made = summed(made, axis, batch_axes)
  return made if found is None else (found, made)


def per_prefix(problem: Problem, dims):
  """(bias, scale) of every prefix, as the kernels take them."""
  count = len(dims)
  bias, scale = problem.bias, problem.scale
  bias = jnp.broadcast_to(bias, (count, bias.shape[1]))
  return bias, jnp.ones(count) if scale is None else scale


def kernel_statistics(kernels, problem, dims, smoothing, axis):
  z, kernel, _, _, labels, _ = problem
  found = kernels.statistics(
    z, kernel, *per_prefix(problem, dims), labels, dims
  )
  mean = found.mean if smoothing else None
  # A shard without a possible class has maxima of -inf and sums of 0.
  top = jnp.where(jnp.isneginf(found.top), 0, found.top)
  sums = jnp.exp(found.lse - top)
  # Their top is over all classes, and equals the label's where that is it.
  return softmax_tiles.joined(found.top, top, sums, found.picked, mean, axis)


def kernel_gradients(
  kernels, problem, lse, coefficient, dims, smoothing, total
):
  z, kernel, bias, scale, labels, shares = problem
  z, kernel, biases, scales = kernels.gradients(
    z,
    kernel,
    *per_prefix(problem, dims),
    labels,
    shares,
    lse,
    coefficient,
    dims,
    smoothing,
    classes=total,
  )
  if len(bias) == 1:
    biases = jnp.sum(biases, axis=0, keepdims=True)
  scales = None if scale is None else scales
  return softmax_tiles.Gradients(z, kernel, biases, scales)


def summed(made, axis, batch_axes):
  """Adds up the devices' parts: of the embedding over the classes' shards, of
  the parameters over the rows'."""
  z, kernel, bias, scale = made
  if axis:
    z = jax.lax.psum(z, axis)
  if batch_axes:
    kernel, bias = jax.lax.psum((kernel, bias), batch_axes)
  over = (*batch_axes, *([axis] if axis else []))
  if scale is not None and over:
    scale = jax.lax.psum(scale, over)
  return softmax_tiles.Gradients(z, kernel, bias, scale)
