"""What training changes, and how it is created already in its place."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.shapes import Array, Int, Key, PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Nested dicts of arrays; everything a run needs to continue.

  Attributes:
    step: optimizer updates made.
    params: trained parameters, float32.
    stats: other layer state (running statistics), often empty.
    opt_state: the optimizer's.
    average: exponential moving average of `params`, {} when off.
  """

  step: Int[Array, '']
  params: PyTree
  stats: PyTree
  opt_state: PyTree
  average: PyTree

  @property
  def best_params(self) -> PyTree:
    """What evaluation uses: the average where there is one."""
    return self.average or self.params


def abstract(task, optimizer: optax.GradientTransformation, averaged: bool):
  """(init function of a key, the state's shapes), nothing allocated."""

  def init(key: Key[Array, '']) -> TrainState:
    params, stats = task.init(key)
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      stats=stats,
      opt_state=optimizer.init(params),
      average=jax.tree.map(jnp.copy, params) if averaged else {},
    )

  return init, jax.eval_shape(init, jax.random.key(0))


def place(shapes: TrainState, mesh: Mesh) -> TrainState:
  """The state's shapes with the sharding of each array, a restore target."""
  return jax.tree.map(
    lambda leaf, where: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=where
    ),
    shapes,
    sharding.shardings(shapes, mesh),
  )


def create(init, placed: TrainState, seed: int) -> TrainState:
  """A fresh state, each device making only its own part of every array."""
  where = jax.tree.map(lambda leaf: leaf.sharding, placed)
  return jax.jit(init, out_shardings=where)(jax.random.key(seed))


def make_step(
  task,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  placed: TrainState,
  mesh: Mesh,
  *,
  seed: int,
  accumulate: int = 1,
  average: float = 0.0,
):
  """The jitted update (state, batch) -> (state, metrics); donates the state.

  Randomness comes from fold_in(seed, step) alone, so a step is a function of
  the state and the batch. With `accumulate`, gradients are averaged over that
  many parts of the batch, one part in memory at a time. `average` is the
  decay of the moving average of the parameters, warmed up as
  min(average, (1 + step) / (10 + step)).
  """

  def gradients(params, stats, batch, key):
    (_, (stats, values)), grads = jax.value_and_grad(task.loss, has_aux=True)(
      params, stats, batch, key
    )
    return grads, stats, values

  def accumulated(params, stats, batch, key):
    # Part i takes every accumulate-th row from i, so that no row leaves its
    # device.
    parts = jax.tree.map(
      lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch
    )

    def add(carry, part):
      total, stats = carry
      batch, index = part
      grads, stats, values = gradients(
        params, stats, batch, jax.random.fold_in(key, index)
      )
      return (jax.tree.map(jnp.add, total, grads), stats), values

    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, stats), values = jax.lax.scan(
      add, (zeros, stats), (parts, jnp.arange(accumulate))
    )
    grads = jax.tree.map(lambda x: x / accumulate, total)
    return grads, stats, jax.tree.map(lambda x: jnp.mean(x, 0), values)

  def step(state: TrainState, batch) -> tuple[TrainState, dict]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    compute = accumulated if accumulate > 1 else gradients
    grads, stats, values = compute(state.params, state.stats, batch, key)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    moving = state.average
    if average:
      count = state.step.astype(jnp.float32)
      decay = jnp.minimum(average, (1 + count) / (10 + count))
      moving = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, moving, params
      )
    values['gradient_norm'] = optax.tree.norm(grads)
    values['learning_rate'] = jnp.asarray(schedule(state.step))
    new = TrainState(state.step + 1, params, stats, opt_state, moving)
    return new, values

  where = jax.tree.map(lambda leaf: leaf.sharding, placed)
  return jax.jit(
    step,
    donate_argnums=0,
    out_shardings=(where, sharding.replicated(mesh)),
  )
