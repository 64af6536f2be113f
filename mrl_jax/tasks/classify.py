"""Supervised classification with a nested head (arXiv:2205.13147)."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.data import transforms
from mrl_jax.losses import softmax
from mrl_jax.shapes import Array, Float, Int, Key, PyTree


def named(tree: PyTree) -> PyTree:
  """The tree with text keys only: what checkpoints store."""
  if not isinstance(tree, Mapping):
    return tree
  return {str(key): named(value) for key, value in tree.items()}


class Classify:
  """An encoder and a head, trained by the nested softmax cross entropy.

  Args:
    make_encoder, make_head: nnx.Rngs -> module.
    weights: loss weight of each of the head's prefixes.
    classes: how many there are.
    mean, std: of the pixels in [0, 1], per channel.
    label_smoothing: share of the target spread over all classes.
    mesh: where batches and parameters lie, None for one device.
    mixup: alpha of the Beta distribution, 0 off.
    dims_per_step: prefixes drawn for each update, 0 all.
    form: how the loss is computed, see losses/softmax/api.py.
  """

  def __init__(
    self,
    make_encoder: Callable[[nnx.Rngs], nnx.Module],
    make_head: Callable[[nnx.Rngs], nnx.Module],
    weights: Sequence[float],
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    mesh: Mesh | None = None,
    *,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    dims_per_step: int = 0,
    form: str = 'auto',
  ):
    if mixup < 0:
      raise ValueError(f'mixup={mixup} must be at least 0')
    self.makers = {'encoder': make_encoder, 'head': make_head}
    abstract = {
      name: nnx.eval_shape(lambda make=make: make(nnx.Rngs(0)))
      for name, make in self.makers.items()
    }
    self.graphs = {name: nnx.graphdef(m) for name, m in abstract.items()}
    self.dims = abstract['head'].dims
    self.weights = tuple(weights)
    self.classes, self.mean, self.std = classes, mean, std
    self.mixup, self.dims_per_step = mixup, dims_per_step
    self.mesh = mesh
    self.nested_loss = softmax.Softmax(
      label_smoothing=label_smoothing, form=form, mesh=mesh
    )
    nested.random_subset(
      jax.random.key(0), jnp.asarray(self.weights), dims_per_step
    )

  def init(self, key: Key[Array, '']) -> tuple[PyTree, PyTree]:
    """(params, stats), nested dicts with the keys `encoder` and `head`."""
    params, stats = {}, {}
    for index, (name, make) in enumerate(self.makers.items()):
      module = make(nnx.Rngs(jax.random.fold_in(key, index)))
      _, trained, rest = nnx.split(module, nnx.Param, ...)
      params[name] = named(nnx.to_pure_dict(trained))
      stats[name] = named(nnx.to_pure_dict(rest))
    return params, stats

  def module(self, name: str, params: PyTree, stats: PyTree) -> nnx.Module:
    return nnx.merge(self.graphs[name], params[name], stats[name])

  def loss(
    self, params: PyTree, stats: PyTree, batch: Mapping, key: Key[Array, '']
  ) -> tuple[Float[Array, ''], tuple[PyTree, dict]]:
    """(mean loss of the batch in nats, (stats, metrics per dim))."""
    mixup_key, dims_key, encoder_key = jax.random.split(key, 3)
    encoder = self.module('encoder', params, stats)
    head = self.module('head', params, stats)
    images = transforms.normalise(batch['image'], self.mean, self.std)
    labels = batch['label'][:, None]
    shares = jnp.ones(labels.shape, jnp.float32)
    if self.mixup:
      images, labels, shares = transforms.mixup(
        images, batch['label'], self.mixup, mixup_key
      )
    weights = nested.random_subset(
      dims_key, jnp.asarray(self.weights), self.dims_per_step
    )
    mask = batch['mask']
    found = self.nested_loss(
      encoder(images, train=True, key=encoder_key),
      softmax.Targets(head.kernels(), labels, shares),
      nested.Granularities(self.dims, weights),
      mask / jnp.maximum(jnp.sum(mask), 1),
    )
    values = {'loss': found.total}
    losses, accuracies = found.means(mask)
    for g, m in enumerate(self.dims):
      values[f'loss/d{m}'], values[f'accuracy/d{m}'] = losses[g], accuracies[g]
    rest = {
      'encoder': named(
        nnx.to_pure_dict(nnx.state(encoder, nnx.Not(nnx.Param)))
      ),
      'head': stats['head'],
    }
    return found.total, (rest, values)

  def embed(
    self, params: PyTree, stats: PyTree, batch: Mapping
  ) -> Float[Array, 'b d']:
    """Full-width embeddings, not normalised, float32."""
    images = transforms.normalise(batch['image'], self.mean, self.std)
    return self.module('encoder', params, stats)(images)

  def logits(
    self,
    params: PyTree,
    stats: PyTree,
    embedding: Float[Array, 'b d'],
    dims: Sequence[int],
  ) -> Float[Array, 'g b v']:
    """The head's logits at any `dims`, trained or not (heads.py says how)."""
    head = self.module('head', params, stats)
    return jnp.stack([head.at(embedding, m)[0] for m in dims])

  def token_scores(
    self,
    params: PyTree,
    stats: PyTree,
    images: Int[Array, 'b h w c'],
    classes: Int[Array, 'b'],
    dims: Sequence[int],
  ) -> Float[Array, 'g b n']:
    """What each patch adds to its image's logit of a class, at any `dims`.

    The gradient of logit_m with respect to a token times that token, summed
    over channels, times the number of tokens (arXiv:2011.08891, at the
    tokens that `encoder.tokens` names). With mean pooling the logit is linear
    in them, so their mean is the logit without its bias exactly: the class
    activation map (arXiv:1512.04150). After an attention pool or a class
    token's last block it is the first-order share.
    """
    encoder = self.module('encoder', params, stats)
    head = self.module('head', params, stats)
    tokens = encoder.tokens(transforms.normalise(images, self.mean, self.std))
    rows = jnp.arange(len(images))

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
    params: PyTree,
    stats: PyTree,
    images: Int[Array, 'b h w c'],
    classes: Int[Array, 'b'],
    dims: Sequence[int],
  ) -> Float[Array, 'g b h w']:
    """Where each image speaks for a class, at any `dims`, in [0, 1].

    The positive part of `token_scores`, drawn out to pixels, each map over
    its own maximum; 0 everywhere where nothing speaks for the class.
    """
    scores = self.token_scores(params, stats, images, classes, dims)
    grid = self.module('encoder', params, stats).grid
    maps = jnp.maximum(scores, 0).reshape(*scores.shape[:2], *grid)
    size = (*maps.shape[:2], *images.shape[1:3])
    maps = jax.image.resize(maps, size, 'bilinear')
    most = jnp.max(maps, axis=(-2, -1), keepdims=True)
    return jnp.where(most > 0, maps / jnp.where(most > 0, most, 1), 0)
