"""The tiled softmax as one differentiable loss, on one device or on a mesh.

It is written as its own derivative rule around `shard_map`, so that all that
crosses devices stands here. Rows lie over `data` and `fsdp`, classes over
`tensor`. With b, d, v of one device:

  statistics   tensor       4 G b numbers: two maxima and two sums
  gradients    tensor       b d: the embedding's, as in the plain loss
               data, fsdp   d v: the kernel's, as in the plain loss

A kernel that is split over `fsdp` is gathered before, as in the plain loss.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from mrl_jax import nested, sharding
from mrl_jax.losses import forms, tiles
from mrl_jax.losses.softmax import tiled
from mrl_jax.losses.softmax.reference import Problem, Setting
from mrl_jax.losses.softmax.tiled import Gradients, Statistics
from mrl_jax.shapes import Array, Float

CLASSES = 'tensor'
PER_PREFIX: Any = PartitionSpec(None, sharding.BATCH_AXES)


def suits(problem: Problem, setting: Setting) -> bool:
  """Whether the logits are many, and the rows divide over the mesh."""
  rows, classes = problem.embedding.shape[0], problem.kernel.shape[1]
  count = len(setting.dims) * rows * classes
  return not (
    forms.are_small(count, setting.mesh) or _left_over(rows, setting.mesh)
  )


def loss(
  problem: Problem,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  setting: Setting,
) -> nested.Loss:
  """The loss by tiles; only the total has gradients.

  Raises:
    ValueError: if the rows do not divide over the mesh.
  """
  rows, mesh = len(problem.embedding), setting.mesh
  if mesh is not None and _left_over(rows, mesh):
    raise ValueError(
      f'{rows} rows do not divide over the data x fsdp = '
      f'{mesh.shape["data"]} x {mesh.shape["fsdp"]} devices of the mesh; '
      "pad them, or use form='dense'"
    )
  setting = setting._replace(mesh=forms.if_several(setting.mesh))
  return _tiled(setting, problem, weights[:, None] * row_weights)


def _left_over(rows: int, mesh: Mesh | None) -> int:
  return rows % (mesh.shape['data'] * mesh.shape['fsdp']) if mesh else 0


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tiled(
  setting: Setting, problem: Problem, coefficient: Float[Array, 'g b']
) -> nested.Loss:
  return _forward(setting, problem, coefficient)[0]


def _forward(setting, problem, coefficient):
  statistics = _statistics(setting, problem)
  losses = statistics.lse - statistics.expected
  total = jnp.sum(coefficient * losses)
  hits = statistics.own > statistics.rival
  kept = problem, statistics.lse, coefficient
  return nested.Loss(total, losses, hits), kept


def _backward(setting, kept, cotangent):
  problem, lse, coefficient = kept
  gradients = _gradients(setting, problem, lse, coefficient * cotangent.total)
  narrow = [
    None if x is None else x.astype(like.dtype)
    for x, like in zip(gradients, problem)
  ]
  return Problem(*narrow, labels=None, shares=None), None


_tiled.defvjp(_forward, _backward)


def _statistics(setting: Setting, problem: Problem) -> Statistics:
  axis, given, _ = _placement(setting, problem)
  classes = problem.kernel.shape[1]

  def one_device(problem):
    return tiled.statistics(_own_classes(problem, axis), setting, classes, axis)

  returned = Statistics(*[PER_PREFIX] * 4)
  return tiles.spread(one_device, setting.mesh, (given,), returned)(problem)


def _gradients(
  setting: Setting,
  problem: Problem,
  lse: Float[Array, 'g b'],
  coefficient: Float[Array, 'g b'],
) -> Gradients:
  axis, given, returned = _placement(setting, problem)
  classes = problem.kernel.shape[1]

  def one_device(problem, lse, coefficient):
    problem = _own_classes(problem, axis)
    part = tiled.gradients(problem, lse, coefficient, setting, classes)
    return part if setting.mesh is None else _summed(part, axis)

  specs = given, PER_PREFIX, PER_PREFIX
  spread = tiles.spread(one_device, setting.mesh, specs, returned)
  return spread(problem, lse, coefficient)


def _summed(part: Gradients, axis: str | None) -> Gradients:
  """Parameters' gradients over all rows, the embedding's over all classes."""
  over_classes = (axis,) if axis else ()
  rows = sharding.BATCH_AXES
  z, kernel, bias, scale = part
  kernel, bias = jax.lax.psum((kernel, bias), rows)
  z = jax.lax.psum(z, over_classes)
  scale = jax.lax.psum(scale, (*rows, *over_classes))
  return Gradients(z, kernel, bias, scale)


def _placement(
  setting: Setting, problem: Problem
) -> tuple[str | None, Problem, Gradients]:
  """(mesh axis of the classes, if split; specs of problem and gradients)."""
  mesh, axis = setting.mesh, None
  P: Any = PartitionSpec
  if mesh is not None and mesh.shape[CLASSES] > 1:
    divides = problem.kernel.shape[1] % mesh.shape[CLASSES] == 0
    axis = CLASSES if divides else None
  row, column = P(sharding.BATCH_AXES), P(None, axis)
  scale = None if problem.scale is None else P()
  given = Problem(row, column, column, scale, row, row)
  return axis, given, Gradients(row, column, column, scale)


def _own_classes(problem: Problem, axis: str | None) -> Problem:
  """The problem with labels counted from this device's first class."""
  if axis is None:
    return problem
  first = problem.kernel.shape[1] * jax.lax.axis_index(axis)
  return problem._replace(labels=problem.labels - first)
