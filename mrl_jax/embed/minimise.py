"""L-BFGS for smooth convex functions, inside jit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mrl_jax.shapes import Array, Float

MEMORY = 10  # pairs of steps and gradient changes remembered
HALVINGS = 20  # of a step that does not decrease the objective
DECREASE = 1e-4  # asked for, of what the slope promises (Armijo)
ROUNDING = 1e-6  # of the objective: a rise that float32 may feign


def lbfgs(
  objective: Callable,
  start: Float[Array, '...'],
  tolerance: float,
  iterations: int,
) -> tuple[Float[Array, '...'], Float[Array, '']]:
  """(point, gradient norm there), once that norm is at most `tolerance`.

  Nocedal and Wright (2006), algorithm 7.5, with step lengths 1, 1/2, 1/4 ...
  until Armijo's condition holds: of a convex function every step then keeps
  the approximation positive. Ends early if no step decreases the objective,
  as happens once float32 is exhausted.
  """
  value_and_gradient = jax.value_and_grad(
    lambda flat: objective(flat.reshape(start.shape))
  )

  def body(state):
    x, value, gradient, memory, count, _ = state
    direction = -_two_loops(gradient, *memory)
    moved, new, new_gradient, good = _search(
      value_and_gradient, x, value, gradient, direction
    )
    memory = _remember(memory, moved - x, new_gradient - gradient, good)
    x = jnp.where(good, moved, x)
    value = jnp.where(good, new, value)
    gradient = jnp.where(good, new_gradient, gradient)
    return x, value, gradient, memory, count + 1, good

  def proceed(state):
    _, _, gradient, _, count, good = state
    far = jnp.linalg.norm(gradient) > tolerance
    return far & good & (count < iterations)

  x = start.ravel()
  empty = jnp.zeros((MEMORY, x.size), x.dtype)
  memory = empty, empty, jnp.zeros(MEMORY, x.dtype)
  state = (x, *value_and_gradient(x), memory, 0, True)
  x, _, gradient, *_ = jax.lax.while_loop(proceed, body, state)
  return x.reshape(start.shape), jnp.linalg.norm(gradient)


def _search(value_and_gradient, x, value, gradient, direction) -> tuple:
  """(point, value, gradient, whether it is better) along a direction."""
  slope = jnp.vdot(direction, gradient)

  def attempt(state):
    step, _, _, _, tries, _ = state
    moved = x + step * direction
    new, new_gradient = value_and_gradient(moved)
    enough = new <= value + DECREASE * step * slope
    # Near the minimum values are equal within rounding; slopes still tell.
    flatter = jnp.abs(jnp.vdot(new_gradient, direction)) < jnp.abs(slope)
    close = new <= value + ROUNDING * jnp.abs(value)
    good = enough | (flatter & close)
    step = jnp.where(good, step, step / 2)
    return step, moved, new, new_gradient, tries + 1, good

  first = (jnp.asarray(1, x.dtype), x, value, gradient, 0, False)
  _, moved, new, new_gradient, _, good = jax.lax.while_loop(
    lambda state: (state[4] < HALVINGS) & ~state[5], attempt, first
  )
  return moved, new, new_gradient, good


def _remember(memory, step, change, good):
  """The memory with one more pair, if it says that the function curves up."""
  steps, changes, inverses = memory
  curvature = jnp.vdot(step, change)
  use = good & (curvature > 0)
  inverse = 1 / jnp.where(use, curvature, 1)
  added = (
    jnp.concatenate([steps[1:], step[None]]),
    jnp.concatenate([changes[1:], change[None]]),
    jnp.append(inverses[1:], inverse),
  )
  return tuple(jnp.where(use, a, b) for a, b in zip(added, memory))


def _two_loops(gradient, steps, changes, inverses):
  """The inverse Hessian, as remembered, times the gradient (algorithm 7.4).

  Places not yet filled have inverse 0 and do nothing.
  """

  def down(q, pair):
    step, change, inverse = pair
    along = inverse * jnp.vdot(step, q)
    return q - along * change, along

  memory = steps, changes, inverses
  q, along = jax.lax.scan(down, gradient, memory, reverse=True)
  last = inverses[-1] * jnp.vdot(changes[-1], changes[-1])
  q = q / jnp.where(last > 0, last, 1)

  def up(q, pair):
    step, change, inverse, along = pair
    return q + step * (along - inverse * jnp.vdot(change, q)), None

  return jax.lax.scan(up, q, (*memory, along))[0]
