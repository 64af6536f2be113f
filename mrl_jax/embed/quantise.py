"""Embeddings in fewer bytes: float16, float8, int8 and one bit a dimension.

Rows have length 1 at full width (nested.unit). Every code belongs to one
coordinate, so the codes of a prefix are the prefix of the codes: one store
serves all dims, and what is cut is cut before bits are packed.
"""

import dataclasses

import ml_dtypes
import numpy as np

from mrl_jax.shapes import Float

PRECISIONS = ('float32', 'float16', 'float8', 'int8', 'binary')
LEVELS = 255  # int8 codes -128 to 127
FLOAT8 = ml_dtypes.float8_e4m3fn
FLOAT8_AIM = 240.0  # the calibrated maximum lands here, below the largest 448
FLOAT8_LARGEST = 448.0
SMALLEST = 1e-12  # range of rows that are all zero


@dataclasses.dataclass(frozen=True)
class Ranges:
  """What a store keeps once, whatever its number of rows.

  Attributes:
    low: of each coordinate, what int8 maps to -128; values below are clipped.
    high: likewise to 127.
    largest: magnitude of all coordinates, for float8.
    centre: what the sign bit is around.
  """

  low: Float[np.ndarray, 'd']
  high: Float[np.ndarray, 'd']
  largest: float
  centre: Float[np.ndarray, 'd']

  @property
  def step(self) -> Float[np.ndarray, 'd']:
    """Of int8; 1 for a constant coordinate."""
    step = (self.high - self.low) / LEVELS
    return np.where(step > 0, step, 1).astype(np.float32)


def measure(
  rows: Float[np.ndarray, 'n d'], clip: float = 0.001, centre: str = 'mean'
) -> Ranges:
  """The ranges of unit rows; `clip` of each end is left out.

  Args:
    centre: of the sign bit: 'mean', or 'zero'.
  """
  check_ranges(clip, centre)
  low, high = np.quantile(rows, (clip, 1 - clip), axis=0).astype(np.float32)
  mean = np.mean(rows, axis=0, dtype=np.float64).astype(np.float32)
  largest = float(max(np.max(np.abs(low)), np.max(np.abs(high)), SMALLEST))
  middle = mean if centre == 'mean' else np.zeros_like(mean)
  return Ranges(low, high, largest, middle)


def encode(
  rows: Float[np.ndarray, 'n m'], precision: str, by: Ranges
) -> np.ndarray:
  """Codes of unit rows, or of a prefix of them; never wraps.

  [n m] of the precision's type; for 'binary' [n ceil(m / 8)] bytes, each row
  filled up to whole bytes with 0 on its own.
  """
  rows, m = np.asarray(rows, np.float32), rows.shape[1]
  if precision == 'float8':
    scaled = rows * np.float32(FLOAT8_AIM / by.largest)
    return np.clip(scaled, -FLOAT8_LARGEST, FLOAT8_LARGEST).astype(FLOAT8)
  if precision == 'int8':
    codes = np.rint((rows - by.low[:m]) / by.step[:m]) - 128
    return np.clip(codes, -128, 127).astype(np.int8)
  if precision == 'binary':
    return np.packbits(rows > by.centre[:m], axis=1)
  return rows.astype(np.dtype(_known(precision)))


def decode(
  codes: np.ndarray, precision: str, by: Ranges, dim: int
) -> Float[np.ndarray, 'n m']:
  """The float32 values that codes of `dim` coordinates stand for.

  Of 'binary' 1 and -1: inner products of m of them are m - 2 * the Hamming
  distance.
  """
  if precision == 'float8':
    return codes.astype(np.float32) * np.float32(by.largest / FLOAT8_AIM)
  if precision == 'int8':
    codes = codes.astype(np.float32) + 128
    return codes * by.step[:dim] + by.low[:dim]
  if precision == 'binary':
    bits = np.unpackbits(codes, axis=1, count=dim)
    return bits.astype(np.float32) * 2 - 1
  _known(precision)
  return codes.astype(np.float32)


def vector_bytes(precision: str, dim: int) -> int:
  """Bytes of one row of codes."""
  if precision == 'binary':
    return -(-dim // 8)
  each = {'float32': 4, 'float16': 2, 'float8': 1, 'int8': 1}
  return each[_known(precision)] * dim


def _known(precision: str) -> str:
  if precision not in PRECISIONS:
    raise ValueError(
      f'precision={precision!r} must be one of {", ".join(PRECISIONS)}'
    )
  return precision


def check_ranges(clip: float, centre: str) -> None:
  """Raises ValueError for what `measure` cannot take."""
  if not 0 <= clip < 0.5:
    raise ValueError(f'clip={clip} must be from 0 to below 0.5')
  if centre not in ('mean', 'zero'):
    raise ValueError(f'centre={centre!r} must be mean or zero')
