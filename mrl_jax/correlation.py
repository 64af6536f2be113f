"""Spearman's and Pearson's correlation as a value per pair, with intervals.

A correlation is not a mean. Each function here gives a value per pair whose
mean is the correlation exactly: the correlation plus the influence of the pair
on it (the infinitesimal jackknife; Efron, 1982). So the deviation of the values
tells that of the correlation, and the difference of two correlations over the
same pairs is the mean of the differences of their values: what is done with
means over queries can be done with them.
"""

import math

import numpy as np
from jaxtyping import Float

from mrl_jax import intervals

FEWEST = 4  # pairs; fewer say nothing of a correlation

Values = Float[np.ndarray, 'p']


def pearson(first: Values, second: Values) -> Values:
  """A value per pair; their mean is Pearson's correlation.

  All are 0 where a side is constant (scipy gives nan).
  """
  u, v = _scaled(first), _scaled(second)
  return _ratio(u * v, u * u, v * v)


def spearman(first: Values, second: Values) -> Values:
  """A value per pair; their mean is Spearman's correlation of mid-ranks.

  Tied numbers have the mean of their ranks. A pair also moves the ranks of
  the others; its influence counts that, in O(p log p). All are 0 where a side
  is constant (scipy gives nan).
  """
  f, g = _Ranked(first), _Ranked(second)
  u, v = f.ranks, g.ranks
  return _ratio(
    u * v + f.moved(v) + g.moved(u),
    u * u + 2 * f.moved(u),
    v * v + 2 * g.moved(v),
  )


def _scaled(values: Values) -> Values:
  """Less their mean, the largest magnitude 1; constant values are zeros."""
  values = np.asarray(values, np.float64)
  if not len(values) or np.all(values == values[0]):
    return np.zeros(len(values))
  values = values / np.max(np.abs(values))
  values = values - values.mean()
  return values / np.max(np.abs(values))


class _Ranked:
  """One side of the pairs.

  Attributes:
    ranks: mid-ranks as shares of p, less their mean 1/2: the mean over all
      pairs of 1/2 for each that is below, -1/2 for each that is above.
  """

  def __init__(self, values: Values):
    _, self.group, counts = np.unique(
      values, return_inverse=True, return_counts=True
    )
    middle = np.cumsum(counts) - counts / 2
    self.ranks = (middle / max(len(values), 1) - 0.5)[self.group]

  def moved(self, weights: Values) -> Values:
    """By how much each pair, being one of all, moves mean(ranks * weights).

    `weights` sum to 0. The mean over pairs j of weight_j for each j above,
    half of it for each that is level; then less its mean.
    """
    sums = np.bincount(self.group, weights)
    above = (sums / 2 - np.cumsum(sums))[self.group] / max(len(weights), 1)
    return above - above.mean() if len(above) else above


def _ratio(joint: Values, first: Values, second: Values) -> Values:
  """Values whose mean is the covariance over the root of the variances.

  Args:
    joint: the covariance and the pair's influence on it; likewise `first` and
      `second` of the variances.
  """
  if not first.any() or not second.any():
    return np.zeros(len(joint))
  a, b = first.mean(), second.mean()
  root = math.sqrt(a * b)
  rho = joint.mean() / root
  return joint / root - rho / 2 * (first / a + second / b) + rho


def fisher(values: Values, z: float = intervals.Z) -> tuple[float, float]:
  """95% interval of the correlation that is the mean of `values`.

  Normal on Fisher's scale atanh(rho). The sum of squared influences is that
  of p pairs and one more, so the interval never has width 0.
  """
  n = len(values)
  if n < FEWEST or not values.any():
    return -1.0, 1.0
  rho = float(np.clip(np.mean(values), -1, 1))
  near = float(np.clip(rho, -1 + 1 / (2 * n), 1 - 1 / (2 * n)))
  square = float(np.sum(np.square(values - rho))) + 1
  half = z * math.sqrt(square / (n * (n - 3))) / (1 - near * near)
  middle = math.atanh(near)
  low, high = math.tanh(middle - half), math.tanh(middle + half)
  return min(low, rho), max(high, rho)
