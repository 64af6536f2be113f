"""The state of training, and the step that changes it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.contracts import Batch, Task
from mrl_jax.shapes import Array, Float, Key, PyTree
from mrl_jax.variables import Variables


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Everything a run needs to continue; arrays, or their shapes.

  Attributes:
    step: optimizer updates made, int32 without axes.
    variables: Variables of the task; parameters are float32.
    opt_state: the optimizer's.
    average: Variables, their exponential moving average; None when off.
  """

  step: Any
  variables: Any
  opt_state: Any
  average: Any

  @property
  def best(self) -> Variables:
    """What evaluation uses: the average where there is one."""
    return self.average or self.variables

  def to_tree(self) -> dict[str, PyTree]:
    """Plain nested dicts and tuples: what a checkpoint stores."""
    average = self.average or Variables({}, {})
    return {
      'step': self.step,
      **self.variables._asdict(),
      'opt_state': self.opt_state,
      'average': average.params,
      'average_stats': average.stats,
    }

  @classmethod
  def from_tree(cls, tree: dict[str, PyTree]) -> 'TrainState':
    """The state from a tree of `to_tree`."""
    average = Variables(tree['average'], tree['average_stats'])
    return cls(
      tree['step'],
      Variables(tree['params'], tree['stats']),
      tree['opt_state'],
      average if average.params else None,
    )

  def with_variables(self, variables: Variables) -> 'TrainState':
    """The state with other variables, its average starting from them."""
    average = self.average and jax.tree.map(jnp.copy, variables)
    return dataclasses.replace(self, variables=variables, average=average)


def abstract(
  task: Task, optimizer: optax.GradientTransformation, averaged: bool
):
  """(init function of a key, the state's shapes), nothing allocated."""

  def init(key: Key[Array, '']) -> TrainState:
    variables = task.init(key)
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      variables=variables,
      opt_state=optimizer.init(variables.params),
      average=jax.tree.map(jnp.copy, variables) if averaged else None,
    )

  return init, jax.eval_shape(init, jax.random.key(0))


def place(shapes: PyTree, mesh: Mesh) -> PyTree:
  """Shapes of a state, or of variables, with the sharding of each array."""
  return jax.tree.map(
    lambda leaf, where: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=where
    ),
    shapes,
    sharding.shardings(shapes, mesh),
  )


def create(init, placed: TrainState, seed: int) -> TrainState:
  """A fresh state, each device making only its own share of every array."""
  where = jax.tree.map(lambda leaf: leaf.sharding, placed)
  return jax.jit(init, out_shardings=where)(jax.random.key(seed))


def moved(average: PyTree, new: PyTree, decay: Float[Array, '']) -> PyTree:
  """decay * average + (1 - decay) * new; whole numbers become the new ones."""

  def move(old, latest):
    if not jnp.issubdtype(latest.dtype, jnp.floating):
      return latest
    return decay * old + (1 - decay) * latest

  return jax.tree.map(move, average, new)


def make_step(
  task: Task,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  placed: TrainState,
  *,
  seed: int,
  accumulate: int = 1,
  average: float = 0.0,
):
  """The jitted update (state, batch) -> (state, metrics); donates the state.

  Randomness comes from fold_in(seed, step) alone, so a step is a function of
  the state and the batch. With `accumulate`, gradients are averaged over that
  many parts of the batch, one part in memory at a time. `average` is the
  decay of the moving average of the variables, warmed up as
  min(average, (1 + step) / (10 + step)).
  """
  compute = _accumulated(task, accumulate) if accumulate > 1 else _once(task)

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    params = state.variables.params
    gradients, stats, values = compute(state.variables, batch, key)
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    variables = Variables(optax.apply_updates(params, updates), stats)
    moving = state.average
    if average:
      count = state.step.astype(jnp.float32)
      decay = jnp.minimum(average, (1 + count) / (10 + count))
      moving = moved(moving, variables, decay)
    values['gradient_norm'] = optax.tree.norm(gradients)
    values['learning_rate'] = jnp.asarray(schedule(state.step))
    return TrainState(state.step + 1, variables, opt_state, moving), values

  where = jax.tree.map(lambda leaf: leaf.sharding, placed)
  # The step's number lies on every device, as the metrics shall.
  return jax.jit(step, donate_argnums=0, out_shardings=(where, where.step))


def _once(task: Task):
  """(variables, batch, key) -> (gradients, new statistics, metrics)."""

  def compute(variables: Variables, batch: Batch, key):
    def loss(params):
      return task.loss(Variables(params, variables.stats), batch, key)

    (_, (stats, values)), gradients = jax.value_and_grad(loss, has_aux=True)(
      variables.params
    )
    return gradients, stats, values

  return compute


def _accumulated(task: Task, count: int):
  """`_once` over `count` parts of the batch, one after the other."""
  once = _once(task)

  def compute(variables: Variables, batch: Batch, key):
    # Part i takes every count-th row from i, so that no row leaves its device.
    parts = jax.tree.map(
      lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch
    )

    def add(carry, part):
      total, stats = carry
      rows, index = part
      gradients, stats, values = once(
        Variables(variables.params, stats), rows, jax.random.fold_in(key, index)
      )
      return (jax.tree.map(jnp.add, total, gradients), stats), values

    zeros = jax.tree.map(jnp.zeros_like, variables.params)
    (total, stats), values = jax.lax.scan(
      add, (zeros, variables.stats), (parts, jnp.arange(count))
    )
    gradients = jax.tree.map(lambda x: x / count, total)
    return gradients, stats, jax.tree.map(lambda x: jnp.mean(x, 0), values)

  return compute
