"""Cosines of the two sides of pairs, at all dims in one pass."""

from collections.abc import Callable, Sequence

import numpy as np

from mrl_jax import nested
from mrl_jax.embed.scored import Scored
from mrl_jax.shapes import Float, Int

PAIRS_AT_ONCE = 4096
DIGITS = 13  # that tell cosines apart; the rest is rounding of equal ones


def of_pairs(
  pairs: Scored, dims: Sequence[int], kept: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, 'g p']:
  """The cosine of each pair at each dim; 0 where a prefix is zero.

  Args:
    kept: rows [b d] -> what is kept of them, [b d], of which prefixes are
      compared.
  """
  out = np.empty((len(dims), len(pairs)))
  for start in range(0, len(pairs), PAIRS_AT_ONCE):
    span = slice(start, start + PAIRS_AT_ONCE)
    left, right = (
      nested.unit(np.asarray(kept(side.embeddings[span]), np.float64))
      for side in (pairs.first, pairs.second)
    )
    both = _prefix_sums(left * right, dims)
    squares = _prefix_sums(left**2, dims) * _prefix_sums(right**2, dims)
    out[:, span] = both / np.sqrt(squares + nested.EPSILON**2)
  return np.round(np.clip(out, -1, 1), DIGITS)


def _prefix_sums(
  values: Float[np.ndarray, 'b d'], dims: Sequence[int]
) -> Float[np.ndarray, 'g b']:
  """The sum of the first m of each row, for every m."""
  parts = np.add.reduceat(values, [0, *dims[:-1]], axis=1)
  return np.cumsum(parts, axis=1).T


def distinct(
  pairs: Scored, among: Int[np.ndarray, 'n'] | slice = slice(None)
) -> Float[np.ndarray, 'r d']:
  """The rows of both sides of some pairs, each once."""
  sides = [np.asarray(side.embeddings[among]) for side in _sides(pairs)]
  every = np.concatenate(sides).astype(np.float32)
  first = {row.tobytes(): i for i, row in reversed([*enumerate(every)])}
  return every[sorted(first.values())]


def _sides(pairs: Scored):
  return pairs.first, pairs.second
