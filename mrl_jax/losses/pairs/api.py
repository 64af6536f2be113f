"""How the contrastive losses are called: classes, their targets and forms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax import nested, sharding
from mrl_jax.losses import forms, tiles
from mrl_jax.losses.pairs import dense, kinds, reference, sharded, tiled
from mrl_jax.shapes import Array, Float, Int

# 'auto' takes the first that suits the shape and the devices.
FORMS = {
  'tiled': forms.Form(sharded.loss, sharded.suits),
  'dense': forms.Form(dense.loss),
  'reference': forms.Form(reference.loss),
}


class Targets(NamedTuple):
  """What the queries should find, and the temperature they are compared at.

  Attributes:
    keys: key i belongs to query i.
    scale: of the cosine similarities (1 / temperature), one for all prefixes
      or one each; it has gradients.
    bias: added to the logits of the sigmoid loss, likewise; None for 0.
    negatives: keys that belong to no query.
    ids, negative_ids: of what each key shows. A key with the id of a query's
      own key is left out for that query. Give both or neither.
  """

  keys: Float[Array, 'b d']
  scale: Float[Array, '#g']
  bias: Float[Array, '#g'] | None = None
  negatives: Float[Array, 'n d'] | None = None
  ids: Int[Array, 'b'] | None = None
  negative_ids: Int[Array, 'n'] | None = None


class _Contrastive:
  """What the contrastive losses share.

  `form` is a key of FORMS, or 'auto' to choose by shape and device. `mesh` is
  where the arrays lie, None for one device; queries and keys are split over
  all its axes. `tile` is (queries, keys) of logits at a time, None for what
  was measured.
  """

  kind: kinds.Kind

  def __init__(
    self,
    *,
    form: str = 'auto',
    mesh: Mesh | None = None,
    tile: tuple[int, int] | None = None,
  ):
    forms.check(FORMS, form, tile)
    self.form, self.mesh, self.tile = form, mesh, tile

  def __call__(
    self,
    embedding: Float[Array, 'b d'],
    targets: Targets,
    granularities: nested.Granularities,
    row_weights: Float[Array, 'b'],
  ) -> nested.Loss:
    """The loss of the queries `embedding` at every prefix.

    The weights are at least 0. A query of weight 0 and its key are still
    negatives of the others.

    Raises:
      ValueError: for other numbers of keys than queries or of weights than
        dims, ids of only some keys, or a form that cannot serve.
    """
    targets = _checked(embedding, targets)
    width = granularities.dims[-1]
    queries, keys = embedding[:, :width], targets.keys[:, :width]
    dims = nested.check_dims(granularities.dims, queries.shape[1])
    wide = tiles.wide_type(queries, keys)
    weights = jnp.asarray(granularities.weights, wide)
    if weights.shape != (len(dims),):
      raise ValueError(f'{weights.size} weights for dims={dims}; give one each')

    def per_prefix(x):
      return None if x is None else jnp.broadcast_to(x, len(dims)).astype(wide)

    negatives = targets.negatives
    problem = reference.Problem(
      queries,
      keys,
      None if negatives is None else negatives[:, :width],
      per_prefix(targets.scale),
      per_prefix(targets.bias),
      targets.ids,
      targets.negative_ids,
    )
    weights, row_weights = jax.lax.stop_gradient(
      (weights, row_weights.astype(wide))
    )
    setting = self._setting(dims)
    form = forms.choose(FORMS, self.form, problem, setting)
    total, losses, hits = FORMS[form].loss(
      problem, weights, row_weights, setting
    )
    return nested.Loss(total, jax.lax.stop_gradient(losses), hits)

  def _setting(self, dims: tuple[int, ...]) -> reference.Setting:
    tile = self.tile or tiled.TILES.get(
      sharding.platform(self.mesh), tiled.TILES_ELSEWHERE
    )
    return reference.Setting(dims, self.kind, self.mesh, tile)


class InfoNCE(_Contrastive):
  """-log softmax of each query's own key among all keys, at every prefix.

  With `symmetric`, the mean of that and of each key's own query among the
  queries (arXiv:1807.03748, arXiv:2103.00020). Negatives are of the first
  kind only. A bias would change nothing and is refused.
  """

  def __init__(
    self,
    *,
    symmetric: bool = True,
    form: str = 'auto',
    mesh: Mesh | None = None,
    tile: tuple[int, int] | None = None,
  ):
    super().__init__(form=form, mesh=mesh, tile=tile)
    self.kind = kinds.SYMMETRIC if symmetric else kinds.ONE_WAY

  def __call__(self, embedding, targets, granularities, row_weights):
    """As in _Contrastive."""
    if targets.bias is not None:
      raise ValueError(
        'info_nce: a bias changes nothing; leave it out, or use sigmoid'
      )
    return super().__call__(embedding, targets, granularities, row_weights)


class Sigmoid(_Contrastive):
  """Sum over keys of -log sigmoid(+-(scale * cosine + bias)), per query.

  The sign is + for a query's own key and - for all others (arXiv:2303.15343,
  eq. 1).
  """

  kind = kinds.SIGMOID


def _checked(embedding: Array, targets: Targets) -> Targets:
  """The targets, if they fit together; no negatives are None."""
  if targets.negatives is not None and not len(targets.negatives):
    targets = targets._replace(negatives=None, negative_ids=None)
  if len(targets.keys) != len(embedding):
    raise ValueError(
      f'{len(targets.keys)} keys for {len(embedding)} queries: key i belongs '
      'to query i; others go into negatives'
    )
  wanted = targets.ids is not None and targets.negatives is not None
  if wanted != (targets.negative_ids is not None):
    raise ValueError('give ids of keys and of negatives, or of neither')
  return targets
