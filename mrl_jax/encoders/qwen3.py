"""Qwen3 as an embedder: text tokens become an embedding (arXiv:2506.05176).

A decoder: tokens look only at those before them, so the last one has seen the
whole text (arXiv:2505.09388).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from mrl_jax.encoders import layers as shared
from mrl_jax.shapes import Array, Bool, Float


class _Attention(nnx.Module):
  """Causal attention; several heads of queries share keys and values."""

  def __init__(self, width, heads, groups, size, epsilon, *, dtype, rngs):
    options = dict(
      use_bias=False, kernel_init=shared.trunc_normal, dtype=dtype, rngs=rngs
    )
    self.query = nnx.LinearGeneral(width, (heads, size), **options)
    self.key = nnx.LinearGeneral(width, (groups, size), **options)
    self.value = nnx.LinearGeneral(width, (groups, size), **options)
    self.query_norm = _norm(size, epsilon, rngs)
    self.key_norm = _norm(size, epsilon, rngs)
    self.out = nnx.LinearGeneral((heads, size), width, axis=(-2, -1), **options)
    self.dtype = dtype

  def __call__(
    self,
    x: Float[Array, 'b n d'],
    mask: Bool[Array, 'b n'],
    angles: Float[Array, 'n s'],
  ) -> Float[Array, 'b n d']:
    queries = shared.turned_by(self.query_norm(self.query(x)), angles)
    keys = shared.turned_by(self.key_norm(self.key(x)), angles)
    mixed = jax.nn.dot_product_attention(
      queries.astype(self.dtype),
      keys.astype(self.dtype),
      self.value(x),
      mask=mask[:, None, None, :],
      is_causal=True,
    )
    return self.out(mixed)


class _GatedMLP(nnx.Module):
  """down(silu(gate(x)) * up(x))."""

  def __init__(self, width, hidden, *, dtype, rngs):
    options = dict(
      use_bias=False, kernel_init=shared.trunc_normal, dtype=dtype, rngs=rngs
    )
    self.gate = nnx.Linear(width, hidden, **options)
    self.up = nnx.Linear(width, hidden, **options)
    self.down = nnx.Linear(hidden, width, **options)

  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class _Block(nnx.Module):
  """Norm and attention, norm and MLP."""

  def __init__(
    self, width, heads, groups, size, hidden, epsilon, *, dtype, rngs
  ):
    self.norm1 = _norm(width, epsilon, rngs)
    self.attention = _Attention(
      width, heads, groups, size, epsilon, dtype=dtype, rngs=rngs
    )
    self.norm2 = _norm(width, epsilon, rngs)
    self.mlp = _GatedMLP(width, hidden, dtype=dtype, rngs=rngs)
    self.dtype = dtype

  def __call__(
    self,
    x: Float[Array, 'b n d'],
    mask: Bool[Array, 'b n'],
    angles: Float[Array, 'n s'],
  ) -> Float[Array, 'b n d']:
    x = x + self.attention(self.norm1(x).astype(self.dtype), mask, angles)
    return x + self.mlp(self.norm2(x).astype(self.dtype))


class Qwen3(nnx.Module):
  """Tokens and their mask [b n] -> embeddings [b d], d == width, float32.

  The arrays are those of a text input: `tokens` int32 and `mask` bool, True
  for real tokens; padding may stand on either side.

  Args:
    width, depth, heads: of the blocks.
    groups: heads of keys and values, which divide `heads`; 0 for as many.
    size: of a head, 0 for `width` / `heads`.
    hidden: width of the MLP behind its gate, 0 for three times `width`.
    epsilon: of the norms.
    base: of the rotary angles.
    rows: of the token table, 0 for as many as the tokenizer knows.
    pool: 'mean' of the real tokens, 'cls' the first, 'last' the last of them.
    remat: whether each block is computed again in the backward pass, which
      takes less memory and more time.
    dtype: compute type of the matmuls; parameters, norms, softmax and the
      tokens between blocks stay float32.
    weights: where training starts, see `pretrained`; '' from fresh numbers.
    vocabulary: of the tokenizer.
    length: of the longest text; any is right.

  Raises:
    ValueError: for options that do not fit together.
  """

  def __init__(
    self,
    width: int = 384,
    depth: int = 6,
    heads: int = 6,
    groups: int = 0,
    size: int = 0,
    hidden: int = 0,
    epsilon: float = 1e-6,
    base: float = 1_000_000.0,
    rows: int = 0,
    pool: str = 'last',
    remat: bool = False,
    dtype: str = 'float32',
    weights: str = '',
    *,
    vocabulary: int,
    length: int,
    rngs: nnx.Rngs,
  ):
    del weights, length  # build.py reads the weights
    groups = groups or heads
    _check_sizes(width, heads, groups, size, base)
    shared.check_choices(pool=pool, dtype=dtype)
    shared.check_rows(rows, vocabulary)
    self.width, self.pool, self.remat = width, pool, remat
    self.size, self.base = size or width // heads, base
    self.tokens = shared.token_table(rows or vocabulary, width, rngs)
    sizes = width, heads, groups, self.size, hidden or 3 * width, epsilon
    kind = jnp.dtype(dtype)
    self.layers = nnx.List(
      [_Block(*sizes, dtype=kind, rngs=rngs) for _ in range(depth)]
    )
    self.norm = _norm(width, epsilon, rngs)

  def __call__(
    self,
    arrays: Mapping[str, Array],
    *,
    train: bool = False,
    key: Array | None = None,
    layers: bool = False,
  ) -> Float[Array, 'b d'] | Float[Array, 'l b d']:
    """Embeddings of the texts; with `layers`, one per block, [l b d].

    Those of layers pass through the final norm too, so the last one equals
    the plain result. Nothing is random here: `key` is not used.
    """
    states, mask = self.states(arrays, train=train, key=key), arrays['mask']
    last = shared.pooled(states[-1], mask, self.pool)
    if not layers:
      return last
    before = [self.norm(x) for x in states[1:-1]]
    return jnp.stack(
      [*(shared.pooled(x, mask, self.pool) for x in before), last]
    )

  def states(
    self,
    arrays: Mapping[str, Array],
    *,
    train: bool = False,
    key: Array | None = None,
  ) -> list[Float[Array, 'b n d']]:
    """The tokens as they enter the first block, then after each block.

    The last of them have passed the final norm.
    """
    tokens, mask = arrays['tokens'], arrays['mask']
    angles = shared.rotary_angles(tokens.shape[1], self.size, self.base)
    run = nnx.remat(_Block.__call__) if self.remat else _Block.__call__
    states = [self.tokens(tokens)]
    for block in self.layers:
      states.append(run(block, states[-1], mask, angles))
    return [*states[:-1], self.norm(states[-1])]


def _norm(width: int, epsilon: float, rngs: nnx.Rngs) -> nnx.RMSNorm:
  return nnx.RMSNorm(width, epsilon=epsilon, dtype=jnp.float32, rngs=rngs)


def _check_sizes(width, heads, groups, size, base) -> None:
  if not size and width % heads:
    raise ValueError(f'heads={heads} does not divide width={width}')
  if (size or width // heads) % 2:
    raise ValueError(f'size={size or width // heads} of a head must be even')
  if heads % groups:
    raise ValueError(f'groups={groups} does not divide heads={heads}')
  if base <= 1:
    raise ValueError(f'base={base} must be above 1')
