"""Vision transformer (arXiv:2010.11929, with arXiv:2205.01580's choices)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mrl_jax.encoders import stems
from mrl_jax.encoders.layers import (
  DTYPES,
  MLP,
  Attention,
  trunc_normal,
  xavier,
)
from mrl_jax.shapes import Array, Float, height_width

# width, depth, heads; the MLP is four times as wide.
SIZES = {
  'tiny': (64, 4, 4),
  'Ti': (192, 12, 3),
  'S': (384, 12, 6),
  'B': (768, 12, 12),
  'L': (1024, 24, 16),
}
STEMS = ('patch', 'conv')
POOLS = ('gap', 'cls', 'map')
POSITIONS = ('sincos', 'learned')


def sincos_positions(rows: int, columns: int, width: int) -> np.ndarray:
  """Fixed 2-D sine and cosine positions, [rows*columns width].

  A quarter of the width each for sin(x), cos(x), sin(y), cos(y), with
  wavelengths from 2 pi to 10000 * 2 pi (arXiv:2205.01580).
  """
  y, x = np.mgrid[:rows, :columns].reshape(2, -1, 1)
  quarter = width // 4
  omega = 1 / 10_000 ** (np.arange(quarter) / max(quarter - 1, 1))
  waves = [f(p * omega) for p in (x, y) for f in (np.sin, np.cos)]
  return np.concatenate(waves, axis=-1).astype(np.float32)


def keep_examples(x: Array, rate: float, key: Array) -> Array:
  """Stochastic depth: zeroes a branch for whole examples (arXiv:1603.09382)."""
  shape = (x.shape[0],) + (1,) * (x.ndim - 1)
  keep = jax.random.bernoulli(key, 1 - rate, shape)
  return jnp.where(keep, x / (1 - rate), 0)


class Block(nnx.Module):
  """A transformer block with its norms before attention and MLP."""

  def __init__(
    self,
    width: int,
    heads: int,
    *,
    dropout: float,
    drop_path: float,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.norm1 = nnx.LayerNorm(width, dtype=jnp.float32, rngs=rngs)
    self.attention = Attention(width, heads, dtype=dtype, rngs=rngs)
    self.norm2 = nnx.LayerNorm(width, dtype=jnp.float32, rngs=rngs)
    self.mlp = MLP(width, 4 * width, dtype=dtype, rngs=rngs)
    self.dropout = nnx.Dropout(dropout)
    self.drop_path = drop_path
    self.dtype = dtype

  def __call__(
    self, x: Float[Array, 'b n d'], keys: Array | None = None
  ) -> Float[Array, 'b n d']:
    """`keys`: four keys while training, None otherwise."""
    y = self.norm1(x).astype(self.dtype)
    x = x + self.branch(self.attention(y, y), keys, 0)
    y = self.norm2(x).astype(self.dtype)
    return x + self.branch(self.mlp(y), keys, 2)

  def branch(self, y: Array, keys: Array | None, first: int) -> Array:
    if keys is None:
      return y
    y = self.dropout(y, deterministic=False, rngs=keys[first])
    if self.drop_path:
      y = keep_examples(y, self.drop_path, keys[first + 1])
    return y


class AttentionPool(nnx.Module):
  """One learned query attends over the tokens, then an MLP (pool='map')."""

  def __init__(self, width: int, heads: int, *, dtype, rngs: nnx.Rngs):
    self.probe = nnx.Param(xavier(rngs.params(), (1, 1, width)))
    self.attention = Attention(width, heads, dtype=dtype, rngs=rngs)
    self.norm = nnx.LayerNorm(width, dtype=jnp.float32, rngs=rngs)
    self.mlp = MLP(width, 4 * width, dtype=dtype, rngs=rngs)
    self.dtype = dtype

  def __call__(self, tokens: Float[Array, 'b n d']) -> Float[Array, 'b d']:
    tokens = tokens.astype(self.dtype)
    probe = jnp.broadcast_to(self.probe[...], (len(tokens), 1, tokens.shape[2]))
    x = self.attention(probe.astype(self.dtype), tokens)
    x = x + self.mlp(self.norm(x).astype(self.dtype))
    return x[:, 0]


class ViT(nnx.Module):
  """Images [b h w c] -> embeddings [b d], d == width, float32.

  Args:
    size: a row of SIZES; `width`, `depth` and `heads` replace its numbers if
      they are above 0.
    patch_size: pixels, a number or (height, width); divides `image_size`.
    stem: what makes tokens of pixels, 'patch' a linear layer, 'conv'
      convolutions (see stems.py), for which `patch_size` is a power of two and
      need not divide `image_size`.
    pool: 'gap' mean of the tokens, 'cls' a class token, 'map' attention.
    position: 'sincos' (fixed) or 'learned'.
    dropout: rate on the patch embedding and on both branches of each block.
    drop_path: rate of stochastic depth in the last block; the rates of the
      others grow linearly from 0.
    remat: whether each block is computed again in the backward pass, which
      takes less memory and more time.
    dtype: compute type of the matmuls, one of DTYPES; parameters, norms and
      softmax stay float32.
    image_size: pixels, a number or (height, width).
    channels: of the images.

  Raises:
    ValueError: for options that do not fit together.
  """

  def __init__(
    self,
    size: str = 'S',
    patch_size: int | Sequence[int] = 16,
    width: int = 0,
    depth: int = 0,
    heads: int = 0,
    stem: str = 'patch',
    pool: str = 'gap',
    position: str = 'sincos',
    dropout: float = 0.0,
    drop_path: float = 0.0,
    remat: bool = False,
    dtype: str = 'float32',
    *,
    image_size: int | Sequence[int],
    channels: int,
    rngs: nnx.Rngs,
  ):
    if size not in SIZES:
      raise ValueError(f'size={size!r} is not one of {", ".join(SIZES)}')
    width, depth, heads = (
      given or own for given, own in zip((width, depth, heads), SIZES[size])
    )
    if dtype not in DTYPES:
      raise ValueError(f'dtype={dtype!r} is not one of {", ".join(DTYPES)}')
    self.image_size = height_width(image_size, 'image_size')
    self.patch_size = height_width(patch_size, 'patch_size')
    self.stem = stem
    _check_patches(self.image_size, self.patch_size, stem, width)
    _check(width, heads, pool, position)
    if not (0 <= dropout < 1 and 0 <= drop_path < 1):
      raise ValueError(
        f'dropout={dropout} and drop_path={drop_path} must be in [0, 1)'
      )
    grid = [-(-i // p) for i, p in zip(self.image_size, self.patch_size)]
    self.width, self.channels = width, channels
    self.pool, self.remat = pool, remat
    self.dtype = jnp.dtype(dtype)

    if stem == 'conv':
      self.patches = stems.ConvStem(
        self.patch_size[0], channels, width, dtype=self.dtype, rngs=rngs
      )
    else:
      self.patches = nnx.Linear(
        int(np.prod(self.patch_size)) * channels,
        width,
        dtype=self.dtype,
        rngs=rngs,
      )
    if position == 'learned':
      table = trunc_normal(rngs.params(), (int(np.prod(grid)), width))
      self.positions = nnx.Param(table)
    self.position, self.grid = position, tuple(grid)
    if pool == 'cls':
      self.token = nnx.Param(trunc_normal(rngs.params(), (1, 1, width)))
    self.dropout = nnx.Dropout(dropout)
    rates = np.linspace(0, drop_path, depth)
    self.layers = nnx.List(
      [
        Block(
          width,
          heads,
          dropout=dropout,
          drop_path=float(rate),
          dtype=self.dtype,
          rngs=rngs,
        )
        for rate in rates
      ]
    )
    self.norm = nnx.LayerNorm(width, dtype=jnp.float32, rngs=rngs)
    if pool == 'map':
      self.pooling = AttentionPool(width, heads, dtype=self.dtype, rngs=rngs)

  def __call__(
    self,
    images: Float[Array, 'b h w c'],
    *,
    train: bool = False,
    key: Array | None = None,
    layers: bool = False,
  ) -> Float[Array, 'b d'] | Float[Array, 'l b d']:
    """Embeddings of the images; with `layers`, one per block, [l b d].

    `key` is needed only with `train` and a dropout or drop_path. The
    embeddings of layers pass through the final norm and pooling too, so the
    last one equals the plain result.
    """
    x = self.entered(images)
    keys = [None] * len(self.layers)
    if train and key is not None:
      first, *keys = jax.random.split(key, 1 + len(self.layers))
      keys = [jax.random.split(block_key, 4) for block_key in keys]
      x = self.dropout(x, deterministic=False, rngs=first)

    run = nnx.remat(Block.__call__) if self.remat else Block.__call__
    outputs = []
    for block, block_keys in zip(self.layers, keys):
      x = run(block, x, block_keys)
      outputs.append(x)
    if layers:
      return jnp.stack([self.pooled(x) for x in outputs])
    return self.pooled(x)

  def entered(self, images: Float[Array, 'b h w c']) -> Float[Array, 'b n d']:
    """The tokens of the first block: patches with positions, a class token."""
    expected = (*self.image_size, self.channels)
    if images.shape[1:] != expected:
      raise ValueError(
        f'images are {images.shape[1:]}, this encoder takes {expected}'
      )
    x = images.astype(self.dtype)
    if self.stem == 'patch':
      x = _patchify(x, self.patch_size)
    x = self.patches(x)
    if self.position == 'learned':
      positions = self.positions[...]
    else:
      positions = jnp.asarray(sincos_positions(*self.grid, self.width))
    x = x + positions.astype(self.dtype)
    if self.pool == 'cls':
      token = jnp.broadcast_to(self.token[...], (len(x), 1, self.width))
      x = jnp.concatenate([token.astype(self.dtype), x], axis=1)
    return x

  def pooled(self, x: Float[Array, 'b n d']) -> Float[Array, 'b d']:
    return self.joined(self.norm(x))

  def joined(self, x: Float[Array, 'b n d']) -> Float[Array, 'b d']:
    """The embedding of normalised tokens."""
    if self.pool == 'cls':
      x = x[:, 0]
    elif self.pool == 'map':
      x = self.pooling(x)
    else:
      x = jnp.mean(x, axis=1)
    return x.astype(jnp.float32)

  def tokens(self, images: Float[Array, 'b h w c']) -> Float[Array, 'b n d']:
    """The last tokens that still tell the patches apart.

    They are what enters the pooling. With a class token they are what enters
    the last block, since only the class token is read after it. The last
    `prod(grid)` tokens belong to the patches.
    """
    x = self.entered(images)
    if self.pool != 'cls':
      for block in self.layers:
        x = block(x)
      return self.norm(x)
    for block in list(self.layers)[:-1]:
      x = block(x)
    return x

  def from_tokens(self, tokens: Float[Array, 'b n d']) -> Float[Array, 'b d']:
    """The embedding of what `tokens` returned."""
    if self.pool != 'cls':
      return self.joined(tokens)
    return self.pooled(self.layers[-1](tokens))


def _patchify(
  images: Float[Array, 'b h w c'], patch: tuple[int, int]
) -> Float[Array, 'b n p']:
  """The patches as rows of pixels, left to right, then top to bottom."""
  b, h, w, c = images.shape
  y, x = patch
  images = images.reshape(b, h // y, y, w // x, x, c)
  return images.transpose(0, 1, 3, 2, 4, 5).reshape(b, -1, y * x * c)


def _check_patches(image_size, patch_size, stem, width) -> None:
  if stem not in STEMS:
    raise ValueError(f'stem={stem!r} is not one of {", ".join(STEMS)}')
  if stem == 'conv':
    side = patch_size[0]
    if patch_size[1] != side or side < 2 or side & (side - 1):
      raise ValueError(
        f"patch_size={patch_size}: stem='conv' needs a square of 2, 4, 8, "
        '16 ... pixels'
      )
    if width < side // 2:
      raise ValueError(
        f"width={width}: stem='conv' with patches of {side} pixels needs at "
        f'least {side // 2}, for its channels double from 1'
      )
  elif any(i % p for i, p in zip(image_size, patch_size)):
    raise ValueError(
      f'image_size={image_size} is not a multiple of patch_size={patch_size}'
    )


def _check(width, heads, pool, position) -> None:
  if width % heads:
    raise ValueError(f'heads={heads} does not divide width={width}')
  if pool not in POOLS:
    raise ValueError(f'pool={pool!r} is not one of {", ".join(POOLS)}')
  if position not in POSITIONS:
    raise ValueError(
      f'position={position!r} is not one of {", ".join(POSITIONS)}'
    )
  if position == 'sincos' and width % 4:
    raise ValueError(f'width={width} must be a multiple of 4 for sincos')
