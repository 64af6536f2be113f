"""Answers that grow right with the dim, and the rule in plain Python."""

import numpy as np

from mrl_jax.embed.answers import Answers
from mrl_jax.evaluators.cascade import thresholds

DIMS = (4, 8, 16, 64)


def sure_answers(queries=300, dims=DIMS, seed=0, best=0.95):
  """Answers that grow right with the dim, sure ones more often right."""
  rng = np.random.default_rng(seed)
  ease = rng.beta(3, 1.2, queries)
  skill = np.linspace(0.6, best, len(dims))[:, None]
  noise = rng.normal(0, 0.1, (len(dims), queries))
  confidence = np.clip(ease * skill + noise, 0, 1)
  right = rng.random((len(dims), queries)) < confidence**0.7
  labels = rng.integers(0, 5, queries) + 70_000
  classes = np.where(right, labels, labels + 1)[..., None]
  confidence = np.round(confidence, 2).astype(np.float32)  # ties
  return Answers(dims, classes, confidence, labels, 'linear head')


def leave(confidence, cuts):
  """The rule itself: the first confidence above its threshold."""
  for g, cut in enumerate(cuts):
    if float(confidence[g]) > cut:
      return g
  return len(cuts)


def naive_paper(confidence, right, grid, reach=False):
  """Thresholds by trying each; with `reach` on those that come to the stage."""
  stages, count = len(confidence) - 1, confidence.shape[1]
  alive, found = list(range(count)), []
  for g in range(stages):
    best = (-1, None)
    for t in grid:
      hits = sum(
        bool(right[g if float(confidence[g, i]) > t else g + 1, i])
        for i in alive
      )
      if hits > best[0]:
        best = (hits, t)
    found.append(best[1])
    if reach:
      alive = [i for i in alive if not float(confidence[g, i]) > best[1]]
  return found


def outcome(given, cuts):
  """(hits, summed dims) of a cascade, one query after the other."""
  left = [leave(confidence, cuts) for confidence in given.confidence.T]
  hits = sum(bool(given.right[g, i]) for i, g in enumerate(left))
  return hits, sum(given.dims[g] for g in left)


def tune(given, size):
  """(grid, Tuning) of all the answers."""
  grid = np.linspace(0, 1, size)
  levels = thresholds.levels_of(given.confidence, grid)
  return grid, thresholds.Tuning(given.dims, levels, given.right, size)
