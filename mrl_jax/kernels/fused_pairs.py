"""One differentiable sum over all pairs, its queries split over a whole mesh.

What crosses devices, with b queries and r keys in all, at d numbers each:

  before      r (d + G) numbers gathered: the keys and their factors
  statistics  2 G r numbers reduced, only if columns are summed too
  gradients   r (d + G) numbers reduced and scattered: the keys', and G b
              weights gathered if columns are summed

The plain loss at one prefix exchanges the same with G = 1.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mrl_jax import sharding
from mrl_jax.kernels import pair_tiles
from mrl_jax.kernels.pair_tiles import Pairs
from mrl_jax.shapes import Array, Float, Int

FORMS = ('rows', 'columns')

# As in fused_softmax.py: bytes of logits made at once, and (rows, keys) of a
# tile.
SMALL = {'cpu': 4 << 20}
SMALL_ELSEWHERE = 256 << 20
TILES = {'cpu': (256, 256)}
TILES_ELSEWHERE = (4096, 4096)


class Options(NamedTuple):
  """What is known before any array is."""

  dims: tuple[int, ...]
  kind: str
  both: bool
  form: str
  tile: tuple[int, int]
  mesh: Mesh | None


def choose(prefixes: int, queries: int, keys: int, mesh: Mesh | None):
  """The fused form that serves a shape best, None for none."""
  held = 4 * prefixes * queries * keys / (mesh.size if mesh else 1)
  small = SMALL.get(sharding.platform(mesh), SMALL_ELSEWHERE)
  return None if held <= small else 'columns'


class Extra(NamedTuple):
  """Keys that are no query's own."""

  keys: Float[Array, 'n d']
  right: Float[Array, 'g n']
  key_ids: Int[Array, 'n'] | None


def total(
  pairs: Pairs,
  extra: Extra | None,
  row_weights: Float[Array, 'g b'],
  dims: tuple[int, ...],
  kind: str,
  *,
  both: bool,
  form: str,
  mesh: Mesh | None,
  tile: tuple[int, int] | None,
) -> tuple[Float[Array, ''], pair_tiles.Sums]:
  """(weighted sum of the sums, the sums); only the first has gradients.

  The columns summed with `both` have the weights of the rows; those of extra
  keys have none.

  Raises:
    ValueError: if the rows do not divide over the mesh.
  """
  tile = tile or TILES.get(sharding.platform(mesh), TILES_ELSEWHERE)
  if mesh is not None and mesh.size == 1:
    mesh = None
  arrays = {'queries': pairs.queries, 'negatives': extra and extra.keys}
  for name, array in arrays.items():
    if mesh is not None and array is not None and len(array) % mesh.size:
      raise ValueError(
        f'{len(array)} {name} do not divide over the {mesh.size} devices of '
        "the mesh; pad them, or use form='blocks'"
      )
  options = Options(dims, kind, both, form, tile, mesh)
  return fused(options, pairs, extra, row_weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(options: Options, pairs: Pairs, extra: Extra | None, weights):
  found = spread(options, gathered(options, pairs, extra), 'sums')
  return weighted(options, found, weights), found


def weighted(options, found, weights):
  total = jnp.sum(weights * found.rows)
  if options.both:
    total += jnp.sum(weights * found.columns[:, : weights.shape[1]])
  return total


def forward(options, pairs, extra, weights):
  whole, made = gathered(options, pairs, extra), None
  if options.form == 'rows':
    found, made = spread(options, whole, 'together', weights=weights)
  else:
    found = spread(options, whole, 'sums')
  # The gathered keys are kept: gathering them again costs more than they do.
  kept = whole, pairs, extra, weights, found, made
  return (weighted(options, found, weights), found), kept


def backward(options, kept, cotangents):
  whole, pairs, extra, weights, found, made = kept
  change = cotangents[0]
  if made is None:
    made = spread(options, whole, 'gradients', found, weights)
  made, others = jax.tree.map(lambda x: x * change, made)
  own = Pairs(*like(made, pairs), *[None] * 4)
  rest = None
  if extra is not None:
    rest = Extra(*like(others, extra), key_ids=None)
  return own, rest, jnp.zeros_like(weights)


def like(made, arrays):
  """The gradients in the types of what they are of."""
  return [
    None if x is None else x.astype(y.dtype) for x, y in zip(made, arrays)
  ]


fused.defvjp(forward, backward)


def gathered(options: Options, pairs: Pairs, extra: Extra | None) -> Pairs:
  """The pairs with all keys, the extra ones last, on every device."""
  keys = [pairs.keys], [pairs.right], [pairs.key_ids]
  if extra is not None:
    keys = tuple([*x, y] for x, y in zip(keys, extra))
  if options.mesh is not None:
    whole = NamedSharding(options.mesh, PartitionSpec())
    keys = jax.tree.map(lambda x: jax.sharding.reshard(x, whole), keys)
  rows, right, ids = keys
  return pairs._replace(
    keys=jnp.concatenate(rows),
    right=jnp.concatenate(right, axis=1),
    key_ids=None if ids[0] is None else jnp.concatenate(ids),
  )


def spread(options: Options, pairs: Pairs, what, found=None, weights=None):
  """Runs one device's queries against all keys everywhere."""
  mesh = options.mesh
  if mesh is None:
    return local(options, what, (), pairs, found, weights)
  axes, P = mesh.axis_names, PartitionSpec
  row, prefix_row = P(axes), P(None, axes)
  arrays = Pairs(row, P(), prefix_row, P(), P(), P(), row, P(), prefix_row, P())
  arrays = Pairs(*(None if x is None else s for x, s in zip(pairs, arrays)))
  sums = pair_tiles.Sums(prefix_row, P(), prefix_row)
  own = pair_tiles.Gradients(row, row, prefix_row, prefix_row, P(), P())
  if pairs.bias is None:
    own = own._replace(bias=None)
  more = len(pairs.keys) > len(pairs.queries)
  made = own, (row, prefix_row) if more else None
  out = {'sums': sums, 'gradients': made, 'together': (sums, made)}
  return jax.shard_map(
    functools.partial(local, options, what, axes),
    mesh=mesh,
    in_specs=(
      arrays,
      None if found is None else sums,
      None if weights is None else prefix_row,
    ),
    out_specs=out[what],
    check_vma=False,
  )(pairs, found, weights)


def local(options, what, axes, pairs, found, weights):
  """One device's queries; its gradients of the keys are scattered."""
  b = len(pairs.queries)
  if axes:
    first = b * jax.lax.axis_index(axes)
    b = b * jax.lax.axis_size(axes)
    pairs = pairs._replace(first=pairs.first + first)
  rows, columns = options.tile
  common = dict(rows=rows, columns=columns, both=options.both)
  if what == 'sums':
    return pair_tiles.sums(
      pairs, options.dims, options.kind, axis=axes, **common
    )
  if what == 'together':
    found, made = pair_tiles.together(
      pairs, weights, options.dims, options.kind, rows=rows
    )
    return found, parted(made, b, axes)
  # Every device needs the weight of every column.
  over_keys = jnp.zeros_like(pairs.right)
  if options.both:
    every = weights
    if axes:
      every = jax.lax.all_gather(weights, axes, axis=1, tiled=True)
    over_keys = over_keys.at[:, :b].set(every)
  made = pair_tiles.gradients(
    pairs, found, weights, over_keys, options.dims, options.kind, **common
  )
  return parted(made, b, axes)


def parted(made, b: int, axes):
  """(gradients, those of extra keys and factors), summed over devices."""
  keys = made.keys[:b], made.keys[b:]
  right = made.right[:, :b], made.right[:, b:]
  scale, bias = made.scale, made.bias
  more = bool(len(keys[1]))
  if axes:
    scatter = functools.partial(
      jax.lax.psum_scatter, axis_name=axes, tiled=True
    )
    keys = [scatter(x, scatter_dimension=0) if len(x) else x for x in keys]
    right = [scatter(x, scatter_dimension=1) if x.size else x for x in right]
    scale, bias = jax.lax.psum((scale, bias), axes)
  made = made._replace(keys=keys[0], right=right[0], scale=scale, bias=bias)
  return made, (keys[1], right[1]) if more else None
