"""Thresholds of a cascade: which prefix's answer is sure enough to be given.

A query meets the prefixes from the smallest on. It leaves at the first whose
confidence is above the threshold there, and at the widest whatever it says.
Thresholds are values of a grid, in this file their indices `chosen`; and
confidences are levels, the number of grid values below them. So a query
leaves prefix g if levels[g] > chosen[g], exactly as confidence > threshold.
Every search here sees tuning examples only.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from mrl_jax.shapes import Bool, Float, Int

PRICES = np.geomspace(1e-3, 10, 24)  # of the full width, in accuracy


def levels_of(
  confidence: Float[np.ndarray, 'g q'], grid: Float[np.ndarray, 't']
) -> Int[np.ndarray, 'g-1 q']:
  """How many values of the grid lie below each confidence but the widest's.

  A confidence that is not a number is above nothing.
  """
  known = np.nan_to_num(np.asarray(confidence[:-1], np.float64), nan=0)
  return np.searchsorted(grid, known, side='left')


def exits(
  levels: Int[np.ndarray, 'g-1 q'], chosen: Int[np.ndarray, 'g-1']
) -> Int[np.ndarray, 'q']:
  """The prefix (its index) at which each query leaves."""
  last = np.ones((1, levels.shape[1]), bool)
  leaves = levels > np.asarray(chosen)[:, None]
  return np.argmax(np.concatenate([leaves, last]), axis=0)


def _totals(
  level: Int[np.ndarray, 'q'],
  here: Int[np.ndarray, 'q'],
  otherwise: Int[np.ndarray, 'q'],
  size: int,
) -> Float[np.ndarray, 't']:
  """For every index t of the grid, sum of (here if level > t, else otherwise).

  Whole numbers, exact in float64.
  """
  gain = np.asarray(here, np.float64) - otherwise
  gains = np.bincount(level, weights=gain, minlength=size + 1)
  return np.sum(otherwise) + np.cumsum(gains[::-1])[::-1][1 : size + 1]


def _paths(
  levels: Int[np.ndarray, 'g-1 q'],
  chosen: Int[np.ndarray, 'g-1'],
  g: int,
  later: Int[np.ndarray, 'q'] | int,
) -> tuple[Int[np.ndarray, 'q'], Int[np.ndarray, 'q']]:
  """(where queries leave if all that reach g do so there, else at `later`)."""
  first = exits(levels[:g], chosen[:g])  # g for those that reach it
  return first, np.where(first < g, first, later)


def paper(
  levels: Int[np.ndarray, 'g-1 q'], right: Bool[np.ndarray, 'g q'], size: int
) -> Int[np.ndarray, 'g-1']:
  """Thresholds of the paper: each stage alone, on all tuning examples.

  At each g the smallest threshold with most right answers of: g's answer
  above it, else the next prefix's (arXiv:2205.13147, section 4.2.1).
  """
  best = [
    np.argmax(_totals(levels[g], right[g], right[g + 1].astype(int), size))
    for g in range(len(levels))
  ]
  return np.asarray(best, int)


def conditional(
  levels: Int[np.ndarray, 'g-1 q'], right: Bool[np.ndarray, 'g q'], size: int
) -> Int[np.ndarray, 'g-1']:
  """As `paper`, each stage on those examples only that come to it.

  Where none comes, all thresholds are as good, and the smallest is taken.
  """
  queries, chosen = np.arange(levels.shape[1]), np.zeros(len(levels), int)
  for g in range(len(levels)):
    here, later = _paths(levels, chosen, g, g + 1)
    hits = right[here, queries], right[later, queries].astype(int)
    chosen[g] = np.argmax(_totals(levels[g], *hits, size))
  return chosen


def _improve(
  levels: Int[np.ndarray, 'g-1 q'],
  right: Bool[np.ndarray, 'g q'],
  dims: Sequence[int],
  chosen: Int[np.ndarray, 'g-1'],
  size: int,
  score: Callable,
) -> Int[np.ndarray, 'g-1']:
  """Coordinate ascent: one threshold after the other set to its best.

  Args:
    score: f(hits [t], summed dims [t]) of whole cascades, what is maximised;
      of equally good thresholds the smallest, so the cheapest, is taken.

  Stops when a round changes nothing, which it must: each change raises the
  score or, at the same score, lowers a threshold.
  """
  queries, widths = np.arange(levels.shape[1]), np.asarray(dims)
  chosen, before = chosen.copy(), None
  while before is None or np.any(before != chosen):
    before = chosen.copy()
    for g in range(len(levels)):
      after = g + 1 + exits(levels[g + 1 :], chosen[g + 1 :])
      here, later = _paths(levels, chosen, g, after)
      hits = right[here, queries], right[later, queries].astype(int)
      hits = _totals(levels[g], *hits, size)
      cost = _totals(levels[g], widths[here], widths[later], size)
      chosen[g] = np.argmax(score(hits, cost))
  return chosen


def joint(
  levels: Int[np.ndarray, 'g-1 q'],
  right: Bool[np.ndarray, 'g q'],
  dims: Sequence[int],
  targets: Sequence[int],
  size: int,
) -> dict[int, Int[np.ndarray, 'g-1']]:
  """All thresholds together, for each target of the expected dimension.

  A frontier is made by coordinate ascent on accuracy - price * E[m], at a
  ladder of prices, each from the thresholds of the one before. For a target
  the most accurate point with E[m] at most that is taken, of the frontier,
  of the paper's and conditional thresholds and of single prefixes, and
  improved under the target. E[m] is that of the tuning examples.

  Args:
    targets: none below the smallest dim.
  """
  if not targets:
    return {}
  count, widths = levels.shape[1], np.asarray(dims)
  pool = [paper(levels, right, size), conditional(levels, right, size)]
  pool += [constant(len(levels), g, size) for g in range(len(dims))]
  point = pool[-1]
  for price in PRICES / dims[-1]:
    point = _improve(
      levels, right, dims, point, size, lambda h, c, p=price: h - p * c
    )
    pool.append(point)
  left = np.stack([exits(levels, chosen) for chosen in pool])
  hits = np.sum(right[left, np.arange(count)], axis=1)
  cost = np.sum(widths[left], axis=1)

  def under(target, hits, cost):
    return np.where(cost <= target * count, hits, -np.inf)

  return {
    target: _improve(
      levels,
      right,
      dims,
      pool[np.argmax(under(target, hits, cost))],
      size,
      lambda h, c, t=target: under(t, h, c),
    )
    for target in targets
  }


def constant(stages: int, g: int, size: int) -> Int[np.ndarray, 'g-1']:
  """Thresholds 1 before prefix g and 0 from it on: everybody leaves there."""
  return np.where(np.arange(stages) < g, size - 1, 0)


def lost(
  levels: Int[np.ndarray, 'g-1 q'], right: Bool[np.ndarray, 'g q'], size: int
) -> Int[np.ndarray, 't']:
  """Queries the widest gets right and the cascade wrong, per one cutoff.

  The cutoff, each index of the grid in turn, stands at every stage. A query
  leaves at g under the cutoffs from the highest of its levels before g to
  that with g's.
  """
  highest = np.maximum.accumulate(levels, axis=0)
  edge = np.full((1, levels.shape[1]), 0)
  start = np.concatenate([edge, highest])
  stop = np.concatenate([highest, edge + size])
  wrong = right[-1] & ~right & (start < stop)
  changes = np.bincount(start[wrong], minlength=size + 1)
  changes -= np.bincount(stop[wrong], minlength=size + 1)
  return np.cumsum(changes)[:size]


def upper_bound(
  hits: Int[np.ndarray, '*t'], n: int, confidence: float
) -> Float[np.ndarray, '*t']:
  """One-sided upper bound of a share (Clopper and Pearson, 1934)."""
  hits = np.asarray(hits)
  inside = special.betaincinv(hits + 1, np.maximum(n - hits, 1), confidence)
  return np.where(hits < n, inside, 1.0)


def controlled(
  levels: Int[np.ndarray, 'g-1 q'],
  right: Bool[np.ndarray, 'g q'],
  risk: float,
  confidence: float,
  size: int,
) -> Int[np.ndarray, 'g-1']:
  """One cutoff for all stages with a finite-sample promise.

  With probability >= `confidence` over the tuning examples, the share of
  queries of their distribution that the widest prefix gets right and the
  cascade gets wrong is <= `risk`. Cutoffs are tested from 1 downward, each at
  the full level, until the first whose bound exceeds the risk: fixed-sequence
  testing (Learn then Test, arXiv:2110.01052, section 2.3). At the cutoff 1
  nobody leaves early and the share is 0, so it needs no test.
  """
  bound = upper_bound(lost(levels, right, size), levels.shape[1], confidence)
  failed = np.flatnonzero(bound[:-1] > risk)
  cutoff = failed[-1] + 1 if len(failed) else 0
  return np.full(len(levels), cutoff)
