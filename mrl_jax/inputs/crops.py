"""Parts of an image, resized: uint8 [h w c] in and out, on the host."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

CROPS = ('none', 'pad', 'random_resized', 'affine')


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
  scale: Sequence[float],
  rng: np.random.Generator,
  ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
  """A random part of area `scale` and aspect `ratio` (arXiv:1409.4842).

  Ten tries, then the largest centred part of an allowed aspect.
  """
  height, width = image.shape[:2]
  for _ in range(10):
    area = rng.uniform(scale[0], scale[1]) * height * width
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


def random_affine(
  image,
  size,
  scale: Sequence[float],
  shear: float,
  rotate: float,
  pad: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """The whole image, stretched, sheared, rotated and moved about its centre.

  Each side is stretched by a number of its own within `scale`, the height is
  sheared by up to `shear` of a length, all is turned by up to `rotate` degrees
  and moved by up to `pad` pixels. What comes from outside is 0.
  """
  image = resize(image, size)
  stretch = rng.uniform(scale[0], scale[1], 2)
  angle = np.radians(rng.uniform(-rotate, rotate))
  cos, sin, lean = np.cos(angle), np.sin(angle), rng.uniform(-shear, shear)
  # From pixels of the result to those of the image.
  turn = np.array([[cos, sin], [-sin, cos]]) @ [[1, lean], [0, 1]]
  matrix = turn / stretch[:, None]
  centre = np.array([size[1], size[0]]) / 2
  offset = centre - matrix @ (centre + rng.uniform(-pad, pad, 2))
  (a, b), (d, e) = matrix
  picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
  picture = picture.transform(
    (size[1], size[0]),
    Image.Transform.AFFINE,
    (a, b, offset[0], d, e, offset[1]),
    Image.Resampling.BILINEAR,
  )
  return np.asarray(picture).reshape(*size, image.shape[-1])


def centre_crop(image, size: tuple[int, int], share: float) -> np.ndarray:
  """The centred part that, at 1/`share` of `size`, covers the short side.

  One rule for images of every size, that of the encoder too. share=0.875 with
  size 224 is the usual "resize to 256, crop 224"; share=1 keeps the whole
  short side.
  """
  height, width = image.shape[:2]
  if share == 1 and (height, width) == tuple(size):
    return image
  scale = min(height / size[0], width / size[1]) * share
  h, w = size[0] * scale, size[1] * scale
  top, left = (height - h) / 2, (width - w) / 2
  return resize(image, size, (left, top, left + w, top + h))
