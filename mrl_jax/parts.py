"""What each evaluator has answered: written when it ends, merged, reused.

`parts/<evaluator>.json` holds its rows, details, options and seconds, and
`parts/<evaluator>.npz` its values per query, by the flat name of their row.
Each file appears whole or not at all. All parts of a folder together are the
evaluation that `results.jsonl` and the page show.
"""

import dataclasses
import io
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mrl_jax
from mrl_jax import rows
from mrl_jax.embed import fingerprint
from mrl_jax.report import results
from mrl_jax.rows import Row

FOLDER = 'parts'
FORMAT = 1
MOST_NEIGHBOURS = 20  # rows of a larger k keep no values per query

# What an evaluation leaves beside its parts.
FILES = '*.json *.npz results.jsonl curves.csv report.* *.png'.split()


@dataclasses.dataclass(frozen=True)
class Place:
  """The folder of one evaluation, and what it is about.

  Attributes:
    data: fingerprint of the queries and the database.
    about: of all that rows depend on beside options and dims; '' where nobody
      took one, and then nothing is reused.
    more: plain data that decides whether a part is reused, dims among it.
  """

  folder: Path
  data: str
  about: str
  more: Sequence = ()

  def key(self, options: Mapping) -> str:
    """What a part must have been written under to be reused; '' for never."""
    if not self.about:
      return ''
    version = FORMAT, mrl_jax.__version__
    return fingerprint.of_words([version, self.about, self.more, options])

  def of_others(self) -> bool:
    """Whether the folder holds parts of other data, or of another state."""
    return any(
      part['data'] not in ('', self.data)
      or (part['about'] and self.about and part['about'] != self.about)
      for part in read(self.folder).values()
    )

  def write(self, name: str, answers: Sequence[Row], facts: Mapping) -> None:
    """Writes the part of an evaluator: its rows, and facts about them.

    The arrays of its details, if it has any, become `<evaluator>.npz`.
    """
    known = {
      'data': self.data,
      'about': self.about,
      'key': self.key(facts['options']),
    }
    details = dict(facts['details'])
    arrays = details.pop('arrays', {})
    _write_arrays(self.folder / f'{name}.npz', arrays)
    _write(self.folder, name, answers, known | dict(facts, details=details))


def read(folder: Path) -> dict[str, dict[str, Any]]:
  """The parts of a folder by evaluator; one that is damaged is left out."""
  whole = {}
  for path in sorted((folder / FOLDER).glob('*.json')):
    try:
      part = json.loads(path.read_text(encoding='utf-8'))
      whole[path.stem] = _EMPTY | part
    except (ValueError, TypeError):
      continue
  return whole


_EMPTY: dict[str, Any] = {
  'rows': [],
  'details': {},
  'options': {},
  'seconds': 0.0,
  'environment': {},
  'data': '',
  'about': '',
  'key': '',
}


def adopt(folder: Path, evaluators: Collection[str]) -> None:
  """Makes parts of the results that are there without one.

  Versions before parts wrote such results. They stay until their evaluator
  runs again; those of evaluators that are gone do not.
  """
  try:
    points, details = results.read(folder), results.details(folder)
    names = {row['evaluator'] for row in points}
  except (OSError, ValueError, KeyError, TypeError):  # none, or cut off
    return
  before = details.pop('evaluation', {})
  names |= set(details)
  for name in (names - set(read(folder))) & set(evaluators):
    known = {
      'details': details.get(name, {}),
      'options': before.get('options', {}).get(name, {}),
      'environment': before.get('environment', {}),
      'data': before.get('data', ''),
    }
    answers = [row for row in points if row['evaluator'] == name]
    _write(folder, name, answers, known)


def clear(folder: Path) -> None:
  """Removes an evaluation from its folder."""
  for pattern in FILES:
    for path in folder.glob(pattern):
      path.unlink()
  if (folder / FOLDER).is_dir():
    shutil.rmtree(folder / FOLDER)


def merged(
  folder: Path, order: Sequence[str], notes: Sequence[str] = ()
) -> tuple[list[Row], dict[str, dict]]:
  """(rows, details) of all parts, in the order of their evaluators.

  The details of 'evaluation' say under what the parts were made.
  """
  parts = read(folder)
  names = [name for name in order if name in parts]
  names += [name for name in parts if name not in order]
  kept = {name: parts[name] for name in names}
  environments = [part['environment'] for part in kept.values()]
  unknown = [name for name, part in kept.items() if not part['data']]
  doubt = (
    f'Rows of {", ".join(unknown)} stay from an older version, which does not '
    'say of what data they are; --fresh does them anew.'
  )
  conditions = {
    'notes': [*notes, *([doubt] if unknown else [])],
    'data': max((part['data'] for part in kept.values()), default=''),
    'options': {name: parts[name]['options'] for name in sorted(names)},
    'environment': max(
      environments, key=lambda it: it.get('time', ''), default={}
    ),
  }
  points = [row for part in kept.values() for row in part['rows']]
  details = {n: part['details'] for n, part in kept.items() if part['details']}
  return points, details | {'evaluation': conditions}


def _write(folder: Path, name: str, answers, content: Mapping) -> None:
  place = folder / FOLDER
  place.mkdir(parents=True, exist_ok=True)
  final = place / f'{name}.json'
  # Rows never stand beside the values per query of others.
  final.unlink(missing_ok=True)
  values = _per_query(answers)
  if values:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **values)
    results.write_whole(place / f'{name}.npz', file.getvalue())
  else:
    (place / f'{name}.npz').unlink(missing_ok=True)
  plain = [rows.without_queries(row) for row in answers]
  results.write_whole(final, json.dumps({'rows': plain, **content}))


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """A file of arrays; without arrays no file."""
  if not arrays:
    path.unlink(missing_ok=True)
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  file = io.BytesIO()
  np.savez(file, allow_pickle=False, **arrays)
  results.write_whole(path, file.getvalue())


def _per_query(answers: Sequence[Row]) -> dict[str, np.ndarray]:
  """Values per query by flat name, of rows of few neighbours."""
  return {
    rows.flat_name(row): _small(row['per_query'])
    for row in answers
    if 'per_query' in row and row.get('k', 0) <= MOST_NEIGHBOURS
  }


def _small(values: np.ndarray) -> np.ndarray:
  """Truths as they are, numbers in four bytes."""
  values = np.asarray(values)
  return values if values.dtype == bool else values.astype(np.float32)
