"""How a class's accuracy changes as prefixes grow, beyond noise."""

import numpy as np
import scipy

from mrl_jax.shapes import Bool, Int


def changes(
  right: Bool[np.ndarray, 'g n'], level: float = 0.05
) -> tuple[Int[np.ndarray, 'g g'], Bool[np.ndarray, 'g g']]:
  """(queries gained from prefix i to j, whether that is beyond noise), [i, j].

  The same queries stand at every prefix, so only those count that change:
  with b of them gained and c lost, |b - c| - 1 > z sqrt(b + c) (McNemar, 1947,
  with Edwards's correction). z is two-sided at `level`, shared among all
  pairs of prefixes (Bonferroni), so it is also the chance that a class that
  does not change at all is said to.
  """
  count = right.astype(np.int64)
  both = count @ count.T
  alone = count.sum(axis=1)[None, :] - both  # [i, j]: right at j, not at i
  gained = alone - alone.T
  pairs = max(len(right) * (len(right) - 1) // 2, 1)
  z = scipy.special.ndtri(1 - level / (2 * pairs))
  return gained, np.abs(gained) - 1 > z * np.sqrt(alone + alone.T)


def trend(right: Bool[np.ndarray, 'g n']) -> str:
  """'rises', 'falls', 'dips', 'peaks' or 'flat' over growing prefixes.

  Only changes beyond noise count (see `changes`). A class that both loses and
  gains dips or peaks, whichever is deeper: the smaller of the two changes
  around the best i < j < k. At equal depths the change from the smallest to
  the widest prefix decides.
  """
  gained, beyond = changes(right)
  upper = np.triu(np.ones_like(beyond), 1) & beyond
  rises, falls = upper & (gained > 0), upper & (gained < 0)
  if not falls.any():
    return 'rises' if rises.any() else 'flat'
  if not rises.any():
    return 'falls'
  up, down = np.where(rises, gained, 0), np.where(falls, -gained, 0)
  # The largest change into j from before, and out of it to behind.
  dip = np.max(np.minimum(down.max(axis=0), up.max(axis=1)))
  peak = np.max(np.minimum(up.max(axis=0), down.max(axis=1)))
  if dip != peak:
    return 'dips' if dip > peak else 'peaks'
  return 'dips' if gained[0, -1] >= 0 else 'peaks'
