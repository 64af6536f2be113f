"""Stored codes: what they stand for, and how many bytes they take."""

import ml_dtypes
import numpy as np
import pytest

from mrl_jax import nested
from mrl_jax.embed import quantise


def rows(n=400, seed=0, width=16):
  rng = np.random.default_rng(seed)
  scale = 0.9 ** np.arange(width)
  return (rng.normal(size=(n, width)) * scale + 0.2).astype(np.float32)


def calibrated(z, **options):
  z = nested.unit(z)
  return z, quantise.measure(z, **options)


@pytest.mark.parametrize('kind', quantise.PRECISIONS)
def test_codes_of_a_prefix_are_the_prefix_of_the_codes(kind):
  z, by = calibrated(rows())
  whole = quantise.decode(quantise.encode(z, kind, by), kind, by, 16)
  for m in (1, 7, 8, 9, 16):
    codes = quantise.encode(z[:, :m], kind, by)
    assert codes.nbytes == len(z) * quantise.vector_bytes(kind, m)
    np.testing.assert_array_equal(
      quantise.decode(codes, kind, by, m), whole[:, :m]
    )


def test_codes_are_near_what_they_stand_for():
  z, by = calibrated(rows(), clip=0.0)
  for kind, relative, absolute in (
    ('float32', 0, 0),
    ('float16', 2**-11, 1e-7),
    ('float8', 2**-4, by.largest / 240 * 2**-10),
    ('int8', 0, by.step / 2 + 1e-7),
  ):
    back = quantise.decode(quantise.encode(z, kind, by), kind, by, 16)
    assert (np.abs(back - z) <= relative * np.abs(z) + absolute).all(), kind
  codes = quantise.encode(z, 'int8', by)
  assert codes.min() == -128 and codes.max() == 127


def test_values_beyond_the_range_are_clipped_and_never_wrap():
  z, by = calibrated(rows(), clip=0.01)
  far = np.concatenate([z + 50, z - 50, z * 1e6])
  codes = quantise.encode(far, 'int8', by)
  assert (codes[:400] == 127).all() and (codes[400:800] == -128).all()
  eight = quantise.encode(far, 'float8', by)
  assert eight.dtype == ml_dtypes.float8_e4m3fn
  assert np.isfinite(eight.astype(np.float32)).all()
  outside = (z > by.high) | (z < by.low)
  assert 0.01 < outside.mean() < 0.03


def test_zero_rows_and_constant_coordinates():
  z = np.zeros((5, 4), np.float32)
  z[1:, 0] = 2
  z, by = calibrated(z, centre='zero')
  for kind in quantise.PRECISIONS[:-1]:
    back = quantise.decode(quantise.encode(z, kind, by), kind, by, 4)
    np.testing.assert_allclose(back, z, atol=0.01)


def test_bits_are_packed_row_by_row_and_distances_are_products():
  z, by = calibrated(rows(50))
  for m in (1, 7, 9, 16):
    codes = quantise.encode(z[:, :m], 'binary', by)
    bits = z[:, :m] > z.mean(axis=0)[:m]
    assert codes.shape == (50, -(-m // 8))
    for row, code in zip(bits, codes):
      text = ''.join(f'{byte:08b}' for byte in code)
      assert text == ''.join(map(str, row.astype(int))).ljust(len(text), '0')
    signs = quantise.decode(codes, 'binary', by, m)
    expected = (bits[:, None] != bits[None]).sum(axis=-1)
    np.testing.assert_array_equal(signs @ signs.T, m - 2 * expected)
  around_zero = quantise.measure(z, centre='zero')
  codes = quantise.encode(z, 'binary', around_zero)
  np.testing.assert_array_equal(np.unpackbits(codes, axis=1), z > 0)
