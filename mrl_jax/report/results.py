"""The files of one evaluation: result rows, curves, details; and all of them
as an Evaluation, what a report is made of.
"""

import csv
import dataclasses
import functools
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrl_jax import rows
from mrl_jax.rows import Row

DECIDERS = ('stores', 'pairs')  # evaluators that say what to deploy


def write(
  folder: str | Path, points: Sequence[Row], details: Mapping = {}
) -> None:
  """Writes `results.jsonl`, a row a line, `curves.csv` and the details.

  `details` go to `<evaluator>.json`; those of an earlier evaluation are
  removed. Each file appears whole or not at all.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  for name, content in details.items():
    write_whole(folder / f'{name}.json', json.dumps(content))
  for path in folder.glob('*.json'):
    if path.stem not in details:
      path.unlink()
  lines = (json.dumps(rows.without_queries(row)) + '\n' for row in points)
  write_whole(folder / 'results.jsonl', ''.join(lines))
  write_whole(folder / 'curves.csv', _curves(points))


def write_whole(path: Path, content: str | bytes) -> None:
  """Writes a file, whole or not at all."""
  if isinstance(content, str):
    content = content.encode()
  partial = path.with_name(f'.{path.name}.partial')
  partial.write_bytes(content)
  os.replace(partial, path)


def _curves(points: Sequence[Row]) -> str:
  """A line per granularity: its dim, its depth if any has one, each curve."""
  curves, sizes = rows.curves(points), rows.granularities(points)
  keys = ['dim', 'depth'] if any(size.depth for size in sizes) else ['dim']
  header = [
    f'{name}{e}' for name in curves for e in ('', '/ci_low', '/ci_high')
  ]
  file = io.StringIO(newline='')
  writer = csv.writer(file)
  writer.writerow([*keys, *header])
  for size in sizes:
    line = [getattr(size, key) for key in keys]
    for curve in curves.values():
      row = rows.at(curve, size) or {}
      line += [row.get(key, '') for key in ('value', 'ci_low', 'ci_high')]
    writer.writerow(line)
  return file.getvalue()


def read(folder: str | Path) -> list[Row]:
  """The rows of an evaluation, as they were written."""
  lines = (
    (Path(folder) / 'results.jsonl').read_text(encoding='utf-8').splitlines()
  )
  return [json.loads(line) for line in lines]


def details(folder: str | Path, notes: list[str] | None = None) -> dict:
  """What evaluators report beside rows, by evaluator.

  A file that is not a JSON object is left out, and `notes` names it.
  """
  notes = [] if notes is None else notes
  contents = {
    path.stem: _load(path, notes)
    for path in sorted(Path(folder).glob('*.json'))
  }
  return {name: it for name, it in contents.items() if it is not None}


def _load(path: Path, notes: list[str]) -> dict | None:
  """The JSON object in a file; None, and a note, if there is none in it."""
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
  except ValueError as error:  # also text that is not UTF-8
    notes.append(f'{path.name} was left out, it is not JSON: {error}')
    return None
  if not isinstance(content, dict):
    notes.append(f'{path.name} was left out: it holds no JSON object')
    return None
  return content


def deciding(details: Mapping[str, Mapping]) -> tuple[str, Mapping]:
  """(the evaluator that decides, what it decides); both empty without one."""
  for name in DECIDERS:
    said = details.get(name, {}).get('decision')
    if said and isinstance(said, dict):
      return name, said
  return '', {}


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Everything one page is made of; `notes` names what could not be read."""

  name: str
  rows: Sequence[Row]
  details: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
  config: Mapping = dataclasses.field(default_factory=dict)
  environment: Mapping = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()

  @property
  def step(self) -> int | str:
    """The step of the training run, '' if the rows have none."""
    return self.rows[0].get('step', '') if self.rows else ''

  @property
  def width(self) -> float:
    """The largest dimension."""
    return max((row['dim'] for row in self.rows), default=0)

  @functools.cached_property
  def curves(self) -> dict[str, list[Row]]:
    """The rows by curve, see rows.curves."""
    return rows.curves(self.rows)

  def curve(self, name: str) -> list[Row]:
    """The rows of one curve; empty if it was not measured."""
    return self.curves.get(name, [])

  def by(self, key: str, evaluator: str, metric: str) -> dict:
    """The rows of a metric by their value of a key, '' for those without."""
    groups = {}
    for points in self.curves.values():
      if (points[0]['evaluator'], points[0]['metric']) == (evaluator, metric):
        groups.setdefault(points[0].get(key, ''), []).extend(points)
    return groups

  def detail(self, evaluator: str, key: str, default=()):
    """What an evaluator reports under a key; the default if it is empty."""
    return self.details.get(evaluator, {}).get(key) or default

  @property
  def decision(self) -> Mapping:
    """What is decided, empty if no evaluator decided anything."""
    return deciding(self.details)[1]

  @property
  def decider(self) -> str:
    """The evaluator that tried stores; `stores` if none says so."""
    return deciding(self.details)[0] or DECIDERS[0]

  @property
  def chosen(self) -> Mapping | None:
    """The store that is decided for, with its measures; None without one."""
    table = self.detail(self.decider, 'table')
    return next((point for point in table if point.get('chosen')), None)


def read_evaluation(folder: str | Path, workdir: str | Path) -> Evaluation:
  """The evaluation in `folder`, with config and environment of its run."""
  workdir, notes, run = Path(workdir), [], {}
  for name in ('config', 'environment'):
    path = workdir / f'{name}.json'
    run[name] = (_load(path, notes) if path.exists() else None) or {}
  contents = details(folder, notes)
  return Evaluation(
    name=workdir.resolve().name,
    rows=read(folder),
    details=contents,
    notes=tuple(notes),
    **run,
  )
