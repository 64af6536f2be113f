"""Layers that families of transformers share: attention, MLP, pooling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mrl_jax.shapes import Array, Bool, Float

DTYPES = ('float32', 'bfloat16')  # float16 needs its losses scaled

ACTIVATIONS = {
  'gelu': functools.partial(jax.nn.gelu, approximate=False),
  'gelu_tanh': functools.partial(jax.nn.gelu, approximate=True),
  'relu': jax.nn.relu,
}
POOLS = ('mean', 'cls', 'last')

trunc_normal = nnx.initializers.truncated_normal(0.02)
xavier = nnx.initializers.xavier_uniform()


class Attention(nnx.Module):
  """Multi-head attention; the softmax is float32 in any compute dtype."""

  def __init__(
    self, width: int, heads: int, *, init=xavier, dtype, rngs: nnx.Rngs
  ):
    def project():
      return nnx.LinearGeneral(
        width,
        (heads, width // heads),
        kernel_init=init,
        dtype=dtype,
        rngs=rngs,
      )

    self.query = project()
    self.key = project()
    self.value = project()
    self.out = nnx.LinearGeneral(
      (heads, width // heads),
      width,
      axis=(-2, -1),
      kernel_init=init,
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(
    self,
    queries: Float[Array, 'b q d'],
    tokens: Float[Array, 'b n d'],
    mask: Bool[Array, 'b n'] | None = None,
  ) -> Float[Array, 'b q d']:
    """Tokens whose `mask` is False are not looked at.

    Where none is left, the result is finite and means nothing.
    """
    parts = self.query(queries), self.key(tokens), self.value(tokens)
    if mask is None:
      return self.out(jax.nn.dot_product_attention(*parts))
    return self.out(_attended(*parts, mask[:, None, None, :]))


def _attended(
  queries: Float[Array, 'b q h s'],
  keys: Float[Array, 'b n h s'],
  values: Float[Array, 'b n h s'],
  mask: Bool[Array, 'b 1 1 n'],
) -> Float[Array, 'b q h s']:
  """The values by the softmax of their scores, which is float32.

  What is mixed is divided by the sum of its weights, not every weight: one
  pass less over the scores, which takes 15% of a text of 256 tokens on a CPU.
  """
  queries, keys, values = (x.swapaxes(1, 2) for x in (queries, keys, values))
  scores = jnp.einsum(
    'bhqs,bhns->bhqn', queries, keys, preferred_element_type=jnp.float32
  )
  scores = jnp.where(mask, scores * queries.shape[-1] ** -0.5, -1e30)
  best = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  weights = jnp.exp(scores - best)
  mixed = jnp.einsum('bhqn,bhns->bhqs', weights.astype(values.dtype), values)
  mixed = mixed / jnp.sum(weights, axis=-1, keepdims=True)
  return mixed.swapaxes(1, 2).astype(values.dtype)


class MLP(nnx.Module):
  """Two linear layers around a row of ACTIVATIONS, the exact gelu first."""

  def __init__(
    self,
    width: int,
    hidden: int,
    activation: str = 'gelu',
    *,
    init=xavier,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.up = nnx.Linear(
      width, hidden, kernel_init=init, dtype=dtype, rngs=rngs
    )
    self.down = nnx.Linear(
      hidden, width, kernel_init=init, dtype=dtype, rngs=rngs
    )
    self.activation = activation

  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    return self.down(ACTIVATIONS[self.activation](self.up(x)))


def masked_mean(
  tokens: Float[Array, 'b n d'], mask: Bool[Array, 'b n']
) -> Float[Array, 'b d']:
  """The mean of the tokens whose mask is True; 0 where there is none."""
  total = jnp.sum(tokens * mask[..., None], axis=1)
  return total / jnp.maximum(jnp.sum(mask, axis=1), 1)[:, None]


def pooled(
  x: Float[Array, 'b n d'], mask: Bool[Array, 'b n'], pool: str
) -> Float[Array, 'b d']:
  """One vector per text, by a row of POOLS; finite where no token is real.

  'mean' is that of the real tokens, 'cls' the first and 'last' the last of
  them, whichever side the padding is on.
  """
  if pool == 'mean':
    return masked_mean(x, mask)
  if pool == 'cls':
    place = jnp.argmax(mask, axis=1)
  else:
    place = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
  return jnp.take_along_axis(x, place[:, None, None], axis=1)[:, 0]


def rotary_angles(count: int, size: int, base: float) -> Float[Array, 'n s']:
  """Angles for the places 0 .. n - 1, in radians, one per pair of numbers.

  angle_is = i * base^(-2 s / size), with s from 0 to size / 2 - 1
  (arXiv:2104.09864).
  """
  frequencies = float(base) ** (-np.arange(0, size, 2) / size)
  return jnp.arange(count)[:, None] * jnp.asarray(frequencies, jnp.float32)


def turned_by(
  x: Float[Array, 'b n h e'], angles: Float[Array, 'n s']
) -> Float[Array, 'b n h e']:
  """The pairs (i, i + e / 2) of each head, turned by the angles; in float32."""
  cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
  a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
  return turned.astype(x.dtype)


def token_table(rows: int, width: int, rngs: nnx.Rngs) -> nnx.Embed:
  """A vector for each token (or place, or type)."""
  return nnx.Embed(rows, width, embedding_init=trunc_normal, rngs=rngs)


def check_choices(**chosen: str) -> None:
  """Raises ValueError for an activation, pool or dtype that is not built."""
  for name, value in chosen.items():
    known = {'activation': ACTIVATIONS, 'pool': POOLS, 'dtype': DTYPES}[name]
    if value not in known:
      raise ValueError(f'{name}={value!r} is not one of {", ".join(known)}')


def check_rows(rows: int, vocabulary: int) -> None:
  """Raises ValueError for fewer rows than tokens; 0 rows are as many."""
  if rows and rows < vocabulary:
    raise ValueError(
      f'rows={rows} of the token table are fewer than the {vocabulary} tokens '
      'of the tokenizer: it belongs to another model'
    )
