"""Classes one by one: which are rare, which belong together, how they fare."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from mrl_jax import intervals
from mrl_jax.shapes import Bool, Float, Int


def read_superclasses(path: str | Path) -> dict[str, str]:
  """{class name or id: superclass} of a JSON object or a two-column CSV.

  A CSV may start with the line `class,superclass`.

  Raises:
    ValueError: for a file that is not there, not of these forms, or that
      gives a class two superclasses.
  """
  path = Path(path)
  if not path.is_file():
    raise ValueError(f'superclasses={str(path)!r} is no file')
  if path.suffix not in READERS:
    raise ValueError(
      f'superclasses={str(path)!r} must end in {" or ".join(READERS)}'
    )
  found: dict[str, str] = {}
  for name, group in READERS[path.suffix](path):
    if found.setdefault(name, group) != group:
      raise ValueError(
        f'superclasses={str(path)!r} puts class {name!r} both in '
        f'{found[name]!r} and in {group!r}; keep one'
      )
  return found


def read_json(path: Path) -> list[tuple[str, str]]:
  try:
    pairs = json.loads(path.read_text(), object_pairs_hook=lambda p: ('{}', p))
  except ValueError as error:
    raise ValueError(
      f'superclasses={str(path)!r} is no JSON: {error}'
    ) from None
  told = isinstance(pairs, tuple) and all(
    isinstance(group, (str, int)) for _, group in pairs[1]
  )
  if not told:
    raise ValueError(
      f'superclasses={str(path)!r} must hold one object, '
      '{"class": "superclass", ...}'
    )
  return [(name, str(group)) for name, group in pairs[1]]


def read_csv(path: Path) -> list[tuple[str, str]]:
  with path.open(newline='') as file:
    lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
  lines = [line for line in lines if line]
  odd = next((line for line in lines if len(line) != 2), None)
  if odd is not None:
    raise ValueError(
      f'superclasses={str(path)!r} must have two columns, class,superclass; '
      f'one line is {",".join(odd)!r}'
    )
  if lines and [cell.lower() for cell in lines[0]] == ['class', 'superclass']:
    lines = lines[1:]
  return [(name, group) for name, group in lines]


READERS = {'.json': read_json, '.csv': read_csv}


def name_of(label: int, names: Sequence[str]) -> str:
  """A class's name, or its id where it has none."""
  return names[label] if 0 <= label < len(names) else str(label)


def superclass_ids(
  ids: Int[np.ndarray, 'v'], groups: dict[str, str], names: Sequence[str]
) -> Int[np.ndarray, 'v']:
  """The superclass, numbered, of each class, found by its name or its id.

  Raises:
    ValueError: naming the first class that has none.
  """
  numbers = {group: i for i, group in enumerate(dict.fromkeys(groups.values()))}
  found = []
  for label in ids.tolist():
    name = name_of(label, names)
    group = groups.get(name, groups.get(str(label)))
    if group is None:
      raise ValueError(
        f'superclasses has no entry for class {name!r} (id {label}); add one'
      )
    found.append(numbers[group])
  return np.asarray(found, int)


def rarest(
  labels: Int[np.ndarray, 'r'], ids: Int[np.ndarray, 'v'], share: float
) -> Bool[np.ndarray, 'v'] | None:
  """Which classes are the tail: the rarest `share` of them in `labels`.

  At least one and not all; of equally frequent classes the smaller id is
  taken first. None where all are equally frequent.
  """
  where = np.searchsorted(ids, labels)
  counts = np.bincount(where, minlength=len(ids))
  if len(ids) < 2 or np.all(counts == counts[0]):
    return None
  size = min(max(round(share * len(ids)), 1), len(ids) - 1)
  tail = np.zeros(len(ids), bool)
  tail[np.argsort(counts, kind='stable')[:size]] = True
  return tail


def macro_interval(
  hits: Int[np.ndarray, 'v'], totals: Int[np.ndarray, 'v']
) -> tuple[float, float]:
  """95% interval of the mean of the classes' accuracies, all totals above 0.

  A query weighs 1 / (classes * queries of its class). Wilson's interval at
  the effective number of queries, 1 / sum of squared weights (Kish, 1965):
  classes times the harmonic mean of their totals, and all queries where the
  classes are balanced.
  """
  value = float(np.mean(hits / totals))
  effective = len(totals) ** 2 / float(np.sum(1 / totals))
  return intervals.wilson(value * effective, effective)


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
  z = stats.norm.ppf(1 - level / (2 * pairs))
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


def accuracies(
  right: Bool[np.ndarray, 'g q'], where: Int[np.ndarray, 'q'], count: int
) -> tuple[Float[np.ndarray, 'g v'], Int[np.ndarray, 'v']]:
  """(right answers per prefix and class, queries of each class)."""
  hits = [np.bincount(where[row], minlength=count) for row in right]
  return np.stack(hits), np.bincount(where, minlength=count)
