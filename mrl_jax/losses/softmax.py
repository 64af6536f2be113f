"""Softmax cross entropy at every prefix, for the cost of one.

`tied` is the loss of one kernel for all prefixes (MRL-E), `separate` that of
one kernel each (MRL); arXiv:2205.13147, eq. 1. Both have several forms with
equal results; docs/losses.md explains them:

  vmap     the definition: the plain loss vmapped over prefix masks; slow
  blocks   all logits from sums over the blocks between dims, differentiated
           by JAX
  rows     gradients made in the forward pass, some rows at a time
  columns  logits made twice, a tile of rows and classes at a time: the least
           memory
  pallas   `columns` as one kernel, on a TPU or a GPU
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.kernels import fused_softmax
from mrl_jax.shapes import Array, Bool, Float, Int

FORMS = ('auto', 'vmap', 'blocks', *fused_softmax.FORMS)


class Targets(NamedTuple):
  """What each row should be: some classes and their shares, the larger first.

  A row with a label that is no class is left out: its losses, gradients and
  hits are 0.
  """

  labels: Int[Array, 'b t']
  shares: Float[Array, 'b t']


def one_class(labels: Int[Array, 'b']) -> Targets:
  """Targets that are one class each."""
  return Targets(labels[:, None], jnp.ones((len(labels), 1), jnp.float32))


def dense(
  targets: Targets, classes: int, smoothing: float = 0.0
) -> Float[Array, 'b v']:
  """Target distributions: (1 - s) * shares at the labels + s / classes.

  (arXiv:1512.00567, section 7.)
  """
  onehot = jax.nn.one_hot(targets.labels, classes, dtype=targets.shares.dtype)
  mixed = jnp.einsum('btv,bt->bv', onehot, targets.shares)
  return mixed * (1 - smoothing) + smoothing / classes


def cross_entropy(
  logits: Float[Array, '*b v'], targets: Float[Array, 'b v']
) -> Float[Array, '*b']:
  """-sum_v targets_v log softmax(logits)_v per example, in nats, float32."""
  wide = jnp.promote_types(logits.dtype, jnp.float32)
  log_probabilities = jax.nn.log_softmax(logits.astype(wide), axis=-1)
  return -jnp.sum(targets.astype(wide) * log_probabilities, axis=-1)


def tied(
  embedding: Float[Array, 'b d'],
  kernel: Float[Array, 'd v'],
  bias: Float[Array, 'h v'],
  targets: Targets,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  dims: Sequence[int],
  *,
  scale: Float[Array, 'g'] | None = None,
  smoothing: float = 0.0,
  form: str = 'auto',
  mesh: Mesh | None = None,
  tile: tuple[int, int] | None = None,
) -> nested.Loss:
  """Loss of the logits scale_g * (z[:m_g] W[:m_g]) + bias_g, at every prefix.

  Args:
    bias: one row for all prefixes, or one per prefix.
    weights, row_weights: constants of the sum over prefixes and rows.
    scale: of each prefix's products, None for 1.
    form: see the module; 'auto' chooses by shape and device.
    mesh: where the arrays lie, None for one device. Rows are split over
      `data` and `fsdp`, classes over `tensor` if it divides them; then no
      device holds all logits.
    tile: (rows, classes) of logits at a time, in the forms that have tiles.

  Raises:
    ValueError: for a form that cannot serve, naming one that can.
  """
  weights = jnp.asarray(weights, jnp.float32)
  form = choose(form, len(dims), embedding.shape[0], kernel.shape[1], mesh)
  valid = jnp.all(in_range(targets.labels, kernel.shape[1]), axis=1)
  coefficient = jax.lax.stop_gradient(weights[:, None] * row_weights * valid)
  if form in fused_softmax.FORMS:
    total, losses, hits = fused_softmax.loss(
      fused_softmax.Problem(embedding, kernel, bias, scale, *targets),
      coefficient,
      tuple(dims),
      smoothing,
      form=form,
      mesh=mesh,
      tile=tile,
    )
  else:
    make = vmapped_logits if form == 'vmap' else block_logits
    logits = make(embedding, kernel, dims)
    if scale is not None:
      logits = logits * scale[:, None, None]
    logits = logits + bias[:, None]
    goal = dense(targets, kernel.shape[1], smoothing)
    losses = cross_entropy(logits, goal)
    total = jnp.sum(coefficient * jnp.where(valid, losses, 0))
    label = jnp.clip(targets.labels[None, :, :1], 0, kernel.shape[1] - 1)
    own = jnp.take_along_axis(logits, label, axis=-1)[..., 0]
    hits = own >= jnp.max(logits, axis=-1)
  losses = jax.lax.stop_gradient(jnp.where(valid, losses, 0))
  return nested.Loss(total, losses, hits & valid)


def separate(
  embedding: Float[Array, 'b d'],
  kernels: Sequence[Float[Array, 'm v']],
  biases: Sequence[Float[Array, 'v']],
  targets: Targets,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  dims: Sequence[int],
  **options,
) -> nested.Loss:
  """Loss of the logits z[:m_g] W_g + bias_g, one kernel for every prefix.

  Nothing can be shared: sum(dims) / d times the products of the plain loss.
  One prefix is done after the other, so that one prefix's logits are alive.
  The options are those of `tied`.
  """
  weights = jnp.asarray(weights, jnp.float32)
  made = []
  for g, m in enumerate(dims):
    part = slice(g, g + 1)
    made.append(
      tied(
        embedding[:, :m],
        kernels[g],
        biases[g][None],
        targets,
        weights[part],
        row_weights,
        (m,),
        **options,
      )
    )
  return nested.Loss(
    sum(part.total for part in made),
    jnp.concatenate([part.losses for part in made]),
    jnp.concatenate([part.hits for part in made]),
  )


def choose(
  form: str, prefixes: int, rows: int, classes: int, mesh: Mesh | None
) -> str:
  """The form that serves a shape, checked or, for 'auto', chosen."""
  if form not in FORMS:
    raise ValueError(f'form={form!r} must be one of {", ".join(FORMS)}')
  if form == 'auto':
    return fused_softmax.choose(prefixes, rows, classes, mesh) or 'blocks'
  fused_softmax.check(form)
  return form


def in_range(labels: Int[Array, '*b'], classes: int) -> Bool[Array, '*b']:
  return (labels >= 0) & (labels < classes)


def vmapped_logits(embedding, kernel, dims):
  """[g b v] products, each prefix by the whole kernel."""
  wide = jnp.result_type(jnp.float32, embedding, kernel)
  cut = nested.prefixes(embedding.astype(wide), dims)
  return jax.vmap(lambda z: z @ kernel.astype(wide))(cut)


def block_logits(embedding, kernel, dims):
  wide = jnp.result_type(jnp.float32, embedding, kernel)
  return nested.prefix_products(
    embedding.astype(wide), kernel.astype(wide), dims
  )
