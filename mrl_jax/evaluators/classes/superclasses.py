"""Maps from classes to superclasses, out of JSON or CSV files."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrl_jax.embed.vectors import class_name
from mrl_jax.shapes import Int


def read_superclasses(path: str | Path) -> dict[str, str]:
  """{class name or id: superclass} of a JSON object or a two-column CSV.

  A CSV may start with the line `class,superclass`.

  Raises:
    ValueError: for a file that is not there, not of these forms, or that
      gives a class two superclasses.
  """
  path = Path(path)
  name = f'superclasses={str(path)!r}'
  if not path.is_file():
    raise ValueError(f'{name} is not a file')
  if path.suffix not in READERS:
    raise ValueError(f'{name} must end in {" or ".join(READERS)}')
  try:
    text = path.read_bytes().decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(f'{name} is not UTF-8 text: {error}') from None
  groups: dict[str, str] = {}
  for label, group in READERS[path.suffix](text, name):
    if groups.setdefault(label, group) != group:
      raise ValueError(
        f'{name} puts class {label!r} both in {groups[label]!r} and in '
        f'{group!r}; keep one'
      )
  return groups


def _read_json(text: str, name: str) -> list[tuple[str, str]]:
  try:
    value = json.loads(text, object_pairs_hook=lambda p: ('{}', p))
  except ValueError as error:
    raise ValueError(f'{name} is not JSON: {error}') from None
  flat = isinstance(value, tuple) and all(
    isinstance(group, (str, int)) for _, group in value[1]
  )
  if not flat:
    raise ValueError(
      f'{name} must hold one object, {{"class": "superclass", ...}}'
    )
  return [(label, str(group)) for label, group in value[1]]


def _read_csv(text: str, name: str) -> list[tuple[str, str]]:
  table = csv.reader(io.StringIO(text, newline=''))
  lines = [[cell.strip() for cell in line] for line in table]
  lines = [line for line in lines if line]
  odd = next((line for line in lines if len(line) != 2), None)
  if odd is not None:
    raise ValueError(
      f'{name} must have two columns, class,superclass; one line is '
      f'{",".join(odd)!r}'
    )
  if lines and [cell.lower() for cell in lines[0]] == ['class', 'superclass']:
    lines = lines[1:]
  return [(label, group) for label, group in lines]


READERS = {'.json': _read_json, '.csv': _read_csv}


def superclass_numbers(
  ids: Int[np.ndarray, 'v'], groups: dict[str, str], names: Sequence[str]
) -> Int[np.ndarray, 'v']:
  """The superclass, numbered, of each class, looked up by its name or its id.

  Raises:
    ValueError: naming the first class that has none.
  """
  number = {group: i for i, group in enumerate(dict.fromkeys(groups.values()))}
  of_classes = []
  for label in ids.tolist():
    name = class_name(label, names)
    group = groups.get(name, groups.get(str(label)))
    if group is None:
      raise ValueError(
        f'superclasses has no entry for class {name!r} (id {label}); add one'
      )
    of_classes.append(number[group])
  return np.asarray(of_classes, int)
