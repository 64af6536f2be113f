"""RandAugment (arXiv:1909.13719): random operations of one magnitude."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GREY = 128
MAX_MAGNITUDE = 10.0  # of the paper's scale
# Larger magnitudes move pixels further, up to these limits: two operations in
# a row leave a part of the image. Operations on colours stay at the maximum,
# beyond which they would invert or blacken.
MAX_TURN = 90.0  # degrees
MAX_SHEAR = 0.6
MAX_SHIFT = 0.45  # of a side
MAX_SQUARE = 0.5  # of the short side


def affine(image: Image.Image, a, b, c, d, e, f) -> Image.Image:
  """(x, y) of the result shows (ax + by + c, dx + ey + f), grey outside."""
  fill = GREY if image.mode == 'L' else (GREY,) * 3
  return image.transform(
    image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), fillcolor=fill
  )


def solarise_add(image: Image.Image, amount: float) -> Image.Image:
  """Pixels below 128, `amount` brighter."""
  return image.point(lambda v: min(255, v + int(amount)) if v < 128 else v)


def cutout(image: Image.Image, side: float, rng) -> Image.Image:
  """The image with a grey square at a random place."""
  pixels = np.array(image)
  y, x = rng.integers(pixels.shape[0]), rng.integers(pixels.shape[1])
  half = int(side / 2)
  pixels[max(0, y - half) : y + half, max(0, x - half) : x + half] = GREY
  return Image.fromarray(pixels)


def _enhance(kind):
  # Strength m moves the factor away from 1, either way, and never below 0.1.
  return lambda image, m, sign, rng: kind(image).enhance(
    1 + sign * 0.9 * min(m, 1)
  )


def translate(image, m, sign, horizontal: bool):
  """Moved by m * 100 / 331 of a side, the paper's 100 pixels of 331."""
  side = image.size[0] if horizontal else image.size[1]
  shift = sign * min(m * 100 / 331, MAX_SHIFT) * side
  x, y = (shift, 0) if horizontal else (0, shift)
  return affine(image, 1, 0, x, 0, 1, y)


def shear(image, x: float, y: float):
  """Rows moved by 0.3 `x` of their height, columns by 0.3 `y`."""
  x, y = np.clip([0.3 * x, 0.3 * y], -MAX_SHEAR, MAX_SHEAR)
  return affine(image, 1, x, 0, y, 1, 0)


# name -> f(image, m >= 0, sign in (-1, 1), rng)
OPERATIONS = {
  'autocontrast': lambda i, m, s, rng: ImageOps.autocontrast(i),
  'equalize': lambda i, m, s, rng: ImageOps.equalize(i),
  'invert': lambda i, m, s, rng: ImageOps.invert(i),
  'rotate': lambda i, m, s, rng: i.rotate(
    s * min(30 * m, MAX_TURN), fillcolor=GREY if i.mode == 'L' else (GREY,) * 3
  ),
  'posterize': lambda i, m, s, rng: ImageOps.posterize(
    i, 8 - int(4 * min(m, 1))
  ),
  'solarize': lambda i, m, s, rng: ImageOps.solarize(
    i, 256 - int(256 * min(m, 1))
  ),
  'solarize_add': lambda i, m, s, rng: solarise_add(i, 110 * min(m, 1)),
  'color': _enhance(ImageEnhance.Color),
  'contrast': _enhance(ImageEnhance.Contrast),
  'brightness': _enhance(ImageEnhance.Brightness),
  'sharpness': _enhance(ImageEnhance.Sharpness),
  'shear_x': lambda i, m, s, rng: shear(i, s * m, 0),
  'shear_y': lambda i, m, s, rng: shear(i, 0, s * m),
  'translate_x': lambda i, m, s, rng: translate(i, m, s, True),
  'translate_y': lambda i, m, s, rng: translate(i, m, s, False),
  'cutout': lambda i, m, s, rng: cutout(
    i, min(80 / 331 * m, MAX_SQUARE) * min(i.size), rng
  ),
}


def augment(
  image: np.ndarray, layers: int, magnitude: float, rng: np.random.Generator
) -> np.ndarray:
  """`layers` random operations in a row on a uint8 image [h w c]."""
  shape = image.shape
  picture = Image.fromarray(
    np.ascontiguousarray(image).squeeze(-1)
    if shape[-1] == 1
    else np.ascontiguousarray(image)
  )
  names = list(OPERATIONS)
  for _ in range(layers):
    operation = OPERATIONS[names[rng.integers(len(names))]]
    sign = 1 if rng.random() < 0.5 else -1
    picture = operation(picture, magnitude / MAX_MAGNITUDE, sign, rng)
  return np.asarray(picture).reshape(shape)
