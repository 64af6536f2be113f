"""`digits`: 1,797 real handwritten digits that ship inside scikit-learn."""

import numpy as np

from mrl_jax.data import source


class MrlDigits(source.ArrayBuilder, skip_registration=True):
  """8x8 grey images of ten digits, from the UCI optical digits test set.

  Every fifth image (360) is held out as `test`, the other 1,437 are `train`.
  """

  name = 'mrl_digits'
  SHAPE = (8, 8, 1)
  CLASSES = [str(digit) for digit in range(10)]
  HOMEPAGE = 'https://archive.ics.uci.edu/dataset/80'


def read() -> dict:
  """(images, labels) by split, every fifth held out."""
  from sklearn.datasets import load_digits

  bundle = load_digits()
  # 17 grey levels, 0 to 16, stretched to bytes without loss.
  images = (bundle.images[..., None] * 15).astype(np.uint8)
  held_out = np.arange(len(images)) % 5 == 0
  return {
    'train': (images[~held_out], bundle.target[~held_out]),
    'test': (images[held_out], bundle.target[held_out]),
  }


def load(data_dir: str = '') -> source.Split:
  """The digits of scikit-learn, prepared on first use."""
  return source.load_built(MrlDigits, data_dir, read)
