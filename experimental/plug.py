"""Kernels in the place of losses/softmax/tiled.py."""

import functools
from types import ModuleType, SimpleNamespace

import jax.numpy as jnp

from mrl_jax.losses import tiles
from mrl_jax.losses.softmax import tiled
from mrl_jax.losses.softmax.reference import Problem, Setting
from mrl_jax.losses.softmax.tiled import Gradients, Statistics
from mrl_jax.shapes import Array, Float


def plugged(kernels: ModuleType, interpret: bool = False) -> SimpleNamespace:
  """What sharded.py takes from tiled.py, by pallas_tpu or pallas_gpu."""
  return SimpleNamespace(
    statistics=functools.partial(_statistics, kernels, interpret),
    gradients=functools.partial(_gradients, kernels, interpret),
  )


def _per_prefix(problem: Problem, setting: Setting):
  """(embedding, kernel, bias, scale), the last two one each."""
  z, kernel, bias, scale, *_ = problem
  count = len(setting.dims)
  bias = jnp.broadcast_to(bias, (count, bias.shape[1]))
  return z, kernel, bias, jnp.ones(count) if scale is None else scale


def _statistics(
  kernels: ModuleType,
  interpret: bool,
  problem: Problem,
  setting: Setting,
  classes: int,
  axis: str | None = None,
) -> Statistics:
  lse, picked, mean, top = kernels.statistics(
    *_per_prefix(problem, setting),
    problem.labels,
    setting.dims,
    interpret=interpret,
  )
  count, s = problem.kernel.shape[1], setting.smoothing
  expected = (1 - s) * jnp.sum(picked * problem.shares, axis=-1)
  if s:
    expected = expected + s * mean * (count / classes)
  label = problem.labels[:, 0]
  own = jnp.where((label >= 0) & (label < count), picked[..., 0], -jnp.inf)
  # The kernels' top is over all classes: no rival where it is the label's.
  rival = jnp.where(own >= top, -jnp.inf, top)
  highest = jnp.maximum(rival, own)
  # A shard without a possible class has maxima of -inf and sums of 0.
  total = jnp.where(jnp.isneginf(highest), 0, jnp.exp(lse - highest))
  return tiled.joined(tiles.Running(rival, total), own, expected, axis)


def _gradients(
  kernels: ModuleType,
  interpret: bool,
  problem: Problem,
  lse: Float[Array, 'g b'],
  coefficient: Float[Array, 'g b'],
  setting: Setting,
  classes: int,
) -> Gradients:
  z, kernel, bias, scale = kernels.gradients(
    *_per_prefix(problem, setting),
    problem.labels,
    problem.shares,
    lse,
    coefficient,
    setting.dims,
    setting.smoothing,
    classes=classes,
    interpret=interpret,
  )
  if len(problem.bias) == 1:
    bias = jnp.sum(bias, axis=0, keepdims=True)
  return Gradients(z, kernel, bias, None if problem.scale is None else scale)
