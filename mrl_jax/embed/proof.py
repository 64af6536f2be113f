"""Which store is surely good enough: chosen on a half, proven on the other.

On the first half of the examples the front of cost against certainty is found.
On the second its stores are tested from the surest to the cheapest, up to the
first that fails: whatever their number, the chance that one of those that pass
should have failed is that of one test (testing in a fixed sequence:
Angelopoulos et al., 2021, arXiv:2110.01052).
"""

from collections.abc import Callable, Sequence

import numpy as np


def halved(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """The examples that choose and those that prove, drawn by a seed."""
  order = np.random.default_rng(seed).permutation(count)
  return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


def cheapest_proven(
  costs: Sequence[tuple],
  certainty: Sequence[float],
  passes: Callable[[int], bool],
) -> int | None:
  """The cheapest store that passes, and all surer ones do; None without one.

  Args:
    costs: of each store, compared in order; smaller is cheaper.
    certainty: of each, by the half that chooses; above 0, or it is not tried.
    passes: whether a store passes the test on the half that proves.
  """
  chosen = None
  for index in reversed(_front(costs, certainty)):
    if not passes(index):
      break
    chosen = index
  return chosen


def _front(costs: Sequence[tuple], certainty: Sequence[float]) -> list[int]:
  """Stores that nothing cheaper is surer than, from the cheapest on."""
  best, front = 0.0, []
  for index in sorted(
    range(len(costs)), key=lambda i: (costs[i], -certainty[i])
  ):
    if certainty[index] > best:
      best = certainty[index]
      front.append(index)
  return front
