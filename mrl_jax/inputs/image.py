"""Images: from decoded pixels of any size to what an encoder takes.

Crops and augmentation run on the host, on uint8. Bytes cross to the device,
where they are scaled and, in training, mixed.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mrl_jax.inputs import crops, opened, randaugment
from mrl_jax.shapes import Array, Float, Int, Key, UInt8, height_width


class Image:
  """A field of uint8 images [h w c] of any size.

  Args:
    size: pixels that the encoder takes, a number or (height, width).
    crop: of training images: 'none' resizes, 'pad' shifts by up to `pad`
      pixels, 'random_resized' takes a part of area `scale`, 'affine' keeps
      the whole image and stretches each side by `scale`, shears, rotates and
      shifts it.
    pad: pixels that 'pad' and 'affine' shift by at most.
    scale: smallest and largest.
    shear: of 'affine', at most, as a share of the height.
    rotate: of 'affine', at most, in degrees.
    flip: whether training images are mirrored left to right at random.
    randaugment_layers: random operations in a row, 0 for none
      (arXiv:1909.13719).
    randaugment_magnitude: their strength, 10 for the paper's maximum. Above it
      only the operations that move pixels grow, up to limits.
    eval_crop: share of the short side that evaluation keeps, of images of
      every size; 0.875 is usual for photos.
    mean, std: of the pixels in [0, 1], one number or one per channel.
    channels: 1 or 3; the source says how many.
    ground: what shows through transparent pixels, a colour; the source says.

  Raises:
    ValueError: for an option out of its range, naming the range.
  """

  def __init__(
    self,
    size: int | Sequence[int] = 224,
    crop: str = 'none',
    pad: int = 4,
    scale: Sequence[float] = (0.08, 1.0),
    shear: float = 0.0,
    rotate: float = 0.0,
    flip: bool = False,
    randaugment_layers: int = 0,
    randaugment_magnitude: float = 10.0,
    eval_crop: float = 1.0,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    *,
    channels: int,
    ground: str = 'white',
  ):
    self.size = height_width(size, 'size')
    self.crop, self.pad, self.scale = crop, pad, tuple(scale)
    self.shear, self.rotate, self.flip = shear, rotate, flip
    self.randaugment = (randaugment_layers, randaugment_magnitude)
    self.eval_crop = eval_crop
    self.mean, self.std = tuple(mean), tuple(std)
    self.shape = jax.ShapeDtypeStruct((*self.size, channels), np.uint8)
    self.facts = {'image_size': self.size, 'channels': channels}
    self.ground = ground
    self._check(channels)

  def _check(self, channels: int) -> None:
    if self.crop not in crops.CROPS:
      raise ValueError(
        f'crop={self.crop!r} is not one of {", ".join(crops.CROPS)}'
      )
    most = 4 if self.crop == 'affine' else 1
    if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= most:
      raise ValueError(
        f'scale={self.scale} must be two numbers, increasing, within '
        f'(0, {most}]'
      )
    if not 0 < self.eval_crop <= 1:
      raise ValueError(f'eval_crop={self.eval_crop} must be in (0, 1]')
    layers, magnitude = self.randaugment
    if layers < 0 or not 0 <= magnitude < float('inf'):
      raise ValueError(
        f'randaugment_layers={layers} and randaugment_magnitude={magnitude} '
        'must be at least 0'
      )
    for name, values in (('mean', self.mean), ('std', self.std)):
      if len(values) not in (1, channels) or (
        name == 'std' and min(values) <= 0
      ):
        raise ValueError(
          f'{name}={values} must be {channels} numbers'
          + (' above 0' if name == 'std' else '')
        )

  def _check_value(self, value) -> None:
    if value.ndim != 3 or value.shape[-1] != self.shape.shape[-1]:
      raise ValueError(
        f'its image is {list(value.shape)} where the source promises '
        f'{self.shape.shape[-1]} channels; convert the file, or remove it'
      )

  def open(self, given) -> opened.Opened:
    """The images in what a person gives: see `opened.open_images`."""
    return opened.open_images(given, self.shape.shape[-1], self.ground)

  def train(
    self, value: np.ndarray, rng: np.random.Generator
  ) -> UInt8[np.ndarray, 'h w c']:
    """Cropped, then perhaps mirrored, then augmented."""
    self._check_value(value)
    if self.crop == 'pad':
      value = crops.pad_crop(value, self.size, self.pad, rng)
    elif self.crop == 'random_resized':
      value = crops.random_resized_crop(value, self.size, self.scale, rng)
    elif self.crop == 'affine':
      value = crops.random_affine(
        value, self.size, self.scale, self.shear, self.rotate, self.pad, rng
      )
    else:
      value = crops.resize(value, self.size)
    if self.flip and rng.random() < 0.5:
      value = value[:, ::-1]
    layers, magnitude = self.randaugment
    if layers:
      value = randaugment.augment(value, layers, magnitude, rng)
    return value

  def evaluate(self, value: np.ndarray) -> UInt8[np.ndarray, 'h w c']:
    """The centre of the image."""
    self._check_value(value)
    return crops.centre_crop(value, self.size, self.eval_crop)

  def show(self, value: np.ndarray) -> UInt8[np.ndarray, 'h w c']:
    """The picture that the encoder sees."""
    return self.evaluate(value)

  def on_device(
    self, arrays: UInt8[Array, 'b h w c']
  ) -> Float[Array, 'b h w c']:
    """(x / 255 - mean) / std per channel."""
    pixels = arrays.astype(jnp.float32) / 255
    return (pixels - jnp.asarray(self.mean)) / jnp.asarray(self.std)

  def mix(
    self,
    arrays: Float[Array, 'b h w c'],
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
    mixed = share * arrays + (1 - share) * jnp.roll(arrays, 1, axis=0)
    pairs = jnp.stack([labels, jnp.roll(labels, 1)], axis=1)
    shares = jnp.broadcast_to(jnp.stack([share, 1 - share]), pairs.shape)
    return mixed, pairs, shares

  def draw_map(
    self, scores: Float[Array, 'g b n'], grid: tuple[int, int]
  ) -> Float[Array, 'g b h w']:
    """Scores of the patches of a grid as maps of pixels in [0, 1].

    The positive scores, drawn out to the image, each map over its own
    maximum; 0 everywhere where no score is positive.
    """
    maps = jnp.maximum(scores, 0).reshape(*scores.shape[:2], *grid)
    maps = jax.image.resize(maps, (*maps.shape[:2], *self.size), 'bilinear')
    most = jnp.max(maps, axis=(-2, -1), keepdims=True)
    return jnp.where(most > 0, maps / jnp.where(most > 0, most, 1), 0)
