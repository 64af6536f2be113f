"""Contrastive losses at every prefix, for the cost of one.

Query i should find key i among all keys. A prefix is cut, then normalised;
similarities at all prefixes come from sums over the blocks between dims.

`info_nce` is the symmetric softmax loss (arXiv:1807.03748, arXiv:2103.00020),
`sigmoid` that of arXiv:2303.15343; both take extra hard negatives.
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
  keys: Float[Array, 'b d'],
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  dims: Sequence[int],
  *,
  scale: Float[Array, '#g'],
  negatives: Float[Array, 'n d'] | None = None,
  ids: Int[Array, 'b'] | None = None,
  negative_ids: Int[Array, 'n'] | None = None,
  symmetric: bool = True,
  form: str = 'auto',
  mesh: Mesh | None = None,
  tile: tuple[int, int] | None = None,
) -> nested.Loss:
  """-log softmax of each query's own key among all keys, at every prefix.

  With `symmetric`, the mean of that and of each key's own query among the
  queries; hard negatives are of the first kind only.

  Args:
    weights, row_weights: constants of the sum over prefixes and rows, at
      least 0. A row of weight 0 is still a negative of the others.
    scale: of the cosine similarities (1 / temperature), one for all prefixes
      or one each; it has gradients.
    negatives: keys that are no query's own.
    ids, negative_ids: of what each key shows. A key with the id of a query's
      own key is no negative of it. Give both or none.
    form, mesh, tile: as in softmax.tied; queries and keys are split over all
      axes of the mesh.

  Raises:
    ValueError: for other numbers of keys than queries, ids of only some keys,
      or a form that cannot serve.
  """
  extra = check(queries, keys, negatives, ids, negative_ids)
  form = choose(form, dims, queries, keys, negatives, mesh)
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
    'softmax', queries, keys, extra, coefficient, dims, scale, None, ids,
    symmetric, form, mesh, tile,
  )  # fmt: skip
  total, own, rows, columns, hits = found
  losses = rows - own
  if symmetric:
    losses = (losses + columns - own) / 2
  share = 2 if symmetric else 1
  total = total - share * jnp.sum(coefficient * own)
  return nested.Loss(total, jax.lax.stop_gradient(losses), hits)


def sigmoid(
  queries: Float[Array, 'b d'],
  keys: Float[Array, 'b d'],
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  dims: Sequence[int],
  *,
  scale: Float[Array, '#g'],
  bias: Float[Array, '#g'],
  negatives: Float[Array, 'n d'] | None = None,
  ids: Int[Array, 'b'] | None = None,
  negative_ids: Int[Array, 'n'] | None = None,
  form: str = 'auto',
  mesh: Mesh | None = None,
  tile: tuple[int, int] | None = None,
) -> nested.Loss:
  """Sum over keys of -log sigmoid(+-(scale * cosine + bias)), per query.

  The sign is + for a query's own key and - for all others (arXiv:2303.15343,
  eq. 1). Arguments as in `info_nce`; `bias` has gradients too.
  """
  extra = check(queries, keys, negatives, ids, negative_ids)
  form = choose(form, dims, queries, keys, negatives, mesh)
  weights = jnp.asarray(weights, jnp.float32)
  coefficient = jax.lax.stop_gradient(weights[:, None] * row_weights)
  bias = jnp.broadcast_to(bias, (len(dims),))
  total, own, rows, _, hits = compare(
    'softplus', queries, keys, extra, coefficient, dims, scale, bias, ids,
    False, form, mesh, tile,
  )  # fmt: skip
  # softplus(-x) = softplus(x) - x turns the own key's term around.
  total = total - jnp.sum(coefficient * own)
  return nested.Loss(total, jax.lax.stop_gradient(rows - own), hits)


def check(queries, keys, negatives, ids, negative_ids):
  """(negatives, their ids), if the arguments fit together."""
  if negatives is not None and not len(negatives):
    negatives = negative_ids = None
  if len(keys) != len(queries):
    raise ValueError(
      f'{len(keys)} keys for {len(queries)} queries: key i belongs to query '
      'i; others go into negatives'
    )
  both = (ids is None) == (negative_ids is None)
  if negatives is None:
    both = negative_ids is None
  if not both:
    raise ValueError('give ids of keys and of negatives, or of neither')
  return negatives, negative_ids


def choose(form, dims, queries, keys, negatives, mesh) -> str:
  if form not in FORMS:
    raise ValueError(f'form={form!r} must be one of {", ".join(FORMS)}')
  if form != 'auto':
    return form
  count = len(keys) + (0 if negatives is None else len(negatives))
  best = fused_pairs.choose(len(dims), len(queries), count, mesh)
  # Rows that do not divide over the devices are left to XLA.
  divides = mesh is None or not (len(queries) % mesh.size or count % mesh.size)
  return best if best and divides else 'blocks'


def compare(
  kind, queries, keys, extra, coefficient, dims, scale, bias, ids, both, form,
  mesh, tile,
):  # fmt: skip
  """(sum(coefficient * sums), own logits, row sums, column sums, hits).

  The sums are log sum exp ('softmax') or sum softplus; [g b] each.
  """
  b, dims = len(queries), nested.check_dims(dims, queries.shape[1])
  wide = jnp.result_type(jnp.float32, queries, keys)
  coefficient = coefficient.astype(wide)
  scale = jnp.broadcast_to(scale, (len(dims),)).astype(wide)
  bias = None if bias is None else bias.astype(wide)
  negatives, negative_ids = extra
  if form in fused_pairs.FORMS:
    left = 1 / nested.prefix_norms(queries, dims)
    right = 1 / nested.prefix_norms(keys, dims)
    products = nested.prefix_sums(
      queries.astype(wide) * keys.astype(wide), dims
    )
    own = products * left * right * scale[:, None]
    own = own if bias is None else own + bias[:, None]
    start = jax.lax.stop_gradient(own)
    pairs = fused_pairs.Pairs(
      queries, keys, left, right, scale, bias, ids, ids, start,
      jnp.zeros((), jnp.int32),
    )  # fmt: skip
    if negatives is not None:
      factor = 1 / nested.prefix_norms(negatives, dims)
      extra = fused_pairs.Extra(negatives, factor, negative_ids)
    total, (rows, columns, rival) = fused_pairs.total(
      pairs, None if negatives is None else extra, coefficient, dims, kind,
      both=both, form=form, mesh=mesh, tile=tile,
    )  # fmt: skip
    return total, own, rows, columns[:, :b], start > rival
  if negatives is not None:
    keys = jnp.concatenate([keys, negatives])
    ids = None if ids is None else jnp.concatenate([ids, negative_ids])
  make = vmapped_cosines if form == 'vmap' else block_cosines
  logits = make(queries, keys, dims) * scale[:, None, None]
  if bias is not None:
    logits = logits + bias[:, None, None]
  own = jnp.diagonal(logits, axis1=1, axis2=2)
  rows, columns, rival = reduce(kind, logits, ids)
  columns = columns if both else jnp.zeros_like(rows)
  total = jnp.sum(coefficient * (rows + columns))
  return total, own, rows, columns, own > rival


def vmapped_cosines(queries, keys, dims):
  """[g b r] from normalised copies that are 0 beyond the prefix."""
  cut = [nested.prefixes(x, dims) for x in (queries, keys)]
  unit = [nested.unit(x, x.shape[-1]) for x in cut]
  return jax.vmap(lambda q, k: jnp.matmul(q, k.T, precision='highest'))(*unit)


def block_cosines(queries, keys, dims):
  wide = jnp.result_type(jnp.float32, queries, keys)
  with jax.default_matmul_precision('highest'):
    products = nested.prefix_products(
      queries.astype(wide), keys.astype(wide).T, dims
    )
  lengths = [nested.prefix_norms(x, dims) for x in (queries, keys)]
  return products / lengths[0][:, :, None] / lengths[1][:, None, :]


def reduce(kind, logits, ids):
  """(row sums, column sums, best others) of whole logits [g b r]."""
  b, r = logits.shape[1:]
  own = jnp.eye(b, r, dtype=bool)
  if ids is not None:
    same = (ids[:b, None] == ids[None]) & ~own
    logits = jnp.where(same, -jnp.inf, logits)
  rival = jnp.max(jnp.where(own, -jnp.inf, logits), axis=2)
  if kind == 'softplus':
    return jnp.sum(jax.nn.softplus(logits), axis=2), None, rival
  columns = jax.nn.logsumexp(logits[:, :, :b], axis=1)
  return jax.nn.logsumexp(logits, axis=2), columns, rival
