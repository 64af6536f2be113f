"""What is done to one image: crops, flips and RandAugment on the host.

A transform is `f(image, rng) -> image` on uint8 [h w c]; evaluation's takes
no rng. Normalisation and mixup run on the device, on whole batches.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mrl_jax.data import randaugment
from mrl_jax.shapes import Array, Float, Int, Key

CROPS = ('none', 'pad', 'random_resized')


def resize(image: np.ndarray, size: tuple[int, int], box=None) -> np.ndarray:
  """Bilinear, antialiased; `box` is (left, top, right, bottom) of the input."""
  if box is None and image.shape[:2] == tuple(size):
    return image
  picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
  picture = picture.resize(
    (size[1], size[0]), Image.Resampling.BILINEAR, box=box
  )
  return np.asarray(picture).reshape(*size, image.shape[-1])


def pad_crop(image, size, pad: int, rng: np.random.Generator) -> np.ndarray:
  """Zero padding of `pad` pixels on every side, then a random crop."""
  image = resize(image, size)
  # np.pad says the same at five times the cost of a small image.
  height, width, channels = image.shape
  padded = np.zeros((height + 2 * pad, width + 2 * pad, channels), np.uint8)
  padded[pad : pad + height, pad : pad + width] = image
  top, left = rng.integers(0, 2 * pad + 1, size=2)
  return padded[top : top + size[0], left : left + size[1]]


def random_resized_crop(
  image,
  size,
  scale: tuple[float, float],
  rng: np.random.Generator,
  ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
  """A random part of area `scale` and aspect `ratio` (arXiv:1409.4842).

  Ten tries, then the largest centred part of an allowed aspect.
  """
  height, width = image.shape[:2]
  for _ in range(10):
    area = rng.uniform(*scale) * height * width
    aspect = np.exp(rng.uniform(*np.log(ratio)))
    w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
    if 0 < w <= width and 0 < h <= height:
      top = rng.integers(0, height - h + 1)
      left = rng.integers(0, width - w + 1)
      return resize(image, size, (left, top, left + w, top + h))
  w = min(width, round(height * ratio[1]))
  h = min(height, round(width / ratio[0]))
  top, left = (height - h) / 2, (width - w) / 2
  return resize(image, size, (left, top, left + w, top + h))


def centre_crop(image, size: tuple[int, int], share: float) -> np.ndarray:
  """The centred part that, at 1/`share` of `size`, covers the short side.

  share=0.875 with size 224 is the usual "resize to 256, crop 224".
  """
  height, width = image.shape[:2]
  if (height, width) == tuple(size):
    return image
  scale = min(height / size[0], width / size[1]) * share
  h, w = size[0] * scale, size[1] * scale
  top, left = (height - h) / 2, (width - w) / 2
  return resize(image, size, (left, top, left + w, top + h))


def make_train_transform(
  size: tuple[int, int],
  crop: str = 'none',
  pad: int = 4,
  scale: Sequence[float] = (0.08, 1.0),
  flip: bool = False,
  randaugment_layers: int = 0,
  randaugment_magnitude: float = 10,
) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
  """Crop, then flip left-right, then RandAugment.

  Raises:
    ValueError: for an unknown crop or a scale outside (0, 1].
  """
  if crop not in CROPS:
    raise ValueError(f'crop={crop!r} is not one of {", ".join(CROPS)}')
  if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
    raise ValueError(
      f'scale={tuple(scale)} must be two numbers, increasing, within (0, 1]'
    )

  def transform(image, rng):
    if crop == 'pad':
      image = pad_crop(image, size, pad, rng)
    elif crop == 'random_resized':
      image = random_resized_crop(image, size, tuple(scale), rng)
    else:
      image = resize(image, size)
    if flip and rng.random() < 0.5:
      image = image[:, ::-1]
    if randaugment_layers:
      image = randaugment.augment(
        image, randaugment_layers, randaugment_magnitude, rng
      )
    return image

  return transform


def normalise(
  images: Int[Array, 'b h w c'], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, 'b h w c']:
  """(x / 255 - mean) / std per channel, on the device: bytes cross the bus."""
  images = images.astype(jnp.float32) / 255
  return (images - jnp.asarray(mean)) / jnp.asarray(std)


def mixup(
  images: Float[Array, 'b h w c'],
  labels: Int[Array, 'b'],
  alpha: float,
  key: Key[Array, ''],
) -> tuple[Float[Array, 'b h w c'], Int[Array, 'b 2'], Float[Array, 'b 2']]:
  """Each example mixed with another of its batch (arXiv:1710.09412).

  Returns the images, the two labels of each, and their shares: one lambda ~
  Beta(alpha, alpha) per batch, folded to at least 1/2, and the rest.
  """
  share = jax.random.beta(key, alpha, alpha)
  share = jnp.maximum(share, 1 - share)
  mixed = share * images + (1 - share) * jnp.roll(images, 1, axis=0)
  pairs = jnp.stack([labels, jnp.roll(labels, 1)], axis=1)
  shares = jnp.broadcast_to(jnp.stack([share, 1 - share]), pairs.shape)
  return mixed, pairs, shares
