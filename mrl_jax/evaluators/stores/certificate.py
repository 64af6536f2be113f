"""Which store surely keeps enough: chosen on some queries, proven on others.

A store keeps a measure if E[v - keep * f] > 0, with v what a query gets from
it and f what the same query gets from full width. The proof is a bet: of the
wealth prod(1 + bet * (v - keep * f)) the mean is at most 1 if the store does
not keep it, for any number of queries, so wealth above 20 has a chance of at
most 5% (Waudby-Smith and Ramdas, 2024, arXiv:2010.09686). No shape of the
values is assumed. Bets are placed by what other queries have shown.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mrl_jax.embed import proof
from mrl_jax.shapes import Float, Int

ERROR = 0.05
ENOUGH = math.log(1 / ERROR)
MOST = 0.999  # of the wealth that one query may cost
BETS = 64  # tried
LARGEST = 10**7  # number of queries that `needed` looks at

Values = Mapping[str, Float[np.ndarray, 'q']]  # by measure


def gains(
  values: Float[np.ndarray, 'q'], full: Float[np.ndarray, 'q'], keep: float
) -> Float[np.ndarray, 'q']:
  """v - keep * f of each query."""
  return np.asarray(values, np.float64) - keep * np.asarray(full, np.float64)


def bet(gained: Float[np.ndarray, 'q'], keep: float) -> tuple[float, float]:
  """(bet, mean growth of log wealth) that these queries call for.

  One query that lost all is added to them, else no bet would be too high.
  """
  tried = np.linspace(0, MOST / keep, BETS)
  seen = np.append(gained, -keep)
  growth = np.log1p(np.outer(tried, seen)).mean(axis=1)
  best = int(np.argmax(growth))
  return float(tried[best]), float(growth[best])


def proven(gained: Float[np.ndarray, 'q'], placed: float) -> bool:
  """Whether a bet placed before has won enough on these queries."""
  return float(np.sum(np.log1p(placed * gained))) >= ENOUGH


def choose(
  costs: Sequence[tuple],
  values: Sequence[Values],
  full: Values,
  keep: float,
  halves: tuple[Int[np.ndarray, 'a'], Int[np.ndarray, 'b']],
) -> int | None:
  """The cheapest store that is proven to keep every measure; None without one.

  The chance that it does not keep a measure is at most 5%, see `proof`; its
  certainty is the growth of wealth. A store passes if all its measures do, so
  they need no correction.

  Args:
    costs: of each store, compared in order; smaller is cheaper.
    full: the values at full width.
    halves: the queries that choose and those that prove.
  """
  choosing, proving = halves
  if not full:
    return None
  bets = [
    {
      name: bet(gains(of[name][choosing], full[name][choosing], keep), keep)
      for name in full
    }
    for of in values
  ]
  growth = [min(by[name][1] for name in full) for by in bets]

  def passes(index: int) -> bool:
    return all(
      proven(
        gains(values[index][name][proving], full[name][proving], keep),
        bets[index][name][0],
      )
      for name in full
    )

  return proof.cheapest_proven(costs, growth, passes)


def needed(full: Values, keep: float) -> int | None:
  """Queries with which a store that loses nothing would be proven.

  Both halves together, at the quality of full width seen; None if no number
  below ten million is enough.
  """
  quality = min(float(np.mean(of)) for of in full.values())
  tried, count = np.linspace(0, MOST / keep, BETS), 4
  win = np.log1p(tried * (1 - keep))
  while count < LARGEST:
    hits = round(quality * (count // 2))
    best = int(np.argmax(hits * win + np.log1p(-tried * keep)))  # as in `bet`
    if hits * win[best] >= ENOUGH:
      return count
    count = max(count + 2, int(count * 1.1) // 2 * 2)
  return None
