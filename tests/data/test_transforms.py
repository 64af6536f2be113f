"""Transforms of images, by hand and on real pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mrl_jax.data import randaugment, transforms


def test_normalise_and_mixup_by_hand():
  images = jnp.asarray([[[[0, 255]]], [[[255, 0]]]], jnp.uint8)
  x = transforms.normalise(images, (0.5, 0.0), (0.5, 2.0))
  np.testing.assert_allclose(x[:, 0, 0], [[-1, 0.5], [1, 0]])
  mixed, labels, shares = transforms.mixup(
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
    out = transforms.pad_crop(photos[0], (32, 32), 2, rng)
    padded = np.pad(photos[0], ((2, 2), (2, 2), (0, 0)))
    assert any(
      np.array_equal(out, padded[y : y + 32, x : x + 32])
      for y in range(5)
      for x in range(5)
    )


def test_crops_have_the_size_and_stay_inside(photos):
  rng = np.random.default_rng(0)
  wide = np.concatenate([photos[0], photos[1]], axis=1)
  for image in (wide, wide.transpose(1, 0, 2), wide[..., :1]):
    for size in ((16, 24), (48, 48)):
      out = transforms.random_resized_crop(image, size, (0.05, 1.0), rng)
      assert out.shape == (*size, image.shape[-1]) and out.dtype == np.uint8
      assert out.min() >= image.min() and out.max() <= image.max()


def test_centre_crop_takes_the_centre():
  image = np.zeros((64, 96, 1), np.uint8)
  image[4:60, 20:76] = 200  # the centred 56 of 64: share 0.875
  out = transforms.centre_crop(image, (28, 28), 0.875)
  assert out.shape == (28, 28, 1)
  assert (out[1:-1, 1:-1] == 200).all()  # the resize blends at the rim
  assert transforms.centre_crop(image, (64, 96), 0.5) is image


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', randaugment.OPERATIONS)
def test_every_randaugment_operation(photos, name, channels):
  picture = photos[-1][..., :channels]  # dark and bright pixels
  image = Image.fromarray(picture.squeeze())
  rng = np.random.default_rng(0)
  operation = randaugment.OPERATIONS[name]
  out = np.asarray(operation(image, 1.0, 1, rng))
  assert out.shape == picture.squeeze().shape and out.dtype == np.uint8
  if not (name == 'color' and channels == 1):
    assert not np.array_equal(out, picture.squeeze())


def test_train_transform_is_a_function_of_its_generator(photos):
  transform = transforms.make_train_transform(
    (32, 32), 'random_resized', flip=True, randaugment_layers=2
  )
  a, b, c = (transform(photos[0], np.random.default_rng(s)) for s in (0, 0, 1))
  np.testing.assert_array_equal(a, b)
  assert not np.array_equal(a, c)
  with pytest.raises(ValueError, match="crop='centre'"):
    transforms.make_train_transform((8, 8), 'centre')
  with pytest.raises(ValueError, match='scale'):
    transforms.make_train_transform((8, 8), scale=(0.5, 2))
