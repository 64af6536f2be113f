"""Loops over tiles of rows and of columns, and sums that grow with them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax.shapes import Array, Float, PyTree


class Running(NamedTuple):
  """A sum over the logits of rows, or of columns, that come tile by tile.

  The logit of a row's own class or key is known from the start, as `own`. It
  is kept apart because a logit that is computed twice may be rounded twice:
  compared with itself it could lose.

  Attributes:
    rival: the largest logit so far, but for `own`.
    total: the sum so far. For a log-sum-exp, that of exp(logit - max(rival,
      own)), own included.
  """

  rival: Array
  total: Array


def nothing(shape: tuple[int, ...], dtype: jnp.dtype) -> Running:
  """The sum over no logits."""
  return Running(jnp.full(shape, -jnp.inf, dtype), jnp.zeros(shape, dtype))


def grow_log_sum(
  running: Running,
  logits: Array,
  own: Array | float,
  others: Array,
  axis: int = 1,
) -> Running:
  """The sum with more logits along `axis`; `others` is their largest rival.

  While every logit is -inf, the total stays 0.
  """
  rival = jnp.maximum(running.rival, others)
  top = jnp.maximum(own, rival)
  top = jnp.where(jnp.isneginf(top), 0, top)
  more = jnp.sum(jnp.exp(logits - jnp.expand_dims(top, axis)), axis=axis)
  shrunk = running.total * jnp.exp(jnp.maximum(own, running.rival) - top)
  return Running(rival, shrunk + more)


def log_sum(running: Running, own: Array | float) -> Array:
  """log sum exp of the logits so far."""
  return jnp.maximum(running.rival, own) + jnp.log(running.total)


def wide_type(*arrays: Array) -> jnp.dtype:
  """The type that sums are kept in: float32, or wider if an input is."""
  return jnp.result_type(jnp.float32, *arrays)


def product(
  left: Float[Array, 'i j'],
  right: Float[Array, 'j k'],
  precision: str | None = None,
) -> Float[Array, 'i k']:
  """Their matrix product, summed in the wide type."""
  kind = wide_type(left, right)
  return jnp.matmul(
    left, right, precision=precision, preferred_element_type=kind
  )


def add_at(array: Array, values: Array, offsets: tuple) -> Array:
  """The array with `values` added from `offsets` on."""
  old = jax.lax.dynamic_slice(array, offsets, values.shape)
  return jax.lax.dynamic_update_slice(array, old + values, offsets)


def fold(add: Callable, carry: PyTree, total: int, size: int) -> PyTree:
  """Folds add(carry, first, size) over tiles of `total`, the last smaller."""
  size = min(size, total)
  count, rest = divmod(total, size)
  if count == 1:
    carry = add(carry, 0, size)
  else:
    carry = jax.lax.fori_loop(
      0, count, lambda i, carry: add(carry, i * size, size), carry
    )
  return add(carry, count * size, rest) if rest else carry


def is_padded(b: int, rows: int) -> bool:
  """Whether `scan_rows` fills up the last chunk."""
  count, size = _chunks(b, rows)
  return count * size != b


def scan_rows(
  function: Callable,
  carry: PyTree,
  arrays: PyTree,
  rows: int,
  fill: Sequence[int | float] = (),
) -> tuple[PyTree, PyTree]:
  """jax.lax.scan of `function` over chunks of at most `rows` rows.

  Rows that fill up the last chunk have the numbers `fill`, one for each
  array in order, by default 0. A single chunk runs without a loop.
  """
  leaves, tree = jax.tree.flatten(arrays)
  b = len(leaves[0])
  count, size = _chunks(b, rows)
  if count == 1:
    return function(carry, arrays)

  def split(x, value):
    space = (0, count * size - b), *((0, 0),) * (x.ndim - 1)
    x = jnp.pad(x, space, constant_values=value)
    return x.reshape(count, size, *x.shape[1:])

  chunks = map(split, leaves, fill or [0] * len(leaves))
  carry, results = jax.lax.scan(
    function, carry, jax.tree.unflatten(tree, chunks)
  )
  return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:b], results)


def spread(
  function: Callable, mesh: Mesh | None, in_specs: tuple, out_specs: PyTree
) -> Callable:
  """`function` on every device of the mesh; without one, itself."""
  if mesh is None:
    return function
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )


def _chunks(b: int, rows: int) -> tuple[int, int]:
  """(how many chunks, of how many rows) hold b rows, at most `rows` each."""
  count = max(-(-b // rows), 1)
  return count, -(-b // count)
