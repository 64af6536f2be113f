"""Crops against SciPy and drawings made by hand."""

import numpy as np
import pytest
from scipy import ndimage

from mrl_jax.inputs import crops, image


class Most(np.random.Generator):
  """A generator that always draws the top of a range."""

  def __init__(self):
    super().__init__(np.random.PCG64(0))

  def uniform(self, low, high, size=None):
    return high if size is None else np.full(size, float(high))


def affine(pixels, scale=1.0, shear=0.0, rotate=0.0, pad=0, size=None):
  size = size or pixels.shape[:2]
  return crops.random_affine(
    pixels, size, (scale, scale), shear, rotate, pad, Most()
  )


def test_an_affine_crop_of_nothing_is_the_image(photos):
  np.testing.assert_array_equal(affine(photos[0]), photos[0])
  grey = photos[0][:, :20, :1]
  np.testing.assert_array_equal(affine(grey), grey)


@pytest.mark.parametrize(
  'options',
  [
    dict(rotate=30.0),
    dict(rotate=90.0),
    dict(shear=0.4),
    dict(scale=1.5),
    dict(scale=0.7),
    dict(pad=3),
    dict(scale=1.2, shear=0.2, rotate=20.0, pad=2),
  ],
)
def test_affine_crops_are_scipys(photos, options):
  """Output pixel centres looked up in the input, bilinear."""
  smooth = ndimage.gaussian_filter(photos[0][..., 0].astype(float), 2)
  pixels = smooth.astype(np.uint8)[:, :24, None]
  height, width = pixels.shape[:2]
  angle = np.radians(options.get('rotate', 0))
  turn = np.array(
    [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
  )
  matrix = turn @ [[1, options.get('shear', 0)], [0, 1]]  # of (x, y)
  matrix = matrix / options.get('scale', 1)
  centre = np.array([width, height]) / 2 - 0.5  # SciPy counts from centres
  offset = centre - matrix @ (centre + options.get('pad', 0))
  expected = ndimage.affine_transform(
    pixels[..., 0].astype(float), matrix[::-1, ::-1], offset[::-1], order=1
  )
  inside = ndimage.affine_transform(
    np.ones((height, width)), matrix[::-1, ::-1], offset[::-1], order=1
  )
  inside = ndimage.binary_erosion(inside > 0.999, border_value=1)
  assert inside.sum() > 100
  # Pillow steps along a row in fixed point and rounds to whole levels.
  out = affine(pixels, **options)[..., 0]
  assert np.abs(out - expected)[inside].max() <= 2


def test_directions_by_hand():
  """A point right of the centre: turned, moved; a post that leans."""
  dot = np.zeros((21, 21, 1), np.uint8)
  dot[10, 16] = 255
  turned = affine(dot, rotate=90.0)[..., 0]
  assert np.unravel_index(turned.argmax(), turned.shape) == (16, 10)
  moved = affine(dot, pad=3)[..., 0]
  assert moved[13, 19] == 255
  post = np.zeros((21, 21, 1), np.uint8)
  post[:, 10] = 255
  leaning = affine(post, shear=0.5)[..., 0]
  assert leaning[2].argmax() > 10 > leaning[18].argmax()


def test_affine_crops_of_a_constant_image_stay_inside():
  rng = np.random.default_rng(0)
  pixels = np.full((20, 24, 3), 200, np.uint8)
  for _ in range(50):
    out = crops.random_affine(pixels, (16, 28), (0.5, 2), 0.5, 90, 6, rng)
    assert out.shape == (16, 28, 3) and out.dtype == np.uint8
    assert out.max() <= 200
  larger = crops.random_affine(pixels, (20, 24), (2, 2), 0.1, 5, 1, rng)
  assert (larger == 200).all()


@pytest.mark.parametrize('side', [56, 62, 63, 64, 65, 66, 72, 128])
def test_evaluation_crops_all_sizes_by_one_rule(side):
  """A white frame of a sixteenth is cut away, whatever the size."""
  pixels = np.full((side, side, 3), 255, np.uint8)
  border = side // 16
  pixels[border:-border, border:-border] = 0
  part = image.Image(64, eval_crop=0.8, channels=3).evaluate(pixels)
  assert not part.any()
  whole = image.Image(64, channels=3).evaluate(pixels)
  assert whole[0].min() > 128 and whole[:, -1].min() > 128
