"""Which schedule to search by, chosen on queries that are not reported."""

import itertools
from collections.abc import Sequence

import numpy as np

from mrl_jax.embed import schedules, shortlist
from mrl_jax.embed.schedules import Schedule
from mrl_jax.shapes import Float

KEPT = (1, 2, 5, 10, 20)  # times k: shortlists worth a try


def candidates(dims: Sequence[int], k: int, rows: int) -> list[Schedule]:
  """Schedules worth a try: one rerank at full width, or one before it."""
  width = dims[-1]
  keeps = sorted({min(n * k, rows) for n in KEPT}, reverse=True)
  tried = [
    schedules.adaptive(dim, keep, width) for dim in dims[:-1] for keep in keeps
  ]
  for dim, middle in itertools.combinations(dims[:-1], 2):
    for many, few in itertools.combinations(keeps, 2):
      tried.append(Schedule(dim, (many, few), (middle, width)))
  return tried


def best_schedule(
  database: shortlist.Database,
  queries: Float[np.ndarray, 'q d'],
  exact: tuple,
  tried: Sequence[Schedule],
  budget: float = np.inf,
) -> Schedule:
  """The schedule with the best recall on tuning queries within a budget.

  `exact` is (scores, rows) [q k] of these queries at full width. The budget
  is MFLOPs per query; of equal recalls the schedule with fewer multiply-adds
  is taken. What is reported of it must be measured on other queries.

  Raises:
    ValueError: if no schedule is within the budget.
  """
  if not tried:
    raise ValueError('there is no dimension to shortlist by')
  k = np.asarray(exact[1]).shape[1]
  costs = sorted(
    (schedules.mflops(s, len(database)), i) for i, s in enumerate(tried)
  )
  best, chosen = -1.0, None
  for cost, index in costs:
    if cost > budget:
      break
    rows = shortlist.adaptive_top_k(database, queries, tried[index], k)[1]
    share = float(np.mean(shortlist.recall(database, queries, rows, exact)))
    if share > best:
      best, chosen = share, tried[index]
  if chosen is None:
    raise ValueError(
      f'no schedule is within {budget:.4g} MFLOPs per query; the cheapest '
      f'takes {costs[0][0]:.4g} MFLOPs'
    )
  return chosen
