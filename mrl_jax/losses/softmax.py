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
from mrl_jax.shapes import Array, Float, Int

FORMS = ('auto', 'vmap', 'blocks', *fused_softmax.FORMS)


class _Shares(NamedTuple):
  """What each row should be: some classes and their shares, the larger first.

  The shares of a row sum to 1; they have no gradients.
  A row with a label that is no class is left out: its losses, gradients and
  hits are 0.
  """

  labels: Int[Array, 'b t']
  shares: Float[Array, 'b t']


def one_class(labels: Int[Array, 'b']) -> _Shares:
  """_Shares that are one class each."""
  return _Shares(labels[:, None], jnp.ones((len(labels), 1), jnp.float32))


def dense(
  targets: _Shares, classes: int, smoothing: float = 0.0
) -> Float[Array, 'b v']:
  """Target distributions: (1 - s) * shares at the labels + s / classes.

  (arXiv:1512.00567, section 7.)
  """
  onehot = jax.nn.one_hot(targets.labels, classes, dtype=targets.shares.dtype)
  mixed = jnp.sum(onehot * targets.shares[:, :, None], axis=1)
  return mixed * (1 - smoothing) + smoothing / classes


def cross_entropy(
  logits: Float[Array, '*b v'], targets: Float[Array, 'b v']
) -> Float[Array, '*b']:
  """-sum_v targets_v log softmax(logits)_v per example, in nats, float32."""
  wide = jnp.promote_types(logits.dtype, jnp.float32)
  log_probabilities = jax.nn.log_softmax(logits.astype(wide), axis=-1)
  # An impossible class, of logit -inf, that is no target adds nothing.
  parts = jnp.where(targets > 0, targets.astype(wide) * log_probabilities, 0)
  return -jnp.sum(parts, axis=-1)


def tied(
  embedding: Float[Array, 'b d'],
  classifier: nested.Classifier,
  targets: _Shares,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  *,
  smoothing: float = 0.0,
  form: str = 'auto',
  mesh: Mesh | None = None,
  tile: tuple[int, int] | None = None,
) -> nested.Loss:
  """Loss of one classifier's logits at every prefix it serves.

  Args:
    weights, row_weights: constants of the sum over prefixes and rows.
    smoothing: share of the target spread over all classes.
    form: see the module; 'auto' chooses by shape and device.
    mesh: where the arrays lie, None for one device. Rows are split over
      `data` and `fsdp`, classes over `tensor` if it divides them; then no
      device holds all logits.
    tile: (rows, classes) of logits at a time, in the forms that have tiles.

  Raises:
    ValueError: for a form that cannot serve, naming one that can.
  """
  dims, kernel, bias, scale = classifier
  embedding, classes = embedding[:, : dims[-1]], kernel.shape[1]
  wide = jnp.result_type(jnp.float32, embedding, kernel)
  weights = jnp.asarray(weights, wide)
  if weights.shape != (len(dims),):
    raise ValueError(f'{weights.size} weights for the dims {tuple(dims)}')
  targets = jax.lax.stop_gradient(
    _Shares(targets.labels.astype(jnp.int32), targets.shares.astype(wide))
  )
  bias = bias.astype(wide)
  scale = None if scale is None else scale.astype(wide)
  form = choose(form, len(dims), len(embedding), classes, mesh)
  valid = jnp.all((targets.labels >= 0) & (targets.labels < classes), axis=1)
  coefficient = weights[:, None] * row_weights.astype(wide) * valid
  coefficient = jax.lax.stop_gradient(coefficient)
  if form in fused_softmax.FORMS:
    problem = fused_softmax.Problem(embedding, kernel, bias, scale, *targets)
    total, losses, hits = fused_softmax.loss(
      problem, coefficient, dims, smoothing, form=form, mesh=mesh, tile=tile
    )
  else:
    make = vmapped_logits if form == 'vmap' else block_logits
    logits = make(embedding, kernel, dims)
    if scale is not None:
      logits = logits * scale[:, None, None]
    logits = logits + bias[:, None]
    losses = cross_entropy(logits, dense(targets, classes, smoothing))
    total = jnp.sum(coefficient * jnp.where(valid, losses, 0))
    label = jnp.clip(targets.labels[None, :, :1], 0, classes - 1)
    own = jnp.take_along_axis(logits, label, axis=-1)[..., 0]
    mine = jnp.arange(classes) == label[0]
    hits = own > jnp.max(jnp.where(mine, -jnp.inf, logits), axis=-1)
  losses = jax.lax.stop_gradient(jnp.where(valid, losses, 0))
  return nested.Loss(total, losses, hits & valid)


def separate(
  embedding: Float[Array, 'b d'],
  classifiers: Sequence[nested.Classifier],
  targets: _Shares,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  **options,
) -> nested.Loss:
  """Loss of several classifiers, each at its own prefixes.

  With one prefix each nothing can be shared: sum(dims) / d times the products
  of the plain loss. One is done after the other, so that the logits of one
  are alive. The options are those of `tied`.
  """
  weights, count = jnp.asarray(weights), sum(len(c.dims) for c in classifiers)
  if weights.shape != (count,):
    raise ValueError(f'{weights.size} weights for {count} prefixes')
  made, first = [], 0
  for classifier in classifiers:
    some = weights[first : first + len(classifier.dims)]
    first += len(classifier.dims)
    made.append(
      tied(embedding, classifier, targets, some, row_weights, **options)
    )
  return nested.Loss(
    sum(part.total for part in made),
    jnp.concatenate([part.losses for part in made]),
    jnp.concatenate([part.hits for part in made]),
  )


def check(form: str, mesh: Mesh | None) -> None:
  """Raises ValueError for a form that is none or that the devices lack."""
  if form not in FORMS:
    raise ValueError(f'form={form!r} must be one of {", ".join(FORMS)}')
  fused_softmax.check(form, mesh)


def choose(
  form: str, prefixes: int, rows: int, classes: int, mesh: Mesh | None
) -> str:
  """The form that serves a shape, checked or, for 'auto', chosen."""
  check(form, mesh)
  if form != 'auto':
    return form
  # Rows that do not divide over the devices are left to XLA.
  if mesh is not None and rows % (mesh.shape['data'] * mesh.shape['fsdp']):
    return 'blocks'
  return fused_softmax.choose(prefixes, rows, classes, mesh) or 'blocks'


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


class Targets(NamedTuple):
  classifiers: Sequence
  labels: Array
  shares: Array


class Softmax:
  def __init__(
    self,
    *,
    label_smoothing: float = 0.0,
    form: str = 'auto',
    mesh=None,
    tile=None,
  ):
    if not 0 <= label_smoothing < 1:
      raise ValueError(f'label_smoothing={label_smoothing} must be in [0, 1)')
    check(form, mesh)
    self.smoothing, self.form, self.mesh = label_smoothing, form, mesh

  def __call__(self, embedding, targets, granularities, row_weights):
    return separate(
      embedding,
      targets.classifiers,
      _Shares(*targets[1:]),
      granularities.weights,
      row_weights,
      smoothing=self.smoothing,
      form=self.form,
      mesh=self.mesh,
    )
