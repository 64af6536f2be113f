"""Supervised classification with a nested head (arXiv:2205.13147)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mrl_jax import heads, nested
from mrl_jax.contracts import Batch, Drawable, Looking, Mixable, Spec
from mrl_jax.losses import LOSSES, softmax
from mrl_jax.shapes import Array, Float, Int, Key, PyTree
from mrl_jax.variables import Part, Variables, init_parts, stats_of


class Classify:
  """An encoder and a head, trained by a nested softmax cross entropy.

  Args:
    spec: the data's facts and the encoder.
    dims: prefixes of the embedding.
    weights: loss weight of each.
    mesh: where batches and parameters lie, None for one device.
    field: that is classified, '' for the only one.
    head: what makes logits of prefixes, see heads.py.
    loss: see losses/softmax.
    mixup: alpha of the Beta distribution, 0 off.
    dims_per_step: prefixes drawn for each update, 0 all.

  Raises:
    ValueError: for data without classes, or an option out of its range.
  """

  choices = {'head': heads.HEADS, 'loss': {'softmax': LOSSES['softmax']}}

  def __init__(
    self,
    spec: Spec,
    dims: Sequence[int],
    weights: Sequence[float],
    mesh: Mesh | None = None,
    *,
    field: str = '',
    head: Callable[..., nnx.Module] = heads.MRL,
    loss: Callable = softmax.Softmax,
    mixup: float = 0.0,
    dims_per_step: int = 0,
  ):
    if not spec.classes:
      raise ValueError('the data has no classes to learn')
    self.field = spec.field(field)
    self.input: Any = spec.inputs[self.field]
    if mixup < 0:
      raise ValueError(f'mixup={mixup} must be at least 0')
    if mixup and not isinstance(self.input, Mixable):
      raise ValueError(
        f'mixup={mixup}: the field {self.field} cannot be mixed; set it to 0'
      )
    self.parts = {
      'encoder': spec.tower(self.field),
      'head': Part(lambda rngs: head(dims, len(spec.classes), rngs=rngs)),
    }
    nested.check_dims(dims, self.parts['encoder'].shapes.width)
    self.dims = self.parts['head'].shapes.dims
    # A fixed-feature head has one prefix, which need not be one of `dims`.
    self.weights = tuple(weights) if self.dims == tuple(dims) else (1.0,)
    self.nested_loss = loss(mesh=mesh)
    self.mixup, self.dims_per_step = mixup, dims_per_step
    nested.random_subset(
      jax.random.key(0), jnp.asarray(self.weights), dims_per_step
    )

  def init(self, key: Key[Array, '']) -> Variables:
    """Fresh variables of the encoder and the head."""
    return init_parts(self.parts, key)

  def _module(self, name: str, of: Variables) -> Any:
    return self.parts[name].module(of.part(name))

  def loss(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> tuple[Float[Array, ''], tuple[PyTree, dict]]:
    """(mean loss of the batch in nats, (new statistics, metrics per dim))."""
    mixup_key, dims_key, encoder_key = jax.random.split(key, 3)
    encoder = self._module('encoder', variables)
    head = self._module('head', variables)
    arrays = self.input.on_device(batch[self.field])
    labels, mask = batch['label'][:, None], batch['mask']
    shares = jnp.ones(labels.shape, jnp.float32)
    if self.mixup:
      arrays, labels, shares = self.input.mix(
        arrays, batch['label'], self.mixup, mixup_key
      )
    weights = nested.random_subset(
      dims_key, jnp.asarray(self.weights), self.dims_per_step
    )
    result = self.nested_loss(
      encoder(arrays, train=True, key=encoder_key),
      softmax.Targets(head.kernels(), labels, shares),
      nested.Granularities(self.dims, weights),
      mask / jnp.maximum(jnp.sum(mask), 1),
    )
    stats = {
      'encoder': stats_of(encoder),
      'head': variables.stats['head'],
    }
    return result.total, (stats, result.metrics(self.dims, mask))

  def functions(self) -> Mapping[str, Callable]:
    """embed, logits and, if the encoder can say where it looks, saliency."""
    functions: dict[str, Callable] = {
      'embed': self.embed,
      'logits': self.logits,
    }
    looks = isinstance(self.parts['encoder'].shapes, Looking)
    if looks and isinstance(self.input, Drawable):
      functions['saliency'] = self.saliency
    return functions

  def embed(self, variables: Variables, batch: Batch) -> Float[Array, 'b d']:
    """Full-width embeddings, not normalised, float32."""
    arrays = self.input.on_device(batch[self.field])
    return self._module('encoder', variables)(arrays)

  def logits(
    self,
    variables: Variables,
    embedding: Float[Array, 'b d'],
    dims: Sequence[int],
  ) -> Float[Array, 'g b v']:
    """The head's logits at any `dims`, trained or not (heads.py says how)."""
    head = self._module('head', variables)
    return jnp.stack([head.at(embedding, m)[0] for m in dims])

  def token_scores(
    self,
    variables: Variables,
    batch: Batch,
    classes: Int[Array, 'b'],
    dims: Sequence[int],
  ) -> Float[Array, 'g b n']:
    """What each patch adds to its example's logit of a class, at any `dims`.

    The gradient of logit_m with respect to a token times that token, summed
    over channels, times the number of tokens (arXiv:2011.08891, at the
    tokens that `encoder.tokens` names). With mean pooling the logit is linear
    in them, so their mean is the logit without its bias exactly: the class
    activation map (arXiv:1512.04150). After an attention pool or a class
    token's last block it is the first-order share.
    """
    encoder = self._module('encoder', variables)
    head = self._module('head', variables)
    tokens = encoder.tokens(self.input.on_device(batch[self.field]))
    rows = jnp.arange(len(tokens))

    def score(tokens, dim):
      logits = head.at(encoder.from_tokens(tokens), dim)[0]
      return jnp.sum(logits[rows, classes])

    shares = [
      jnp.sum(tokens * jax.grad(score)(tokens, m), axis=-1) for m in dims
    ]
    patches = math.prod(encoder.grid)
    return jnp.stack(shares)[..., -patches:] * tokens.shape[1]

  def saliency(
    self,
    variables: Variables,
    batch: Batch,
    classes: Int[Array, 'b'],
    dims: Sequence[int],
  ) -> Float[Array, 'g b h w']:
    """Maps in [0, 1] of the places that speak for a class, at any `dims`.

    The positive `token_scores` as a map, each over its own maximum.
    """
    scores = self.token_scores(variables, batch, classes, dims)
    return self.input.draw_map(scores, self.parts['encoder'].shapes.grid)
