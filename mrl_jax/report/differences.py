"""Runs over the same data, and their differences with intervals."""

import dataclasses
import functools
import itertools
import math
import statistics
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrl_jax import intervals, rows
from mrl_jax.granularity import Granularity
from mrl_jax.report import curves, results

LEVEL = 0.02  # differences that lie within it are level
MOST = 6  # runs of which every pair is compared
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)


@dataclasses.dataclass(frozen=True)
class Compared(results.Evaluation):
  """A run to compare, or the mean of several seeds.

  Attributes:
    per_query: values per query of main curves, by flat name of their row.
    seeds: the runs of a group, by seed; None for a run on its own.
  """

  per_query: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  seeds: Mapping[object, 'Compared'] | None = None

  @property
  def data(self) -> str:
    """What names queries and database; '' in evaluations of old."""
    return str(self.detail('evaluation', 'data', ''))

  @functools.cached_property
  def main_rows(self) -> dict[str, rows.Row]:
    """The rows of the main curves, by flat name."""
    return {
      rows.flat_name(row): row
      for curve in curves.main(self.rows).values()
      for row in curve
      if math.isfinite(row['value'])
    }

  @property
  def queries(self) -> int:
    """How many queries the main curves are of; without one, all others."""
    points = self.main_rows.values() or self.rows
    return max((row.get('n', 0) for row in points), default=0)


class Difference(NamedTuple):
  """First minus second at one point of a curve, and its interval."""

  curve: str
  size: Granularity
  value: float
  low: float
  high: float
  paired: bool
  seeds: int | None  # that both have; None for single runs

  @property
  def verdict(self) -> str:
    """'better', 'worse', 'level' or 'undecided'."""
    if self.low > 0:
      return 'better'
    if self.high < 0:
      return 'worse'
    return 'level' if self.furthest <= LEVEL else 'undecided'

  @property
  def furthest(self) -> float:
    """The larger distance of an end from 0."""
    return max(-self.low, self.high)

  @property
  def text(self) -> str:
    """`+31.2 points (29.0 to 33.4)`; without an interval, why."""
    value = f'{"+" * (self.value > 0)}{_points(self.value)} points'
    if not math.isfinite(self.low):
      count = self.seeds or 'no'
      return f'{value} ({count} seed{"s" * (count != 1)} in common)'
    nearest = min(abs(self.low), abs(self.high))
    digits = 1 + (self.high - self.low < 0.01 or nearest < 0.0005)
    low, high = (_points(end, digits) for end in (self.low, self.high))
    return f'{value} ({low} to {high})'


class Pair(NamedTuple):
  """Two runs over the same data and all differences that they share."""

  first: Compared
  second: Compared
  differences: list[Difference]

  @property
  def curves(self) -> dict[str, list[Difference]]:
    """The differences by curve."""
    points: dict[str, list[Difference]] = {}
    for difference in self.differences:
      points.setdefault(difference.curve, []).append(difference)
    return points


def _points(difference: float, digits: int = 1) -> str:
  """A difference of shares in points of percent, never as -0.0."""
  return f'{round(100 * difference, digits) + 0.0:.{digits}f}'


def read_newest(workdir: str | Path) -> Compared:
  """The evaluation of the largest step that has results.

  Raises:
    ValueError: if there is none.
  """
  workdir = Path(workdir)
  folders = [
    path.parent
    for path in workdir.glob('eval/*/results.jsonl')
    if path.parent.name.isdigit()
  ]
  if not folders:
    raise ValueError(
      f'{workdir} has no results; make them: python eval.py --workdir={workdir}'
    )
  folder = max(folders, key=lambda path: int(path.name))
  run = results.read_evaluation(folder, workdir)
  fields = {it.name: getattr(run, it.name) for it in dataclasses.fields(run)}
  notes = list(run.notes)
  fields['per_query'] = _per_query(folder, run.rows, notes)
  return Compared(**{**fields, 'notes': tuple(notes)})


def _per_query(
  folder: Path, points: Sequence[rows.Row], notes: list[str]
) -> dict[str, np.ndarray]:
  """The values per query of the main curves: `parts/<evaluator>.npz`.

  Values that do not have the number and the mean of their row belong to
  another evaluation and are left out. `notes` names files not readable.
  """
  wanted = Compared('', points).main_rows
  values = {}
  for evaluator in sorted({row['evaluator'] for row in wanted.values()}):
    path = folder / 'parts' / f'{evaluator}.npz'
    if not path.exists():
      continue
    try:
      with path.open('rb') as file, np.load(file) as saved:
        names = [name for name in saved.files if name in wanted]
        arrays = {name: saved[name].astype(np.float64) for name in names}
    except UNREADABLE as error:
      notes.append(f'parts/{path.name} was left out: {error}')
      continue
    values |= {k: x for k, x in arrays.items() if _fits(x, wanted[k])}
  return values


def _fits(values: np.ndarray, row: rows.Row) -> bool:
  """Whether values can be those behind a row; float16 rounds.

  They are in [0, 1]; those of a correlation may be any number.
  """
  free = curves.correlated(rows.curve_name(row))
  return bool(
    values.shape == (row['n'],)
    and np.all(np.isfinite(values))
    and (free or np.all((values >= 0) & (values <= 1)))
    and abs(values.mean() - row['value']) < 1e-3
  )


def by_data(runs: Sequence[Compared]) -> Iterator[list[Compared]]:
  """Runs that may stand in one chart: as many queries of the same data.

  Runs that do not name their data stand with those of as many queries,
  unless these are of several data.
  """
  for queries in dict.fromkeys(run.queries for run in runs):
    alike = [run for run in runs if run.queries == queries]
    known = dict.fromkeys(run.data for run in alike if run.data)
    if len(known) < 2:
      yield alike
      continue
    for data in dict.fromkeys(run.data for run in alike):
      yield [run for run in alike if run.data == data]


def compare_pairs(groups: Sequence[Sequence[Compared]]) -> list[list[Pair]]:
  """The pairs of each group; their intervals hold all at once with 95%.

  Bonferroni: each at 1 - 0.05 / their number. Of more than MOST runs each is
  compared with the first only.
  """
  pairs = [
    [(runs[0], run) for run in runs[1:]]
    if len(runs) > MOST
    else list(itertools.combinations(runs, 2))
    for runs in groups
  ]
  looks = sum(len(_shared(*pair)) for group in pairs for pair in group)
  z = statistics.NormalDist().inv_cdf(1 - 0.025 / max(looks, 1))
  return [
    [Pair(*pair, [_difference(*pair, n, z) for n in _shared(*pair)])
     for pair in group]
    for group in pairs
  ]  # fmt: skip


def _shared(first: Compared, second: Compared) -> list[str]:
  """Flat names of the main rows that both have."""
  others = second.main_rows
  return [name for name in first.main_rows if name in others]


def _difference(
  first: Compared, second: Compared, name: str, z: float
) -> Difference:
  """Of the means over queries; of groups also over the seeds in common.

  A correlation is the mean of its values per pair (correlation.py).
  """
  row, other = first.main_rows[name], second.main_rows[name]
  where = rows.curve_name(row), rows.granularity(row)
  pairs, seeds = [(first, second)], None
  if first.seeds is not None and second.seeds is not None:
    common = [seed for seed in first.seeds if seed in second.seeds]
    seeds = len(common)
    if seeds < 2:
      value = row['value'] - other['value']
      return Difference(*where, value, -math.inf, math.inf, False, seeds)
    pairs = [(first.seeds[seed], second.seeds[seed]) for seed in common]
  lines = [(a.main_rows[name], b.main_rows[name]) for a, b in pairs]
  between = np.array([a['value'] - b['value'] for a, b in lines])
  most = 2 if curves.correlated(where[0]) else 1
  paired = all(_paired(a, b, name) for a, b in pairs)
  if paired:
    apart = [a.per_query[name] - b.per_query[name] for a, b in pairs]
    ends = intervals.paired_difference(np.mean(apart, axis=0), z, most)
  else:
    apart = [
      intervals.unpaired_difference(*map(_with_ends, line), z, most)
      for line in lines
    ]
    ends = np.mean(apart, axis=0)
  ends = intervals.of_draws(between, *ends, z)
  value = float(between.mean())
  return Difference(*where, value, *map(float, ends), paired, seeds)


def _with_ends(row: rows.Row) -> tuple[float, float, float]:
  return row['value'], row.get('ci_low', 0.0), row.get('ci_high', 1.0)


def _paired(first: Compared, second: Compared, name: str) -> bool:
  """Whether two runs have values of the same queries behind a row."""
  return bool(
    first.data
    and first.data == second.data
    and all(name in run.per_query for run in (first, second))
    and len(first.per_query[name]) == len(second.per_query[name])
  )
