"""How the nested softmax is called: `Softmax`, its targets, its forms."""

import functools
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax import nested, sharding
from mrl_jax.losses import forms, tiles
from mrl_jax.losses.softmax import dense, reference, sharded, tiled
from mrl_jax.shapes import Array, Float, Int

# 'auto' takes the first that suits the shape and the devices.
FORMS = {
  'tiled': forms.Form(sharded.loss, sharded.suits),
  'dense': forms.Form(dense.loss),
  'reference': forms.Form(reference.loss),
}


class Targets(NamedTuple):
  """What each row should be, and the classifiers that learn to tell.

  Attributes:
    classifiers: one for all prefixes (MRL-E), one per prefix (MRL), or one
      for one prefix (FF); their dims, in order, are the granularities.
    labels: `t` classes per row, the one with the largest share first. A row
      with a label outside [0, v) is left out: its losses, gradients and hits
      are 0.
    shares: of the target that each label has; those of a row sum to 1. They
      have no gradients.
  """

  classifiers: Sequence[nested.Classifier]
  labels: Int[Array, 'b t']
  shares: Float[Array, 'b t']


class Softmax:
  """Softmax cross entropy of classifiers at every prefix (arXiv:2205.13147).

  Args:
    label_smoothing: share of the target spread over all classes, in [0, 1).
    form: a key of FORMS, or 'auto' to choose by shape and device.
    mesh: where the arrays lie, None for one device. Rows are split over
      `data` and `fsdp`, classes over `tensor` if it divides them; the tiled
      form then has all logits on no device.
    tile: (rows, classes) of logits at a time, None for those measured.

  Raises:
    ValueError: for an option out of its range.
  """

  def __init__(
    self,
    *,
    label_smoothing: float = 0.0,
    form: str = 'auto',
    mesh: Mesh | None = None,
    tile: tuple[int, int] | None = None,
  ):
    if not 0 <= label_smoothing < 1:
      raise ValueError(
        f'label_smoothing={label_smoothing} must be in [0, 1); 0 turns it off'
      )
    forms.check(FORMS, form, tile)
    self.label_smoothing, self.form = label_smoothing, form
    self.mesh, self.tile = mesh, tile

  def __call__(
    self,
    embedding: Float[Array, 'b d'],
    targets: Targets,
    granularities: nested.Granularities,
    row_weights: Float[Array, 'b'],
  ) -> nested.Loss:
    """The loss of all classifiers' prefixes, in order.

    One classifier is done after the other, so that the logits of one are
    alive. Classifiers of one prefix each can share nothing: sum(dims) / d
    times the products of the plain loss.

    Raises:
      ValueError: if dims or weights are not those of the classifiers, or for
        a form that cannot serve, naming one that can.
    """
    dims = tuple(m for one in targets.classifiers for m in one.dims)
    weights = jnp.asarray(granularities.weights)
    if dims != tuple(granularities.dims) or weights.shape != (len(dims),):
      raise ValueError(
        f'the classifiers have the prefixes {dims}, the loss has '
        f'dims={tuple(granularities.dims)} and {weights.size} weights; give '
        'each prefix of each classifier one of both, in order'
      )
    losses, first = [], 0
    for classifier in targets.classifiers:
      last = first + len(classifier.dims)
      losses.append(
        self._one(
          embedding, classifier, targets, weights[first:last], row_weights
        )
      )
      first = last
    return nested.Loss(
      functools.reduce(operator.add, [one.total for one in losses]),
      jnp.concatenate([one.losses for one in losses]),
      jnp.concatenate([one.hits for one in losses]),
    )

  def _one(
    self,
    embedding: Float[Array, 'b d'],
    classifier: nested.Classifier,
    targets: Targets,
    weights: Float[Array, 'g'],
    row_weights: Float[Array, 'b'],
  ) -> nested.Loss:
    dims, kernel, bias, scale = classifier
    dims = nested.check_dims(dims, len(kernel), 'dims of a classifier')
    wide = tiles.wide_type(embedding, kernel)
    labels = targets.labels.astype(jnp.int32)
    valid = jnp.all((labels >= 0) & (labels < kernel.shape[1]), axis=1)
    problem = reference.Problem(
      embedding[:, : dims[-1]],
      kernel,
      bias.astype(wide),
      None if scale is None else scale.astype(wide),
      jnp.where(valid[:, None], labels, -1),
      jax.lax.stop_gradient(targets.shares.astype(wide)),
    )
    weights, row_weights = jax.lax.stop_gradient(
      (weights.astype(wide), row_weights.astype(wide) * valid)
    )
    setting = self._setting(dims)
    form = forms.choose(FORMS, self.form, problem, setting)
    total, losses, hits = FORMS[form].loss(
      problem, weights, row_weights, setting
    )
    losses = jax.lax.stop_gradient(jnp.where(valid, losses, 0))
    return nested.Loss(total, losses, hits & valid)

  def _setting(self, dims: tuple[int, ...]) -> reference.Setting:
    tile = self.tile or tiled.TILES.get(
      sharding.platform(self.mesh), tiled.TILES_ELSEWHERE
    )
    return reference.Setting(dims, self.label_smoothing, self.mesh, tile)
