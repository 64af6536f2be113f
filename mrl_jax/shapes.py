"""jaxtyping names used in signatures, and what each dimension letter means."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Key, PyTree, Shaped, UInt8

# Functions of JAX take arrays of NumPy as they are.
Array = jax.Array | np.ndarray

__all__ = [
  'Array',
  'Bool',
  'Float',
  'Int',
  'Key',
  'PyTree',
  'Shaped',
  'UInt8',
  'height_width',
  'LETTERS',
]

LETTERS = {
  'b': 'examples in a batch',
  'h w c': 'image height, width, channels',
  'n': 'tokens of one example',
  'l': 'layers of an encoder',
  'd': 'full embedding width',
  'm': 'width of one prefix',
  'g': 'number of prefixes (granularities)',
  'k': 'neighbours kept per query',
  'q': 'queries',
  'r': 'database rows',
  'v': 'classes or vocabulary entries',
}


def height_width(size: int | Sequence[int], name: str) -> tuple[int, int]:
  """(height, width) of a number of pixels or of two.

  Raises:
    ValueError: for anything else; `name` is said to be wrong.
  """
  sizes = (size, size) if isinstance(size, int) else tuple(size)
  if len(sizes) != 2 or not all(isinstance(s, int) and s > 0 for s in sizes):
    raise ValueError(f'{name}={size} must be a number of pixels or a pair')
  return sizes
