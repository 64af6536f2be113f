"""A task with two towers: what a user would add in one file and one row."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mrl_jax import encoders, nested
from mrl_jax.contracts import Spec
from mrl_jax.losses import LOSSES, pairs
from mrl_jax.variables import Part, Variables, init_parts, stats_of


class Temperature(nnx.Module):
  """A learned scale of the cosines, and a bias."""

  def __init__(self, scale: float, *, rngs: nnx.Rngs):
    del rngs
    self.scale = nnx.Param(jnp.log(jnp.full((1,), scale)))
    self.bias = nnx.Param(jnp.zeros((1,)))


class Contrast:
  """Each query finds its own key among the keys of its batch.

  Without a `key_encoder` one encoder serves both fields.
  """

  choices = {
    'key_encoder': encoders.ENCODERS,
    'loss': {name: LOSSES[name] for name in ('info_nce', 'sigmoid')},
  }

  def __init__(
    self,
    spec: Spec,
    dims: Sequence[int],
    weights: Sequence[float],
    mesh: Mesh | None = None,
    *,
    query: str = 'query',
    key: str = 'positive',
    key_encoder: Callable[..., nnx.Module] | None = None,
    loss: Callable = pairs.InfoNCE,
    scale: float = 10.0,
  ):
    self.fields = spec.field(query), spec.field(key)
    self.inputs = spec.inputs
    self.parts = {'encoder': spec.tower(query)}
    if key_encoder:
      self.parts['key_encoder'] = spec.tower(key, key_encoder)
    self.parts['temperature'] = Part(lambda rngs: Temperature(scale, rngs=rngs))
    self.dims = nested.check_dims(dims, self.parts['encoder'].shapes.width)
    self.weights, self.contrast = tuple(weights), loss(mesh=mesh)
    self.biased = isinstance(self.contrast, pairs.Sigmoid)

  def init(self, key) -> Variables:
    return init_parts(self.parts, key)

  def loss(self, variables: Variables, batch, key):
    modules = {
      name: part.module(variables.part(name))
      for name, part in self.parts.items()
    }
    query, positive = (self._arrays(batch, field) for field in self.fields)
    key_encoder = modules.get('key_encoder', modules['encoder'])
    temperature = modules['temperature']
    result = self.contrast(
      modules['encoder'](query, train=True),
      pairs.Targets(
        key_encoder(positive, train=True),
        jnp.exp(temperature.scale[...]),
        temperature.bias[...] if self.biased else None,
      ),
      nested.Granularities(self.dims, jnp.asarray(self.weights)),
      batch['mask'] / jnp.maximum(jnp.sum(batch['mask']), 1),
    )
    stats = {name: stats_of(module) for name, module in modules.items()}
    return result.total, (stats, result.metrics(self.dims, batch['mask']))

  def functions(self) -> Mapping[str, Callable]:
    return {'embed': self.embed, 'embed_key': self.embed_key}

  def embed(self, variables: Variables, batch):
    encoder = self.parts['encoder'].module(variables.part('encoder'))
    return encoder(self._arrays(batch, self.fields[0]))

  def embed_key(self, variables: Variables, batch):
    name = 'key_encoder' if 'key_encoder' in self.parts else 'encoder'
    encoder = self.parts[name].module(variables.part(name))
    return encoder(self._arrays(batch, self.fields[1]))

  def _arrays(self, batch, field: str):
    return self.inputs[field].on_device(batch[field])
