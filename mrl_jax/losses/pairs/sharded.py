"""The tiled contrastive losses as one differentiable loss, on a whole mesh.

Queries and keys are split over all axes; each device compares its own queries
with all keys. With b queries and r keys in all, at d numbers each, devices
exchange

  before      r (d + G) numbers gathered: the keys and their factors
  sums        2 G r numbers reduced, only if columns are summed too
  gradients   r (d + G) numbers reduced and scattered: the keys', and G b
              weights gathered if columns are summed

The plain loss at one prefix exchanges the same with G = 1.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from mrl_jax import nested
from mrl_jax.losses import forms, tiles
from mrl_jax.losses.pairs import tiled
from mrl_jax.losses.pairs.reference import Problem, Setting
from mrl_jax.losses.pairs.tiled import Gradients, Pairs, Sums
from mrl_jax.shapes import Array, Float, Int


class Negatives(NamedTuple):
  """Keys that belong to no query, their factors and their ids."""

  keys: Float[Array, 'n d']
  right: Float[Array, 'g n']
  ids: Int[Array, 'n'] | None


def suits(problem: Problem, setting: Setting) -> bool:
  """Whether the logits are many, and queries and keys divide over the mesh."""
  queries, keys = problem.queries.shape[0], problem.keys.shape[0]
  if problem.negatives is not None:
    keys += problem.negatives.shape[0]
  mesh = setting.mesh
  divides = mesh is None or not (queries % mesh.size or keys % mesh.size)
  logits = len(setting.dims) * queries * keys
  return divides and not forms.are_small(logits, mesh)


def loss(
  problem: Problem,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  setting: Setting,
) -> nested.Loss:
  """The loss by tiles.

  Logits of the queries' own keys are linear in products of rows: JAX
  differentiates them, and the lengths of the prefixes. The sums over all
  pairs have a rule of their own.

  Raises:
    ValueError: if queries or negatives do not divide over the mesh.
  """
  setting = setting._replace(mesh=forms.if_several(setting.mesh))
  _check_divides(problem, setting)
  dims, queries, keys = setting.dims, problem.queries, problem.keys
  wide = tiles.wide_type(queries, keys)
  left = 1 / nested.prefix_norms(queries, dims)
  right = 1 / nested.prefix_norms(keys, dims)
  products = nested.prefix_sums(queries.astype(wide) * keys.astype(wide), dims)
  own = products * left * right * problem.scale[:, None]
  own = own if problem.bias is None else own + problem.bias[:, None]
  pairs = Pairs(
    queries, keys, left, right, problem.scale, problem.bias, problem.ids,
    problem.ids, jax.lax.stop_gradient(own), jnp.zeros((), jnp.int32),
  )  # fmt: skip
  negatives = None
  if problem.negatives is not None:
    factors = 1 / nested.prefix_norms(problem.negatives, dims)
    negatives = Negatives(problem.negatives, factors, problem.negative_ids)
  coefficient = weights[:, None] * row_weights
  share = 1 / 2 if setting.kind.columns else 1
  total, sums = _tiled(setting, pairs, negatives, share * coefficient)
  losses = sums.rows - own
  if sums.columns is not None:
    losses = (losses + sums.columns[:, : len(queries)] - own) / 2
  total = total - jnp.sum(coefficient * own)
  return nested.Loss(total, losses, pairs.own > sums.rival)


def _check_divides(problem: Problem, setting: Setting) -> None:
  size = setting.mesh.size if setting.mesh else 1
  arrays = {'queries': problem.queries, 'negatives': problem.negatives}
  for name, array in arrays.items():
    if array is not None and len(array) % size:
      raise ValueError(
        f'{len(array)} {name} do not divide over the {size} devices of the '
        "mesh; pad them, or use form='dense'"
      )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _tiled(
  setting: Setting,
  pairs: Pairs,
  negatives: Negatives | None,
  weights: Float[Array, 'g b'],
) -> tuple[Float[Array, ''], Sums]:
  """(sum of weights * sums of rows and of the keys' columns, all sums)."""
  return _forward(setting, pairs, negatives, weights)[0]


def _forward(setting, pairs, negatives, weights):
  # All keys are kept: gathering them again costs more than they do.
  gathered = _gather(setting, pairs, negatives)
  sums = _sums(setting, gathered)
  total = jnp.sum(weights * sums.rows)
  if setting.kind.columns:
    total += jnp.sum(weights * sums.columns[:, : weights.shape[1]])
  return (total, sums), (gathered, sums, pairs, negatives, weights)


def _backward(setting, kept, cotangents):
  gathered, sums, pairs, negatives, weights = kept
  gradients, of_negatives = jax.tree.map(
    lambda x: x * cotangents[0], _gradients(setting, gathered, sums, weights)
  )
  of_pairs = Pairs(*_narrow(gradients, pairs), *[None] * 4)
  if negatives is None:
    return of_pairs, None, None
  of_negatives = Negatives(*_narrow(of_negatives, negatives), ids=None)
  return of_pairs, of_negatives, None


def _narrow(gradients: tuple, arrays: tuple) -> list[Array | None]:
  """The gradients in the types of what they are of."""
  return [
    None if x is None else x.astype(y.dtype) for x, y in zip(gradients, arrays)
  ]


_tiled.defvjp(_forward, _backward)


def _gather(
  setting: Setting, pairs: Pairs, negatives: Negatives | None
) -> Pairs:
  """The pairs with all keys, negatives last, on every device."""
  parts = [Negatives(pairs.keys, pairs.right, pairs.key_ids)]
  parts += [] if negatives is None else [negatives]
  if setting.mesh is not None:
    whole = NamedSharding(setting.mesh, PartitionSpec())
    parts = jax.tree.map(lambda x: jax.sharding.reshard(x, whole), parts)
  keys, right, ids = zip(*parts)
  return pairs._replace(
    keys=jnp.concatenate(keys),
    right=jnp.concatenate(right, axis=1),
    key_ids=None if ids[0] is None else jnp.concatenate(ids),
  )


def _sums(setting: Setting, pairs: Pairs) -> Sums:
  axes, given, per_row = _placement(setting, pairs)

  def one_device(pairs):
    return tiled.sums(_own_first(pairs, axes), setting, axes)

  columns: Any = PartitionSpec() if setting.kind.columns else None
  returned = Sums(per_row, columns, per_row)
  return tiles.spread(one_device, setting.mesh, (given,), returned)(pairs)


def _gradients(
  setting: Setting, pairs: Pairs, sums: Sums, weights: Float[Array, 'g b']
) -> tuple[Gradients, tuple[Array, Array]]:
  """(gradients of the pairs, those of the negatives and of their factors)."""
  axes, given, per_row = _placement(setting, pairs)
  b = len(pairs.queries)

  def one_device(pairs, sums, weights):
    of_columns = None
    if setting.kind.columns:
      # Every device needs the weight of every column.
      every = weights
      if axes:
        every = jax.lax.all_gather(weights, axes, axis=1, tiled=True)
      of_columns = jnp.zeros_like(pairs.right).at[:, :b].set(every)
    pairs = _own_first(pairs, axes)
    gradients = tiled.gradients(pairs, sums, weights, of_columns, setting)
    keys, right = gradients.keys, gradients.right
    own = _scattered((keys[:b], right[:, :b]), axes)
    scale, bias = jax.lax.psum((gradients.scale, gradients.bias), axes)
    gradients = gradients._replace(
      keys=own[0], right=own[1], scale=scale, bias=bias
    )
    return gradients, _scattered((keys[b:], right[:, b:]), axes)

  row: Any = PartitionSpec(axes)
  whole: Any = PartitionSpec()
  bias = None if pairs.bias is None else whole
  columns = whole if setting.kind.columns else None
  spread = tiles.spread(
    one_device,
    setting.mesh,
    (given, Sums(per_row, columns, per_row), per_row),
    (Gradients(row, row, per_row, per_row, whole, bias), (row, per_row)),
  )
  return spread(pairs, sums, weights)


def _scattered(
  arrays: tuple[Array, Array], axes: tuple[str, ...]
) -> tuple[Array, Array]:
  """(keys [r d], factors [g r]) summed over devices, each keeping its own."""
  keys, right = arrays
  if not axes or not len(keys):
    return arrays
  scatter = functools.partial(jax.lax.psum_scatter, axis_name=axes, tiled=True)
  return scatter(keys, scatter_dimension=0), scatter(right, scatter_dimension=1)


def _placement(
  setting: Setting, pairs: Pairs
) -> tuple[tuple[str, ...], Pairs, Any]:
  """(axes of the mesh, specs of pairs with all keys everywhere, of [g b])."""
  P: Any = PartitionSpec
  axes = setting.mesh.axis_names if setting.mesh else ()
  row, per_row = P(axes), P(None, axes)
  specs = row, P(), per_row, P(), P(), P(), row, P(), per_row, P()
  given: Any = (None if x is None else s for x, s in zip(pairs, specs))
  return axes, Pairs(*given), per_row


def _own_first(pairs: Pairs, axes: tuple[str, ...]) -> Pairs:
  """The pairs with `first` counted from this device's first query."""
  if not axes:
    return pairs
  first = len(pairs.queries) * jax.lax.axis_index(axes)
  return pairs._replace(first=pairs.first + first)
