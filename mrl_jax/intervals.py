"""95% intervals of shares and means.

Reports never show a number of examples without one of these.
"""

import math

import numpy as np
from jaxtyping import Float, Int, Shaped

Z = 1.959964  # standard deviations on each side of a normal 95% interval


def wilson(hits: float, n: float, z: float = Z) -> tuple:
  """95% interval of a proportion hits/n (Wilson, 1927); (0, 1) for n == 0."""
  if n == 0:
    return 0.0, 1.0
  p = hits / n
  centre = (p + z * z / (2 * n)) / (1 + z * z / n)
  half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
  low = 0.0 if hits == 0 else max(0.0, centre - half)
  return low, 1.0 if hits == n else min(1.0, centre + half)


def upper_bound(
  hits: int | Int[np.ndarray, '*t'], n: int, confidence: float
) -> Float[np.ndarray, '*t']:
  """One-sided upper bound of a share (Clopper and Pearson, 1934)."""
  from scipy import special

  hits = np.asarray(hits)
  inside = special.betaincinv(hits + 1, np.maximum(n - hits, 1), confidence)
  return np.where(hits < n, inside, 1.0)


def mean(values: Shaped[np.ndarray, 'n'], z: float = Z) -> tuple[float, float]:
  """95% interval of the mean of independent values in [0, 1].

  Agresti and Coull's (1998), carried over from hits to any value in [0, 1]:
  z^2/2 observations of 0 and as many of 1 are added before mean and variance
  are taken. So it never has width 0, and for hits it is theirs exactly.
  """
  n = len(values)
  if n == 0:
    return 0.0, 1.0
  total = n + z * z
  centre = (np.sum(values) + z * z / 2) / total
  square = (np.sum(np.square(values)) + z * z / 2) / total
  half = z * math.sqrt(max(square - centre * centre, 0) / total)
  return max(0.0, centre - half), min(1.0, centre + half)


def macro(
  hits: Shaped[np.ndarray, 'v'], totals: Shaped[np.ndarray, 'v']
) -> tuple[float, float]:
  """95% interval of the mean of the classes' accuracies, all totals above 0.

  A query weighs 1 / (classes * queries of its class). Wilson's interval at
  the effective number of queries, 1 / sum of squared weights (Kish, 1965):
  classes times the harmonic mean of their totals, and all queries where the
  classes are balanced.
  """
  value = float(np.mean(hits / totals))
  effective = len(totals) ** 2 / float(np.sum(1 / totals))
  return wilson(value * effective, effective)


def crossed(hits: Shaped[np.ndarray, 's q']) -> tuple[float, float]:
  """95% interval of the mean over s draws and q queries, all of them crossed.

  It covers other draws and other queries: with s_d the deviation of the
  draws' means and (low, high) the interval of the mean over queries of each
  one's mean over draws, its ends lie sqrt((value - low)^2 + t^2 s_d^2 / s)
  below the value, and likewise above; t is Student's 97.5% point. The
  residual of queries and draws counts in both terms, so it is wide rather
  than narrow (crossed random effects: Owen and Eckles, 2012). One draw says
  nothing of other draws.
  """
  low, high = of_draws(hits.mean(axis=1), *mean(hits.mean(axis=0)))
  return max(0.0, low), min(1.0, high)


def of_draws(
  values: Float[np.ndarray, 's'], low: float, high: float, z: float = Z
) -> tuple[float, float]:
  """The ends (low, high) moved outwards for what draws add to their mean.

  `values` are one per draw; (low, high) is the interval of their mean over
  other queries. One draw leaves the ends as they are. `z` gives the level.
  """
  from scipy import special, stats

  value, draws = float(np.mean(values)), len(values)
  apart = 0.0
  if draws > 1:
    point = stats.t.ppf(special.ndtr(z), draws - 1)
    apart = float(point * np.std(values, ddof=1) / math.sqrt(draws))
  below, above = math.hypot(value - low, apart), math.hypot(high - value, apart)
  return value - below, value + above


def paired_ratio(
  both: int, first: int, second: int, z: float = Z
) -> tuple[float, float]:
  """95% interval of a ratio of two shares over the same examples.

  The ratio is (both + first) / (both + second): `both` examples are hits of
  the two, `first` and `second` of one only. Bonett and Price (2006): Wilson
  intervals of the two shares, each at a level that accounts for the pairing.
  """
  if both + first + second == 0:
    return 0.0, math.inf
  n = both + first + second
  one, two = both + first + 1, both + second + 1
  shares = one / (n + 2), two / (n + 2)
  joint = math.sqrt((first + second + 2) / (one * two))
  apart = sum(math.sqrt((1 - p) / x) for p, x in zip(shares, (one, two)))
  z = z * joint / apart
  (low1, high1), (low2, high2) = (
    wilson(hits, n, z) for hits in (both + first, both + second)
  )
  return low1 / high2, high1 / low2 if low2 > 0 else math.inf


def paired_difference(
  differences: Float[np.ndarray, 'q'], z: float = Z, most: float = 1.0
) -> tuple[float, float]:
  """95% interval of the mean of independent differences in [-1, 1].

  Bonett and Price's (2012) for two shares over the same examples, carried
  over from hits to any values in [0, 1]: one difference of 1 and one of -1
  are added before mean and variance are taken. Above the 95% level z^2/4 of
  each are added, as many as at that level, so that the rare differences that
  no example shows stay inside. It never has width 0. `most` is the largest
  magnitude that the mean can have: of two correlations it is 2.
  """
  added = max(1.0, z * z / 4)
  total = len(differences) + 2 * added
  centre = float(np.sum(differences)) / total
  square = (float(np.sum(np.square(differences))) + 2 * added) / total
  half = z * math.sqrt(max(square - centre * centre, 0) / total)
  return max(-most, centre - half), min(most, centre + half)


def unpaired_difference(
  first: tuple[float, float, float],
  second: tuple[float, float, float],
  z: float = Z,
  most: float = 1.0,
) -> tuple[float, float]:
  """95% interval of first - second, each of them (value, low, high) at 95%.

  Newcombe's (1998), method 10: the squares of the distances from the values
  to the ends are added. At another level the distances grow like `z`. It is
  for independent values, and too wide where both are over the same examples.
  `most` is as in `paired_difference`.
  """
  (a, low1, high1), (b, low2, high2) = first, second
  below = math.hypot(a - low1, high2 - b) * z / Z
  above = math.hypot(high1 - a, b - low2) * z / Z
  return max(-most, a - b - below), min(most, a - b + above)
