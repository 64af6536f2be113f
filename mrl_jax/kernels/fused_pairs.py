"""One differentiable sum over all pairs, its queries split over a whole mesh.

What crosses devices, with b queries and r keys in all, at d numbers each:

  before      r (d + G) numbers gathered: the keys and their factors
  statistics  2 G r numbers reduced, only if columns are summed too
  gradients   r (d + G) numbers reduced and scattered: the keys'

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
from mrl_jax.shapes import Array, Float

FORMS = ('rows', 'columns')

# As in fused_softmax.py: bytes of logits made at once, and (rows, keys) of a
# tile.
SMALL = {'cpu': 4 << 20}
SMALL_ELSEWHERE = 256 << 20
TILES = {'cpu': (512, 512)}
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


def total(
  pairs: Pairs,
  row_weights: Float[Array, 'g b'],
  column_weights: Float[Array, 'g r'],
  dims: tuple[int, ...],
  kind: str,
  *,
  both: bool,
  form: str,
  mesh: Mesh | None,
  tile: tuple[int, int] | None,
) -> tuple[Float[Array, ''], pair_tiles.Sums]:
  """(weighted sum of the sums, the sums); only the first has gradients.

  Raises:
    ValueError: if the rows do not divide over the mesh.
  """
  tile = tile or TILES.get(sharding.platform(mesh), TILES_ELSEWHERE)
  if mesh is not None and mesh.size == 1:
    mesh = None
  for name, array in (('queries', pairs.queries), ('keys', pairs.keys)):
    if mesh is not None and len(array) % mesh.size:
      raise ValueError(
        f'{len(array)} {name} do not divide over the {mesh.size} devices of '
        "the mesh; pad them, or use form='blocks'"
      )
  options = Options(dims, kind, both, form, tile, mesh)
  return fused(options, pairs, row_weights, column_weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fused(options: Options, pairs: Pairs, row_weights, column_weights):
  found = spread(options, gathered(options, pairs), 'sums')
  return weighted(found, row_weights, column_weights), found


def weighted(found, row_weights, column_weights):
  columns = jnp.where(column_weights == 0, 0, column_weights * found.columns)
  return jnp.sum(row_weights * found.rows) + jnp.sum(columns)


def forward(options, pairs, row_weights, column_weights):
  weights = row_weights, column_weights
  whole = gathered(options, pairs)
  made = None
  if options.form == 'rows':
    found, made = spread(options, whole, 'together', weights=weights)
  else:
    found = spread(options, whole, 'sums')
  # The gathered keys are kept: gathering them again costs more than they do.
  return (weighted(found, *weights), found), (
    whole,
    pairs,
    weights,
    found,
    made,
  )


def backward(options, kept, cotangents):
  whole, pairs, weights, found, made = kept
  change = cotangents[0]
  if made is None:
    scaled = tuple(x * change for x in weights)
    made = spread(options, whole, 'gradients', found, scaled)
  else:
    made = jax.tree.map(lambda x: x * change, made)
  like = Pairs(*made, ids=None, key_ids=None, first=None)
  made = [
    None if x is None or i > 4 else x.astype(y.dtype)
    for i, (x, y) in enumerate(zip(like, pairs))
  ]
  return Pairs(*made), *(jnp.zeros_like(x) for x in weights)


fused.defvjp(forward, backward)


def gathered(options: Options, pairs: Pairs) -> Pairs:
  """The pairs with all keys on every device."""
  if options.mesh is None:
    return pairs
  whole = NamedSharding(options.mesh, PartitionSpec())
  keys, right, key_ids = jax.tree.map(
    lambda x: jax.sharding.reshard(x, whole),
    (pairs.keys, pairs.right, pairs.key_ids),
  )
  return pairs._replace(keys=keys, right=right, key_ids=key_ids)


def spread(options: Options, pairs: Pairs, what, found=None, weights=None):
  """Runs one device's queries against all keys everywhere."""
  mesh = options.mesh
  if mesh is None:
    return local(options, what, (), pairs, found, weights)
  axes, P = mesh.axis_names, PartitionSpec
  row, prefix_row = P(axes), P(None, axes)
  arrays = Pairs(row, P(), prefix_row, P(), P(), row, P(), P())
  arrays = Pairs(*(None if x is None else s for x, s in zip(pairs, arrays)))
  sums = pair_tiles.Sums(prefix_row, P(), prefix_row)
  made = pair_tiles.Gradients(row, row, prefix_row, prefix_row, P())
  if pairs.bias is None:
    made = made._replace(bias=None)
  out = {'sums': sums, 'gradients': made, 'together': (sums, made)}
  return jax.shard_map(
    functools.partial(local, options, what, axes),
    mesh=mesh,
    in_specs=(
      arrays,
      None if found is None else sums,
      None if weights is None else (prefix_row, P()),
    ),
    out_specs=out[what],
    check_vma=False,
  )(pairs, found, weights)


def local(options, what, axes, pairs, found, weights):
  """One device's queries; its gradients of the keys are scattered."""
  if axes:
    first = jax.lax.axis_index(axes) * len(pairs.queries)
    pairs = pairs._replace(first=pairs.first + first)
  rows, columns = options.tile
  common = dict(rows=rows, columns=columns, both=options.both)
  if what == 'sums':
    return pair_tiles.sums(
      pairs, options.dims, options.kind, axis=axes, **common
    )
  if what == 'together':
    found, made = pair_tiles.together(
      pairs, weights[0], options.dims, options.kind, rows=rows
    )
  else:
    made = pair_tiles.gradients(
      pairs, found, *weights, options.dims, options.kind, **common
    )
  if axes:
    scatter = functools.partial(
      jax.lax.psum_scatter, axis_name=axes, tiled=True
    )
    made = made._replace(
      keys=scatter(made.keys, scatter_dimension=0),
      right=scatter(made.right, scatter_dimension=1),
      bias=None if made.bias is None else jax.lax.psum(made.bias, axes),
    )
  return (found, made) if what == 'together' else made
