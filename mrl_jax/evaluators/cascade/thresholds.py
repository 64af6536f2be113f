"""Thresholds of a cascade: which prefix's answer is sure enough to be given.

A query meets the prefixes from the smallest on. It leaves at the first whose
confidence is above the threshold there, and at the widest whatever it says.
Thresholds are values of a grid, in this file their indices, `cutoffs`; and
confidences are levels, the number of grid values below them. So a query
leaves prefix g if levels[g] > cutoffs[g], exactly as confidence > threshold.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mrl_jax import intervals
from mrl_jax.shapes import Bool, Float, Int

PRICES = np.geomspace(1e-3, 10, 24)  # of the full width, in accuracy

Cutoffs = Int[np.ndarray, 'g-1']
Levels = Int[np.ndarray, 'g-1 q']


class Tuning(NamedTuple):
  """The examples that thresholds are chosen on; a search sees no others.

  Attributes:
    right: whether each prefix's answer is right.
    size: of the grid.
  """

  dims: tuple[int, ...]
  levels: Levels
  right: Bool[np.ndarray, 'g q']
  size: int


def levels_of(
  confidence: Float[np.ndarray, 'g q'], grid: Float[np.ndarray, 't']
) -> Levels:
  """How many values of the grid lie below each confidence but the widest's.

  A confidence that is not a number is above nothing.
  """
  known = np.nan_to_num(np.asarray(confidence[:-1], np.float64), nan=0)
  return np.searchsorted(grid, known, side='left')


def exits(levels: Levels, cutoffs: Cutoffs) -> Int[np.ndarray, 'q']:
  """The prefix (its index) at which each query leaves."""
  last = np.ones((1, levels.shape[1]), bool)
  leaves = levels > np.asarray(cutoffs)[:, None]
  return np.argmax(np.concatenate([leaves, last]), axis=0)


def paper(tuning: Tuning) -> Cutoffs:
  """Thresholds of the paper: each stage alone, on all tuning examples.

  At each g the smallest threshold with most right answers of: g's answer
  above it, else the next prefix's (arXiv:2205.13147, section 4.2.1).
  """
  _, levels, right, size = tuning
  best = [
    np.argmax(_totals(levels[g], right[g], right[g + 1], size))
    for g in range(len(levels))
  ]
  return np.asarray(best, int)


def conditional(tuning: Tuning) -> Cutoffs:
  """As `paper`, each stage on those examples only that come to it.

  Where none comes, all thresholds are as good, and the smallest is taken.
  """
  cutoffs = np.zeros(len(tuning.levels), int)
  for g in range(len(cutoffs)):
    hits, _ = _outcomes(tuning, cutoffs, g, g + 1)
    cutoffs[g] = np.argmax(hits)
  return cutoffs


def joint(
  tuning: Tuning, targets: Sequence[int]
) -> dict[int, Int[np.ndarray, 'g-1']]:
  """All thresholds together, for each target of the expected dimension.

  A frontier is made by coordinate ascent on accuracy - price * E[m], at a
  ladder of prices, each from the thresholds of the one before. For a target
  the most accurate point with E[m] at most that is taken, of the frontier,
  of the paper's and conditional thresholds and of single prefixes, and
  improved under the target. E[m] is that of the tuning examples. No target
  may be below the smallest dim.
  """
  if not targets:
    return {}
  dims, levels, right, _ = tuning
  pool = [paper(tuning), conditional(tuning)]
  pool += [single(tuning, g) for g in range(len(dims))]
  for price in PRICES / dims[-1]:
    ascended = _improve(tuning, pool[-1], lambda h, c, p=price: h - p * c)
    pool.append(ascended)
  left = np.stack([exits(levels, cutoffs) for cutoffs in pool])
  queries = np.arange(levels.shape[1])
  hits = np.sum(right[left, queries], axis=1)
  costs = np.sum(np.asarray(dims)[left], axis=1)

  def under(target):
    most = target * len(queries)
    return lambda hits, costs: np.where(costs <= most, hits, -np.inf)

  return {
    target: _improve(
      tuning, pool[np.argmax(under(target)(hits, costs))], under(target)
    )
    for target in targets
  }


def single(tuning: Tuning, g: int) -> Cutoffs:
  """Thresholds 1 before prefix g and 0 from it on: everybody leaves there."""
  return np.where(np.arange(len(tuning.levels)) < g, tuning.size - 1, 0)


def controlled(tuning: Tuning, risk: float, confidence: float) -> Cutoffs:
  """One cutoff for all stages with a finite-sample promise.

  With probability >= `confidence` over the tuning examples, the share of
  queries of their distribution that the widest prefix gets right and the
  cascade gets wrong is <= `risk`. Cutoffs are tested from 1 downward, each at
  the full level, until the first whose bound exceeds the risk: fixed-sequence
  testing (Learn then Test, arXiv:2110.01052, section 2.3). At the cutoff 1
  nobody leaves early and the share is 0, so it needs no test.
  """
  count = tuning.levels.shape[1]
  bound = intervals.upper_bound(lost(tuning), count, confidence)
  failed = np.flatnonzero(bound[:-1] > risk)
  cutoff = failed[-1] + 1 if len(failed) else 0
  return np.full(len(tuning.levels), cutoff)


def lost(tuning: Tuning) -> Int[np.ndarray, 't']:
  """Queries the widest gets right and the cascade wrong, per one cutoff.

  The cutoff, each index of the grid in turn, stands at every stage. A query
  leaves at g under the cutoffs from the highest of its levels before g to
  that with g's.
  """
  _, levels, right, size = tuning
  highest = np.maximum.accumulate(levels, axis=0)
  edge = np.full((1, levels.shape[1]), 0)
  start = np.concatenate([edge, highest])
  stop = np.concatenate([highest, edge + size])
  wrong = right[-1] & ~right & (start < stop)
  changes = np.bincount(start[wrong], minlength=size + 1)
  changes -= np.bincount(stop[wrong], minlength=size + 1)
  return np.cumsum(changes)[:size]


def _improve(tuning: Tuning, cutoffs: Cutoffs, score: Callable) -> Cutoffs:
  """Coordinate ascent: one threshold after the other set to its best.

  `score` is f(hits [t], summed dims [t]) of whole cascades, what is maximised;
  of equally good thresholds the smallest, so the cheapest, is taken. Stops
  when a round changes nothing, which it must: each change raises the score
  or, at the same score, lowers a threshold.
  """
  cutoffs, before = cutoffs.copy(), None
  while before is None or np.any(before != cutoffs):
    before = cutoffs.copy()
    for g in range(len(cutoffs)):
      later = g + 1 + exits(tuning.levels[g + 1 :], cutoffs[g + 1 :])
      cutoffs[g] = np.argmax(score(*_outcomes(tuning, cutoffs, g, later)))
  return cutoffs


def _outcomes(
  tuning: Tuning, cutoffs: Cutoffs, g: int, later: Int[np.ndarray, 'q'] | int
) -> tuple[Float[np.ndarray, 't'], Float[np.ndarray, 't']]:
  """(hits, summed dims) of the cascade for every threshold of prefix g.

  Queries that reach g and do not leave there do so at `later`.
  """
  dims, levels, right, size = tuning
  first = exits(levels[:g], cutoffs[:g])  # g for those that reach it
  otherwise = np.where(first < g, first, later)
  queries, widths = np.arange(len(first)), np.asarray(dims)
  hits = right[first, queries], right[otherwise, queries]
  return (
    _totals(levels[g], *hits, size),
    _totals(levels[g], widths[first], widths[otherwise], size),
  )


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
