"""Result rows: what evaluators return and reports read.

A row is one number: an evaluator's metric at one granularity, with its 95%
interval. Its flat name is `<evaluator>/<metric>[@k][.variant]/d<dim>`; the
curve it is a point of has the same name without the end.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NotRequired, Required, TypedDict, cast

import numpy as np
from jaxtyping import Bool, Float

from mrl_jax import intervals
from mrl_jax.granularity import Granularity


class Row(TypedDict, total=False):
  """One result. An evaluator may add keys of its own."""

  evaluator: Required[str]
  metric: Required[str]
  dim: Required[float]
  value: Required[float]
  ci_low: Required[float]
  ci_high: Required[float]
  n: Required[int]  # examples behind the value
  depth: NotRequired[int]  # layers of the encoder that were used
  k: NotRequired[int]  # neighbours or shots
  variant: NotRequired[str]  # what tells curves of one metric apart
  step: NotRequired[int]  # of the training run
  trained: NotRequired[bool]  # whether the granularity was trained
  per_query: NotRequired[np.ndarray]  # [q], where there is no variant


KEYS = frozenset(Row.__annotations__)


def make(
  evaluator: str,
  metric: str,
  dim: float,
  value: float,
  interval: tuple[float, float],
  n: int,
  **extra,
) -> Row:
  """A result row; `variant`, `k` and `depth` become part of its name."""
  dim = int(dim) if dim == int(dim) else round(float(dim), 2)
  row = {
    'evaluator': evaluator,
    'metric': metric,
    'dim': dim,
    'value': float(value),
    'ci_low': float(interval[0]),
    'ci_high': float(interval[1]),
    'n': int(n),
  }
  return cast(Row, row | extra)


def proportion(
  evaluator: str, metric: str, dim: float, hits: int, n: int, **extra
) -> Row:
  """The row of a share of right answers, with its 95% interval."""
  value = hits / n if n else math.nan
  interval = intervals.wilson(hits, n)
  return make(evaluator, metric, dim, value, interval, n, **extra)


def mean(
  evaluator: str,
  metric: str,
  dim: float,
  values: Float[np.ndarray, 'q'] | Bool[np.ndarray, 'q'],
  **extra,
) -> Row:
  """The row of the mean of a value in [0, 1] per query."""
  extra |= _per_query(values, extra)
  values = np.asarray(values, np.float64)
  value = float(values.mean()) if len(values) else math.nan
  interval = intervals.mean(values)
  return make(evaluator, metric, dim, value, interval, len(values), **extra)


def _per_query(values: np.ndarray, extra: Mapping) -> dict:
  """The key of a row that keeps its values: one of a main curve does."""
  return {} if 'variant' in extra else {'per_query': np.asarray(values)}


def proportions(
  evaluator: str,
  metric: str,
  dims: Sequence[int],
  hits: Bool[np.ndarray, 'g q'],
  **extra,
) -> list[Row]:
  """A row per dim: the share of queries that are hits."""
  return [
    proportion(
      evaluator,
      metric,
      dim,
      int(np.sum(right)),
      len(right),
      **extra,
      **_per_query(right, extra),
    )
    for dim, right in zip(dims, hits)
  ]


def means(
  evaluator: str,
  metric: str,
  dims: Sequence[int],
  values: Float[np.ndarray, 'g q'] | Bool[np.ndarray, 'g q'],
  **extra,
) -> list[Row]:
  """A row per dim: the mean of a value in [0, 1] per query."""
  return [mean(evaluator, metric, m, v, **extra) for m, v in zip(dims, values)]


def granularity(row: Mapping) -> Granularity:
  """The cut of the model that a row is about."""
  return Granularity(row['dim'], row.get('depth'))


def without_queries(row: Mapping) -> Row:
  """The row without its values per query, as files hold it."""
  return cast(Row, {k: v for k, v in row.items() if k != 'per_query'})


def curve_name(row: Mapping) -> str:
  """The curve a row is a point of: `<evaluator>/<metric>[@k][.variant]`."""
  at = f'@{row["k"]}' if 'k' in row else ''
  variant = f'.{row["variant"]}' if 'variant' in row else ''
  return f'{row["evaluator"]}/{row["metric"]}{at}{variant}'


def flat_name(row: Mapping) -> str:
  """The curve's name and the granularity: one pattern for any curve."""
  return f'{curve_name(row)}/{granularity(row).name}'


def curves(rows: Iterable[Mapping]) -> dict[str, list[Mapping]]:
  """Rows by curve, in the order met, each in the order of granularities."""
  points: dict[str, list[Mapping]] = {}
  for row in rows:
    points.setdefault(curve_name(row), []).append(row)
  return {
    name: sorted(curve, key=lambda row: _size(granularity(row)))
    for name, curve in points.items()
  }


def granularities(rows: Iterable[Mapping]) -> list[Granularity]:
  """The granularities of rows: few layers first, then by dimension."""
  return sorted({granularity(row) for row in rows}, key=_size)


def at(rows: Iterable[Mapping], size: Granularity) -> Mapping | None:
  """The first row of a granularity, None if there is none."""
  return next((row for row in rows if granularity(row) == size), None)


def _size(size: Granularity) -> tuple[float, float]:
  """What granularities are sorted by; no depth means all layers."""
  return math.inf if size.depth is None else size.depth, size.dim


def alike(points: Iterable[Mapping]) -> bool:
  """Whether the intervals of two rows or more have a value in common.

  Then the rows tell none of their granularities from another.
  """
  points = list(points)
  low = max((row['ci_low'] for row in points), default=math.inf)
  high = min((row['ci_high'] for row in points), default=-math.inf)
  return len(points) > 1 and low <= high


def front(points: list[tuple[float, float]]) -> list[int]:
  """Indices of the (cost, value) points that no other beats, by cost.

  A point is beaten by one of at most its cost that is as good.
  """
  best, chosen = -math.inf, []
  for index in sorted(
    range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)
  ):
    if points[index][1] > best:
      best = points[index][1]
      chosen.append(index)
  return chosen
