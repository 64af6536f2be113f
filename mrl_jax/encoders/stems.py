"""The first layers of a vision transformer: from pixels to tokens."""

import jax
import jax.numpy as jnp
from flax import nnx

from mrl_jax.shapes import Array, Float


class ConvStem(nnx.Module):
  """A token per patch, from 3x3 convolutions of stride 2 (arXiv:2106.14881).

  Each halves the image, the last but one having half the channels of the last;
  a linear layer makes the tokens. Patches see a little of their neighbours,
  and the picture may end within a patch.

  Args:
    patch: pixels of a token's side, a power of two.
    channels: of the images.
    width: of the tokens.
  """

  def __init__(
    self, patch: int, channels: int, width: int, *, dtype, rngs: nnx.Rngs
  ):
    count = patch.bit_length() - 1
    widths = [channels, *(width >> i for i in reversed(range(count)))]
    self.convolutions = nnx.List(
      [
        nnx.Conv(before, after, (3, 3), strides=2, dtype=dtype, rngs=rngs)
        for before, after in zip(widths, widths[1:])
      ]
    )
    self.norms = nnx.List(
      [
        nnx.LayerNorm(after, dtype=jnp.float32, rngs=rngs)
        for after in widths[1:]
      ]
    )
    self.out = nnx.Linear(width, width, dtype=dtype, rngs=rngs)
    self.dtype = dtype

  def __call__(self, images: Float[Array, 'b h w c']) -> Float[Array, 'b n d']:
    x = images
    for convolution, norm in zip(self.convolutions, self.norms):
      x = jax.nn.gelu(norm(convolution(x)).astype(self.dtype))
    return self.out(x.reshape(len(x), -1, x.shape[-1]))
