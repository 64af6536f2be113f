"""BERT and its kin: text tokens become an embedding (arXiv:1810.04805).

MiniLM, RoBERTa, XLM-R and CamemBERT are the same network in other sizes; the
last three count positions from another number (arXiv:1907.11692).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from mrl_jax.encoders import layers as shared
from mrl_jax.shapes import Array, Bool, Float


class _Block(nnx.Module):
  """A transformer block with its norms after attention and MLP."""

  def __init__(
    self, width, heads, hidden, activation, epsilon, dropout, *, dtype, rngs
  ):
    init = shared.trunc_normal
    self.attention = shared.Attention(
      width, heads, init=init, dtype=dtype, rngs=rngs
    )
    self.norm1 = _norm(width, epsilon, rngs)
    self.mlp = shared.MLP(
      width, hidden, activation, init=init, dtype=dtype, rngs=rngs
    )
    self.norm2 = _norm(width, epsilon, rngs)
    self.dropout = nnx.Dropout(dropout)
    self.dtype = dtype

  def __call__(
    self,
    x: Float[Array, 'b n d'],
    mask: Bool[Array, 'b n'],
    keys: Array | None = None,
  ) -> Float[Array, 'b n d']:
    """`keys`: two keys while training, None otherwise."""
    y = x.astype(self.dtype)
    x = self.norm1(x + self.branch(self.attention(y, y, mask), keys, 0))
    y = self.mlp(x.astype(self.dtype))
    return self.norm2(x + self.branch(y, keys, 1))

  def branch(self, y: Array, keys: Array | None, index: int) -> Array:
    if keys is None:
      return y
    return self.dropout(y, deterministic=False, rngs=keys[index])


class Bert(nnx.Module):
  """Tokens and their mask [b n] -> embeddings [b d], d == width, float32.

  The arrays are those of a text input: `tokens` int32, `mask` bool, True for
  real tokens, and perhaps `types` int32; padding may stand on either side.

  Args:
    width, depth, heads: of the blocks.
    hidden: width of the MLP, 0 for four times `width`.
    activation: a row of layers.ACTIVATIONS.
    epsilon: of the norms.
    positions: rows of the position table.
    first_position: 0 gives token i the position i. A larger number is that of
      the first real token: only real tokens are counted, as in RoBERTa.
    types: rows of the table of token types, 0 for none.
    rows: of the token table, 0 for as many as the tokenizer knows.
    pool: 'mean' of the real tokens, 'cls' the first, 'last' the last of them.
    dropout: rate on the embedded tokens and on both branches of each block.
    remat: whether each block is computed again in the backward pass, which
      takes less memory and more time.
    dtype: compute type of the matmuls; parameters, norms, softmax and the
      tokens between blocks stay float32.
    weights: where training starts, see `pretrained`; '' from fresh numbers.
    vocabulary: of the tokenizer.
    length: of the longest text, in tokens.

  Raises:
    ValueError: for options that do not fit together.
  """

  def __init__(
    self,
    width: int = 384,
    depth: int = 6,
    heads: int = 12,
    hidden: int = 0,
    activation: str = 'gelu',
    epsilon: float = 1e-12,
    positions: int = 512,
    first_position: int = 0,
    types: int = 2,
    rows: int = 0,
    pool: str = 'mean',
    dropout: float = 0.0,
    remat: bool = False,
    dtype: str = 'float32',
    weights: str = '',
    *,
    vocabulary: int,
    length: int,
    rngs: nnx.Rngs,
  ):
    del weights  # build.py reads it
    _check_choices(width, heads, activation, pool, dropout, dtype)
    shared.check_rows(rows, vocabulary)
    _check_positions(positions, first_position, length)
    self.width, self.length = width, positions - first_position
    self.first_position, self.pool, self.remat = first_position, pool, remat
    self.dtype = jnp.dtype(dtype)
    self.tokens = shared.token_table(rows or vocabulary, width, rngs)
    self.positions = shared.token_table(positions, width, rngs)
    self.types = shared.token_table(types, width, rngs) if types else None
    self.norm = _norm(width, epsilon, rngs)
    self.dropout = nnx.Dropout(dropout)
    sizes = width, heads, hidden or 4 * width, activation, epsilon, dropout
    self.layers = nnx.List(
      [_Block(*sizes, dtype=self.dtype, rngs=rngs) for _ in range(depth)]
    )

  def __call__(
    self,
    arrays: Mapping[str, Array],
    *,
    train: bool = False,
    key: Array | None = None,
    layers: bool = False,
  ) -> Float[Array, 'b d'] | Float[Array, 'l b d']:
    """Embeddings of the texts; with `layers`, one per block, [l b d].

    `key` is needed only with `train` and a dropout.
    """
    states, mask = self.states(arrays, train=train, key=key), arrays['mask']
    if layers:
      return jnp.stack([self.pooled(x, mask) for x in states[1:]])
    return self.pooled(states[-1], mask)

  def states(
    self,
    arrays: Mapping[str, Array],
    *,
    train: bool = False,
    key: Array | None = None,
  ) -> list[Float[Array, 'b n d']]:
    """The tokens as they enter the first block, then after each block."""
    x, mask = self.entered(arrays), arrays['mask']
    keys = [None] * len(self.layers)
    if train and key is not None:
      first, *keys = jax.random.split(key, 1 + len(self.layers))
      keys = [jax.random.split(block_key) for block_key in keys]
      x = self.dropout(x, deterministic=False, rngs=first)
    run = nnx.remat(_Block.__call__) if self.remat else _Block.__call__
    states = [x]
    for block, block_keys in zip(self.layers, keys):
      states.append(run(block, states[-1], mask, block_keys))
    return states

  def entered(self, arrays: Mapping[str, Array]) -> Float[Array, 'b n d']:
    """Tokens with their positions and types, normalised."""
    tokens, mask = arrays['tokens'], arrays['mask']
    count = tokens.shape[1]
    if count > self.length:
      raise ValueError(
        f'texts have {count} tokens, this encoder takes at most {self.length}'
      )
    places = jnp.arange(count)
    if self.first_position:
      order = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
      places = jnp.where(mask, order, 0) + self.first_position - 1
    x = self.tokens(tokens) + self.positions(places)
    if self.types is not None:
      x = x + self.types(arrays.get('types', jnp.zeros_like(tokens)))
    return self.norm(x)

  def pooled(
    self, x: Float[Array, 'b n d'], mask: Bool[Array, 'b n']
  ) -> Float[Array, 'b d']:
    return shared.pooled(x, mask, self.pool)


def _norm(width: int, epsilon: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
  # Tokens of trained models have outliers: the fast variance cancels there.
  return nnx.LayerNorm(
    width,
    epsilon=epsilon,
    use_fast_variance=False,
    dtype=jnp.float32,
    rngs=rngs,
  )


def _check_choices(width, heads, activation, pool, dropout, dtype) -> None:
  if width % heads:
    raise ValueError(f'heads={heads} does not divide width={width}')
  shared.check_choices(activation=activation, pool=pool, dtype=dtype)
  if not 0 <= dropout < 1:
    raise ValueError(f'dropout={dropout} must be in [0, 1)')


def _check_positions(positions, first_position, length) -> None:
  room = positions - first_position
  if length > room:
    raise ValueError(
      f'texts of length={length} tokens are longer than the {room} positions; '
      f'set the length of the input to {room} or less'
    )
