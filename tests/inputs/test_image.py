"""Transforms of images, by hand and on real pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mrl_jax.inputs import crops, image, randaugment


def test_scaling_and_mixup_by_hand():
  pixels = jnp.asarray([[[[0, 255]]], [[[255, 0]]]], jnp.uint8)
  field = image.Image(1, mean=(0.5, 0.0), std=(0.5, 2.0), channels=2)
  x = field.on_device(pixels)
  np.testing.assert_allclose(x[:, 0, 0], [[-1, 0.5], [1, 0]])
  mixed, labels, shares = field.mix(
    x, jnp.asarray([3, 7]), 0.5, jax.random.key(0)
  )
  np.testing.assert_array_equal(labels, [[3, 7], [7, 3]])
  share = float(shares[0, 0])
  assert 0.5 <= share < 1
  np.testing.assert_allclose(mixed[0], share * x[0] + (1 - share) * x[1])
  np.testing.assert_allclose(shares.sum(1), 1)


def test_pad_crop_only_shifts(photos):
  rng = np.random.default_rng(0)
  for _ in range(20):
    out = crops.pad_crop(photos[0], (32, 32), 2, rng)
    padded = np.pad(photos[0], ((2, 2), (2, 2), (0, 0)))
    assert any(
      np.array_equal(out, padded[y : y + 32, x : x + 32])
      for y in range(5)
      for x in range(5)
    )


def test_crops_have_the_size_and_stay_inside(photos):
  rng = np.random.default_rng(0)
  wide = np.concatenate([photos[0], photos[1]], axis=1)
  for photo in (wide, wide.transpose(1, 0, 2), wide[..., :1]):
    for size in ((16, 24), (48, 48)):
      out = crops.random_resized_crop(photo, size, (0.05, 1.0), rng)
      assert out.shape == (*size, photo.shape[-1]) and out.dtype == np.uint8
      assert out.min() >= photo.min() and out.max() <= photo.max()


def test_centre_crop_takes_the_centre():
  pixels = np.zeros((64, 96, 1), np.uint8)
  pixels[4:60, 20:76] = 200  # the centred 56 of 64: share 0.875
  out = crops.centre_crop(pixels, (28, 28), 0.875)
  assert out.shape == (28, 28, 1)
  assert (out[1:-1, 1:-1] == 200).all()  # the resize blends at the rim
  assert crops.centre_crop(pixels, (64, 96), 1) is pixels
  inner = crops.centre_crop(pixels, (64, 96), 0.75)
  np.testing.assert_array_equal(
    inner, crops.resize(pixels, (64, 96), (12, 8, 84, 56))
  )


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', randaugment.OPERATIONS)
def test_every_randaugment_operation(photos, name, channels):
  picture = photos[-1][..., :channels]  # dark and bright pixels
  opened = Image.fromarray(picture.squeeze())
  rng = np.random.default_rng(0)
  operation = randaugment.OPERATIONS[name]
  out = np.asarray(operation(opened, 1.0, 1, rng))
  assert out.shape == picture.squeeze().shape and out.dtype == np.uint8
  if not (name == 'color' and channels == 1):
    assert not np.array_equal(out, picture.squeeze())


@pytest.mark.parametrize('magnitude', [5, 10, 12, 20, 60])
def test_randaugment_never_leaves_one_colour(magnitude):
  y, x = np.mgrid[:64, :64]
  pixels = np.stack([x * 4, y * 4, (x + y) * 2], -1).astype(np.uint8)
  for seed in range(500):
    rng = np.random.default_rng(seed)
    out = randaugment.augment(pixels, 2, magnitude, rng)
    assert len(np.unique(out.reshape(-1, 3), axis=0)) > 1, seed


@pytest.mark.parametrize('m', [1.0, 1.2, 2.0, 6.0])
@pytest.mark.parametrize('sign', [-1, 1])
@pytest.mark.parametrize('name', randaugment.OPERATIONS)
def test_beyond_the_maximum_colours_stay_and_pixels_move(photos, name, sign, m):
  opened = Image.fromarray(photos[-1])
  operation = randaugment.OPERATIONS[name]
  out, most = (
    np.asarray(operation(opened, strength, sign, np.random.default_rng(0)))
    for strength in (m, 1.0)
  )
  moving = ('rotate', 'shear', 'translate', 'cutout')
  if not name.startswith(moving):
    np.testing.assert_array_equal(out, most)
  elif m == 2:
    assert not np.array_equal(out, most)


def test_a_training_image_is_a_function_of_its_generator(photos):
  field = image.Image(
    32, 'random_resized', flip=True, randaugment_layers=2, channels=3
  )
  a, b, c = (
    field.train(photos[0], np.random.default_rng(s)) for s in (0, 0, 1)
  )
  np.testing.assert_array_equal(a, b)
  assert not np.array_equal(a, c)
  assert a.shape == field.shape.shape and a.dtype == field.shape.dtype
  np.testing.assert_array_equal(field.evaluate(photos[0]), photos[0])


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (dict(crop='centre'), "crop='centre' is not one of none, pad"),
    (dict(scale=(0.5, 2)), r'scale=\(0.5, 2\) must be two numbers'),
    (dict(eval_crop=0), r'eval_crop=0 must be in \(0, 1\]'),
    (dict(randaugment_magnitude=-1), 'randaugment_magnitude=-1 must be at'),
    (dict(mean=(0.1, 0.2)), r'mean=\(0.1, 0.2\) must be 3 numbers'),
    (dict(std=(0.0,)), r'std=\(0.0,\) must be 3 numbers above 0'),
    (dict(size=0), 'size=0 must be a number of pixels or a pair'),
  ],
)
def test_options_out_of_range_are_named(options, said):
  with pytest.raises(ValueError, match=said):
    image.Image(**options, channels=3)


def test_maps_are_drawn_out_to_the_image():
  """One warm patch of four: 1 in its corner, 0 far away; no warmth, all 0."""
  field = image.Image(8, channels=1)
  scores = jnp.asarray([[[-1.0, 0, 0, 5]], [[-1, -2, 0, 0]]])
  maps = field.draw_map(scores, (2, 2))
  assert maps.shape == (2, 1, 8, 8)
  assert float(maps[0, 0, -1, -1]) == 1 and float(maps[0, 0, 0, 0]) == 0
  assert not maps[1].any()
