"""Contrastive losses at every prefix, for the cost of one.

Query i should find key i among all keys. A prefix is cut, then normalised;
similarities at all prefixes come from sums over the blocks between dims.

`info_nce` is the symmetric softmax loss (arXiv:1807.03748, arXiv:2103.00020),
`sigmoid` that of arXiv:2303.15343. Keys beyond the first b are hard negatives.
Forms: `vmap` the definition, `blocks` differentiated by JAX, `rows` gradients
in the forward pass, `columns` tiles of pairs made twice, the least memory.
docs/losses.md explains them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.kernels import fused_pairs
from mrl_jax.shapes import Array, Float, Int

FORMS = ('auto', 'vmap', 'blocks', *fused_pairs.FORMS)


def info_nce(
  queries: Float[Array, 'b d'],
  keys: Float[Array, 'r d'],
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  dims: Sequence[int],
  *,
  scale: Float[Array, '#g'],
  ids: Int[Array, 'r'] | None = None,
  symmetric: bool = True,
  form: str = 'auto',
  mesh: Mesh | None = None,
  tile: tuple[int, int] | None = None,
) -> nested.Loss:
  """-log softmax of each query's own key among all keys, at every prefix.

  With `symmetric`, the mean of that and of each key's own query among the
  queries; extra keys are negatives of the first kind only.

  Args:
    weights, row_weights: constants of the sum over prefixes and rows.
    scale: of the cosine similarities (1 / temperature), one for all prefixes
      or one each; it has gradients.
    ids: of what each key shows; a pair whose key equals the query's own key
      in this is no negative. Query i has the id of key i.
    form, mesh, tile: as in softmax.tied; queries and keys are split over all
      axes of the mesh.

  Raises:
    ValueError: for fewer keys than queries, or a form that cannot serve.
  """
  form = choose(form, dims, queries, keys, mesh)
  if form == 'rows' and symmetric:
    raise ValueError(
      "form='rows' sees some queries at a time, the symmetric loss needs all "
      "for each key; use form='columns', or symmetric=False"
    )
  weights = jnp.asarray(weights, jnp.float32)
  coefficient = jax.lax.stop_gradient(weights[:, None] * row_weights)
  if symmetric:
    coefficient = coefficient / 2
  found = compare(
    'softmax', queries, keys, coefficient, dims, scale, None, ids, symmetric,
    form, mesh, tile,
  )  # fmt: skip
  total, own, rows, columns, rival = found
  losses = rows - own
  if symmetric:
    losses = (losses + columns - own) / 2
  share = 2 if symmetric else 1
  total = total - share * jnp.sum(coefficient * own)
  return finish(total, losses, own, rival)


def sigmoid(
  queries: Float[Array, 'b d'],
  keys: Float[Array, 'r d'],
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  dims: Sequence[int],
  *,
  scale: Float[Array, '#g'],
  bias: Float[Array, '#g'],
  ids: Int[Array, 'r'] | None = None,
  form: str = 'auto',
  mesh: Mesh | None = None,
  tile: tuple[int, int] | None = None,
) -> nested.Loss:
  """Sum over keys of -log sigmoid(+-(scale * cosine + bias)), per query.

  The sign is + for a query's own key and - for all others (arXiv:2303.15343,
  eq. 1). Arguments as in `info_nce`; `bias` has gradients too.
  """
  form = choose(form, dims, queries, keys, mesh)
  weights = jnp.asarray(weights, jnp.float32)
  coefficient = jax.lax.stop_gradient(weights[:, None] * row_weights)
  bias = jnp.broadcast_to(bias, (len(dims),))
  total, own, rows, _, rival = compare(
    'softplus', queries, keys, coefficient, dims, scale, bias, ids, False,
    form, mesh, tile,
  )  # fmt: skip
  # softplus(-x) = softplus(x) - x turns the own key's term around.
  total = total - jnp.sum(coefficient * own)
  return finish(total, rows - own, own, rival)


def finish(total, losses, own, rival) -> nested.Loss:
  losses, own, rival = jax.lax.stop_gradient((losses, own, rival))
  return nested.Loss(total, losses, own >= rival)


def choose(form, dims, queries, keys, mesh) -> str:
  if form not in FORMS:
    raise ValueError(f'form={form!r} must be one of {", ".join(FORMS)}')
  if len(keys) < len(queries):
    raise ValueError(
      f'{len(keys)} keys for {len(queries)} queries: key i belongs to query i'
    )
  if form != 'auto':
    return form
  best = fused_pairs.choose(len(dims), len(queries), len(keys), mesh)
  return best or 'blocks'


def compare(
  kind, queries, keys, coefficient, dims, scale, bias, ids, both, form, mesh,
  tile,
):  # fmt: skip
  """(sum(coefficient * sums), own logits, row sums, column sums, rivals).

  The sums are log sum exp ('softmax') or sum softplus; [g b] each.
  """
  b, dims = len(queries), tuple(dims)
  scale = jnp.broadcast_to(scale, (len(dims),))
  if form == 'vmap':
    own, sums = define(kind, queries, keys, dims, scale, bias, ids, both)
  else:
    left = scale[:, None] / nested.prefix_norms(queries, dims)
    right = 1 / nested.prefix_norms(keys, dims)
    own = own_logits(queries, keys[:b], dims) * left * right[:, :b]
    if bias is not None:
      own = own + bias[:, None]
    pairs = fused_pairs.Pairs(
      queries, keys, left, right, bias,
      None if ids is None else ids[:b], ids, jnp.zeros((), jnp.int32),
    )  # fmt: skip
    if form == 'blocks':
      sums = block_sums(kind, pairs, dims, both)
    else:
      extra = jnp.zeros((len(dims), len(keys) - b), coefficient.dtype)
      columns = jnp.concatenate([coefficient, extra], axis=1) * both
      total, sums = fused_pairs.total(
        pairs, coefficient, columns, dims, kind,
        both=both, form=form, mesh=mesh, tile=tile,
      )  # fmt: skip
      rows, columns, rival = sums
      return total, own, rows, columns[:, :b], rival
  rows, columns, rival = sums
  columns = columns[:, :b] if both else jnp.zeros_like(rows)
  return jnp.sum(coefficient * (rows + columns)), own, rows, columns, rival


def own_logits(queries, own, dims):
  """[g b] products of each query with its own key."""
  kind = jnp.result_type(jnp.float32, queries, own)
  products = queries.astype(kind) * own.astype(kind)
  parts = [jnp.sum(products[:, s], axis=1) for s in nested.blocks(dims)]
  return jnp.cumsum(jnp.stack(parts), axis=0)


def define(kind, queries, keys, dims, scale, bias, ids, both):
  """(own logits, sums) from normalised copies that are 0 beyond the prefix."""
  cut = [nested.prefixes(x, dims) for x in (queries, keys)]
  unit = [nested.normalise_prefix(x, x.shape[-1]) for x in cut]
  logits = jax.vmap(lambda q, k: q @ k.T)(*unit) * scale[:, None, None]
  if bias is not None:
    logits = logits + bias[:, None, None]
  own = jnp.diagonal(logits, axis1=1, axis2=2)
  return own, reduce(kind, logits, ids, both)


def block_sums(kind, pairs, dims, both):
  wide = jnp.result_type(jnp.float32, pairs.queries, pairs.keys)
  logits = nested.prefix_products(
    pairs.queries.astype(wide), pairs.keys.astype(wide).T, dims
  )
  logits = logits * pairs.left[:, :, None] * pairs.right[:, None, :]
  if pairs.bias is not None:
    logits = logits + pairs.bias[:, None, None]
  return reduce(kind, logits, pairs.key_ids, both)


def reduce(kind, logits, ids, both):
  """(row sums, column sums, rivals) of whole logits [g b r]."""
  b, r = logits.shape[1:]
  own = jnp.eye(b, r, dtype=bool)
  if ids is not None:
    same = (ids[:b, None] == ids[None]) & ~own
    logits = jnp.where(same, -jnp.inf, logits)
  rival = jnp.max(jnp.where(own, -jnp.inf, logits), axis=2)
  if kind == 'softplus':
    return jnp.sum(jax.nn.softplus(logits), axis=2), None, rival
  columns = jax.nn.logsumexp(logits[:, :, :b], axis=1) if both else None
  return jax.nn.logsumexp(logits, axis=2), columns, rival
