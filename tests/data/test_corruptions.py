"""Corruptions: shapes, repeatability, severity, and what each one keeps."""

import numpy as np
import pytest

from mrl_jax.data import corruptions

NAMES = list(corruptions.CORRUPTIONS)


def photo(photos, side, channels, index=100):
  """A photo's patch of real pixels at another size."""
  image = corruptions.resized(photos[index], side, side)
  return image if channels == 3 else image[..., :1].copy()


def spoil(image, name, severity, index=0):
  return corruptions.corrupt(image, name, severity, index)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(('side', 'channels'), [(8, 1), (28, 1), (64, 3)])
def test_any_size_keeps_its_shape_and_repeats(photos, name, side, channels):
  image = photo(photos, side, channels)
  before = image.copy()
  for severity in corruptions.SEVERITIES:
    found = spoil(image, name, severity, 7)
    assert found.shape == image.shape and found.dtype == np.uint8
    assert (found != image).any()
    np.testing.assert_array_equal(found, spoil(image, name, severity, 7))
  np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('name', NAMES)
def test_a_large_image_that_is_not_square(photos, name):
  image = np.tile(photos[100], (7, 5, 1))
  found = spoil(image, name, 5)
  assert found.shape == (224, 160, 3) and (found != image).any()


@pytest.mark.parametrize('side', [8, 28, 96])
@pytest.mark.parametrize('name', NAMES)
def test_a_higher_severity_is_farther_from_the_image(photos, name, side):
  errors = []
  for severity in corruptions.SEVERITIES:
    error = 0
    for index in range(12):
      image = photo(photos, side, 3, 90 + index)
      found = spoil(image, name, severity, index)
      error += np.mean((found / 255 - image / 255) ** 2)
    errors.append(error)
  assert errors == sorted(errors) and errors[4] > 1.3 * errors[0], errors


RANDOM = (
  'gaussian_noise shot_noise impulse_noise motion_blur fog elastic translate'
).split()


@pytest.mark.parametrize('name', NAMES)
def test_randomness_goes_with_the_index(photos, name):
  image = photo(photos, 32, 3)
  found = [spoil(image, name, 3, index) for index in range(9)]
  differ = any((found[0] != other).any() for other in found)
  assert differ == (name in RANDOM or name == 'rotate')


def test_randomness_goes_with_name_severity_and_index(monkeypatch):
  draws = []

  def note(image, severity, rng):
    draws.append(float(rng.random()))
    return image

  for name in ('fog', 'jpeg'):
    monkeypatch.setitem(corruptions.CORRUPTIONS, name, note)
    for severity in (1, 2):
      for index in (0, 1):
        spoil(np.zeros((4, 4, 1), np.uint8), name, severity, index)
  assert len(set(draws)) == 8


BLURS = ['gaussian_blur', 'defocus_blur', 'motion_blur', 'zoom_blur']


@pytest.mark.parametrize('name', [*BLURS, 'elastic', 'rotate', 'translate'])
def test_what_only_moves_pixels_keeps_a_flat_image(name):
  flat = np.full((28, 28, 3), (10, 120, 250), np.uint8)
  assert np.abs(spoil(flat, name, 5).astype(int) - flat).max() <= 1


@pytest.mark.parametrize('name', BLURS[:3])
def test_blurs_keep_the_light_of_a_point(name):
  point = np.zeros((33, 33, 1), np.uint8)
  point[16, 16] = 255
  point[15:18, 15:18] = 255
  found = spoil(point, name, 3).astype(float)
  assert abs(found.sum() / (9 * 255) - 1) < 0.03  # rounded to bytes
  y, x = np.mgrid[:33, :33]
  for axis in (y, x):
    assert abs((found[..., 0] * axis).sum() / found.sum() - 16) < 0.3


def test_gaussian_noise_has_its_deviation():
  grey = np.full((200, 200, 1), 128, np.uint8)
  found = spoil(grey, 'gaussian_noise', 2) / 255
  assert abs(found.std() - 0.10) < 0.002
  assert abs(found.mean() - 128 / 255) < 0.002


def test_shot_noise_varies_as_its_mean():
  grey = np.full((200, 200, 1), 51, np.uint8)
  found = spoil(grey, 'shot_noise', 1) / 255
  assert abs(found.var() - 0.2 / 80) < 1e-4


def test_impulses_hit_their_share():
  grey = np.full((200, 200, 1), 128, np.uint8)
  found = spoil(grey, 'impulse_noise', 4)
  assert set(np.unique(found)) == {0, 128, 255}
  assert abs((found != 128).mean() - 0.17) < 0.006
  assert abs((found == 255).mean() - 0.085) < 0.006


def test_contrast_and_brightness_by_hand():
  image = np.array([[[0], [100]], [[200], [100]]], np.uint8)
  np.testing.assert_array_equal(
    spoil(image, 'contrast', 3)[..., 0], [[60, 100], [140, 100]]
  )
  np.testing.assert_array_equal(
    spoil(image, 'brightness', 2)[..., 0], [[51, 151], [251, 151]]
  )
  assert spoil(image, 'brightness', 5).max() == 255


def test_pixelate_leaves_blocks(photos):
  found = spoil(photo(photos, 20, 3), 'pixelate', 2)
  np.testing.assert_array_equal(found[::2, ::2], found[1::2, 1::2])


def test_a_turn_brings_a_corner_where_it_belongs():
  image = np.zeros((65, 65, 1), np.uint8)
  image[30:35, 55:60] = 255
  found = spoil(image, 'rotate', 3)[..., 0].astype(float)
  y, x = (
    (found * axis).sum() / found.sum() - 32 for axis in np.mgrid[:65, :65]
  )
  assert abs(np.hypot(y, x) - 25) < 0.2
  assert abs(abs(np.degrees(np.arctan2(y, x))) - 20) < 0.5


def test_a_move_is_as_long_as_said():
  image = np.zeros((64, 64, 1), np.uint8)
  image[29:35, 29:35] = 255
  found = spoil(image, 'translate', 4)[..., 0].astype(float)
  y, x = (
    (found * axis).sum() / found.sum() - 31.5 for axis in np.mgrid[:64, :64]
  )
  assert abs(np.hypot(y, x) - 0.18 * 64) < 0.1


def test_corrupted_examples_are_seeded_by_their_place_in_the_split(photos):
  images, rows = photos[:4], np.array([5, 9, 700, 70_001])
  seen = corruptions.Corrupted(images, [1, 2, 3, 4], rows, 'fog', 2)
  assert len(seen) == 4 and seen[2]['label'] == 3
  np.testing.assert_array_equal(
    seen[3]['image'], spoil(images[3], 'fog', 2, 70_001)
  )
