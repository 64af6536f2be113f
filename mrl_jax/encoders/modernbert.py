"""ModernBERT: text tokens become an embedding (arXiv:2412.13663).

Its blocks normalise first, turn queries and keys by their places, and have a
gated MLP and no biases. Most of them look only at tokens that are near.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from mrl_jax.encoders import layers as shared
from mrl_jax.shapes import Array, Bool, Float


class _Attention(nnx.Module):
  """Attention to tokens at most `reach` places away, to all if it is None."""

  def __init__(self, width, heads, reach, *, dtype, rngs):
    size = width // heads
    options = dict(
      use_bias=False, kernel_init=shared.trunc_normal, dtype=dtype, rngs=rngs
    )
    self.qkv = nnx.LinearGeneral(width, (3, heads, size), **options)
    self.out = nnx.LinearGeneral((heads, size), width, axis=(-2, -1), **options)
    self.reach = reach

  def __call__(
    self,
    x: Float[Array, 'b n d'],
    mask: Bool[Array, 'b n'],
    angles: Float[Array, 'n s'],
  ) -> Float[Array, 'b n d']:
    queries, keys, values = jnp.moveaxis(self.qkv(x), 2, 0)
    mixed = jax.nn.dot_product_attention(
      shared.turned_by(queries, angles),
      shared.turned_by(keys, angles),
      values,
      mask=mask[:, None, None, :],
      local_window_size=self.reach,
    )
    return self.out(mixed)


class _GatedMLP(nnx.Module):
  """down(activation(a) * b), where a and b are the two halves of up(x)."""

  def __init__(self, width, hidden, activation, *, dtype, rngs):
    options = dict(
      use_bias=False, kernel_init=shared.trunc_normal, dtype=dtype, rngs=rngs
    )
    self.up = nnx.LinearGeneral(width, (2, hidden), **options)
    self.down = nnx.Linear(hidden, width, **options)
    self.activation = activation

  def __call__(self, x: Float[Array, 'b n d']) -> Float[Array, 'b n d']:
    a, b = jnp.moveaxis(self.up(x), 2, 0)
    return self.down(shared.ACTIVATIONS[self.activation](a) * b)


class _Block(nnx.Module):
  """Norm and attention, norm and MLP; the first block lacks the first norm."""

  def __init__(
    self,
    width,
    heads,
    hidden,
    activation,
    epsilon,
    *,
    first,
    reach,
    dtype,
    rngs,
  ):
    self.norm1 = None if first else _norm(width, epsilon, rngs)
    self.attention = _Attention(width, heads, reach, dtype=dtype, rngs=rngs)
    self.norm2 = _norm(width, epsilon, rngs)
    self.mlp = _GatedMLP(width, hidden, activation, dtype=dtype, rngs=rngs)
    self.dtype = dtype

  def __call__(
    self,
    x: Float[Array, 'b n d'],
    mask: Bool[Array, 'b n'],
    angles: Float[Array, 'n s'],
  ) -> Float[Array, 'b n d']:
    y = x if self.norm1 is None else self.norm1(x)
    x = x + self.attention(y.astype(self.dtype), mask, angles)
    return x + self.mlp(self.norm2(x).astype(self.dtype))


class ModernBert(nnx.Module):
  """Tokens and their mask [b n] -> embeddings [b d], d == width, float32.

  The arrays are those of a text input: `tokens` int32 and `mask` bool, True
  for real tokens; padding may stand on either side.

  Args:
    width, depth, heads: of the blocks.
    hidden: width of the MLP behind its gate, 0 for 1.5 times `width`.
    activation: a row of layers.ACTIVATIONS, before the gate.
    epsilon: of the norms.
    global_every: of so many blocks the first looks at all tokens, the others
      only at near ones; 1 for all blocks.
    window: how many places a local block looks at: half of them, rounded
      down, to either side of a token.
    global_base, local_base: of the rotary angles of the two kinds of blocks.
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
    hidden: int = 0,
    activation: str = 'gelu',
    epsilon: float = 1e-5,
    global_every: int = 3,
    window: int = 128,
    global_base: float = 160_000.0,
    local_base: float = 10_000.0,
    rows: int = 0,
    pool: str = 'mean',
    remat: bool = False,
    dtype: str = 'float32',
    weights: str = '',
    *,
    vocabulary: int,
    length: int,
    rngs: nnx.Rngs,
  ):
    del weights, length  # build.py reads the weights
    _check_sizes(width, heads, global_every, window, global_base, local_base)
    shared.check_choices(activation=activation, pool=pool, dtype=dtype)
    shared.check_rows(rows, vocabulary)
    self.width, self.pool, self.remat = width, pool, remat
    self.size, self.bases = width // heads, (global_base, local_base)
    self.tokens = shared.token_table(rows or vocabulary, width, rngs)
    self.entry_norm = _norm(width, epsilon, rngs)
    sizes = width, heads, hidden or 3 * width // 2, activation, epsilon
    kind, blocks = jnp.dtype(dtype), []
    for i in range(depth):
      reach = window // 2 if i % global_every else None
      more = dict(first=i == 0, reach=reach, dtype=kind, rngs=rngs)
      blocks.append(_Block(*sizes, **more))
    self.layers = nnx.List(blocks)
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
    angles = [
      shared.rotary_angles(tokens.shape[1], self.size, base)
      for base in self.bases
    ]
    run = nnx.remat(_Block.__call__) if self.remat else _Block.__call__
    states = [self.entry_norm(self.tokens(tokens))]
    for block in self.layers:
      local = block.attention.reach is not None
      states.append(run(block, states[-1], mask, angles[local]))
    return [*states[:-1], self.norm(states[-1])]


def _norm(width: int, epsilon: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
  # Tokens of trained models have outliers: the fast variance cancels there.
  return nnx.LayerNorm(
    width,
    epsilon=epsilon,
    use_bias=False,
    use_fast_variance=False,
    dtype=jnp.float32,
    rngs=rngs,
  )


def _check_sizes(width, heads, global_every, window, *bases) -> None:
  if width % heads or width // heads % 2:
    raise ValueError(
      f'heads={heads} must divide width={width} into heads of an even size'
    )
  if global_every < 1 or window < 2:
    raise ValueError(
      f'global_every={global_every} must be at least 1, window={window} at '
      'least 2'
    )
  for name, base in zip(('global_base', 'local_base'), bases):
    if base <= 1:
      raise ValueError(f'{name}={base} must be above 1')
