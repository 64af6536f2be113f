"""Linear classifiers over nested prefixes: MRL, MRL-E and fixed feature (FF).

Every head has `dims`, the prefixes that it trains. `kernels()` returns the
classifiers that a loss takes. `at(z, m)` returns the logits of one prefix,
trained or not, in float32.
"""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from flax import nnx

from mrl_jax import nested
from mrl_jax.shapes import Array, Float

kernel_init = nnx.initializers.lecun_normal()


def _arrays(
  layer: nnx.Linear,
) -> tuple[Float[Array, 'm v'], Float[Array, 'v']]:
  """(kernel, bias) of a layer; every layer here has a bias."""
  return layer.kernel[...], cast(nnx.Param, layer.bias)[...]


class MRL(nnx.Module):
  """One kernel per prefix: logits_m = z[:m] W_m + b_m (paper, eq. 1)."""

  def __init__(self, dims: Sequence[int], classes: int, *, rngs: nnx.Rngs):
    self.dims = tuple(dims)
    self.classifiers = nnx.List(
      [
        nnx.Linear(m, classes, kernel_init=kernel_init, rngs=rngs)
        for m in self.dims
      ]
    )

  def kernels(self) -> list[nested.Classifier]:
    arrays = map(_arrays, self.classifiers)
    return [
      nested.Classifier((m,), kernel, bias[None])
      for m, (kernel, bias) in zip(self.dims, arrays)
    ]

  def at(
    self, embedding: Float[Array, 'b d'], dim: int
  ) -> tuple[Float[Array, 'b v'], int]:
    """Logits from z[:dim], and the width of the classifier that gave them.

    If no classifier has the width `dim`, the widest one below it answers. If
    all are wider, the smallest one answers, with zeros beyond z[:dim].
    """
    fitting = [i for i, m in enumerate(self.dims) if m <= dim]
    index = fitting[-1] if fitting else 0
    width = min(dim, self.dims[index])
    kernel, bias = _arrays(self.classifiers[index])
    logits = embedding[:, :width].astype(jnp.float32) @ kernel[:width]
    return logits + bias, self.dims[index]


class MRLE(nnx.Module):
  """One kernel for all prefixes: logits_m = z[:m] W[:m] + b (MRL-E).

  With `per_prefix`, each prefix m has its own scale and bias,
  logits_m = s_m * (z[:m] W[:m]) + b_m. These G (v + 1) parameters let every
  prefix learn its temperature and its class prior.
  """

  def __init__(
    self,
    dims: Sequence[int],
    classes: int,
    *,
    per_prefix: bool = False,
    rngs: nnx.Rngs,
  ):
    self.dims = tuple(dims)
    count = len(self.dims) if per_prefix else 1
    shape = (self.dims[-1], classes)
    self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
    self.bias = nnx.Param(jnp.zeros((count, classes)))
    if per_prefix:
      self.scale = nnx.Param(jnp.ones((count, 1)))
    self.per_prefix = per_prefix

  def kernels(self) -> list[nested.Classifier]:
    scale = self.scale[...][:, 0] if self.per_prefix else None
    return [
      nested.Classifier(self.dims, self.kernel[...], self.bias[...], scale)
    ]

  def at(
    self, embedding: Float[Array, 'b d'], dim: int
  ) -> tuple[Float[Array, 'b v'], int]:
    """Logits from z[:dim], and the width of the prefix whose bias is added."""
    index = next(i for i, m in enumerate(self.dims) if m >= dim)
    row = min(index, self.bias.shape[0] - 1)
    logits = embedding[:, :dim].astype(jnp.float32) @ self.kernel[:dim]
    if self.per_prefix:
      logits = logits * self.scale[row]
    return logits + self.bias[row], self.dims[index]


class FF(nnx.Module):
  """One classifier on z[:dim], the fixed-feature baseline of the paper.

  The encoder keeps its full width. One training run per `dim` gives a curve.
  """

  def __init__(
    self, dims: Sequence[int], classes: int, *, dim: int = 0, rngs: nnx.Rngs
  ):
    self.dims = (dim or dims[-1],)
    if not 0 < self.dims[0] <= dims[-1]:
      raise ValueError(f'head.dim={dim} must be from 1 to {dims[-1]}')
    self.classifier = nnx.Linear(
      self.dims[0], classes, kernel_init=kernel_init, rngs=rngs
    )

  def kernels(self) -> list[nested.Classifier]:
    kernel, bias = _arrays(self.classifier)
    return [nested.Classifier(self.dims, kernel, bias[None])]

  def at(
    self, embedding: Float[Array, 'b d'], dim: int
  ) -> tuple[Float[Array, 'b v'], int]:
    """Logits from z[:dim], with zeros beyond it, and the classifier's width."""
    dim = min(dim, self.dims[0])
    kernel, bias = _arrays(self.classifier)
    logits = embedding[:, :dim].astype(jnp.float32) @ kernel[:dim]
    return logits + bias, self.dims[0]


HEADS = {'mrl': MRL, 'mrl_e': MRLE, 'ff': FF}
