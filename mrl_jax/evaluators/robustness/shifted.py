"""Shifted sets: folders of images of some of the training classes."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.data import class_folders, folder
from mrl_jax.shapes import Bool, Float, Int

ROWS_AT_ONCE = 1024
MAP = 'map.json'


def named_folders(
  paths: Sequence[str], taken: Sequence[str]
) -> dict[str, Path]:
  """Each folder under its last name, which becomes part of a row's name.

  Raises:
    ValueError: for a path that is not a folder, or a name that is taken.
  """
  if isinstance(paths, str):
    raise ValueError(f"shifted={paths!r} must be a list: ('{paths}',)")
  folders = {}
  for path in (Path(path).expanduser() for path in paths):
    name = path.resolve().name.replace(' ', '_')
    if not path.is_dir():
      raise ValueError(f'shifted: {path} is not a folder')
    if name in folders or name in taken:
      raise ValueError(
        f'shifted: {path} is the second result named {name!r}; rename it'
      )
    folders[name] = path
  return folders


def answered(evidence, name: str, path: Path) -> tuple[list[rows.Row], dict]:
  """(one row per dim, details) of a shifted set, embedded and answered."""
  files = class_folders.class_files(path)
  groups, skipped = _class_groups(path, files, evidence.names)
  paths, labels = zip(
    *((path, i) for i, group in enumerate(groups) for path in files[group])
  )
  channels = evidence.functions['images']('validation', [0]).shape[-1]
  images = folder.Files(paths, labels, channels)
  vectors = evidence.functions['embed'](images)
  logits = evidence.functions.get('logits') or evidence.probe().logits
  right = [
    restricted(
      np.asarray(logits(vectors.embeddings[span], evidence.dims)),
      vectors.labels[span],
      list(groups.values()),
    )
    for span in (
      slice(start, start + ROWS_AT_ONCE)
      for start in range(0, len(vectors), ROWS_AT_ONCE)
    )
  ]
  results = rows.proportions(
    'robustness',
    'top1',
    evidence.dims,
    np.concatenate(right, axis=1),
    variant=name,
  )
  return results, {
    'path': str(path),
    'images': len(vectors),
    'classes': len(set().union(*groups.values())),
    'left_out': skipped,
  }


def restricted(
  logits: Float[np.ndarray, 'g q v'],
  labels: Int[np.ndarray, 'q'],
  groups: list[frozenset[int]],
) -> Bool[np.ndarray, 'g q']:
  """Whether the best class, of those in any group, is in the label's group.

  Of equal logits the smaller class is the answer.
  """
  allowed = np.array(sorted(set().union(*groups)))
  best = allowed[np.argmax(logits[..., allowed], axis=-1)]
  member = np.zeros((len(groups), logits.shape[-1]), bool)
  for i, group in enumerate(groups):
    member[i, list(group)] = True
  return member[labels[None, :], best]


def _class_groups(path: Path, files: dict, names) -> tuple[dict, list[str]]:
  """({sub-folder: class ids}, sub-folders left out) of a shifted set.

  Raises:
    UsageError: for a map that cannot be read, or an unknown class.
  """
  classes = {name: name for name in files}
  if (path / MAP).is_file():
    classes = _read_map(path / MAP)
  ids = {name: i for i, name in enumerate(names)}
  groups = {}
  for group in files:
    if group not in classes:
      continue
    members = classes[group]
    members = [members] if isinstance(members, str) else members
    wrong = [name for name in members if name not in ids]
    if wrong:
      near = difflib.get_close_matches(wrong[0], list(ids), 1)
      hint = f'; did you mean {near[0]!r}' if near else ''
      raise errors.UsageError(
        f'{path / group}: {wrong[0]!r} is not a training class{hint}; map it '
        f'to one in {path / MAP}'
      )
    groups[group] = frozenset(ids[name] for name in members)
  if not groups:
    raise errors.UsageError(
      f'{path / MAP} names none of the sub-folders of {path}'
    )
  return groups, [group for group in files if group not in groups]


def _read_map(path: Path) -> dict[str, str | list[str]]:
  try:
    classes = json.loads(path.read_text(encoding='utf-8'))
    good = isinstance(classes, dict) and all(
      isinstance(v, str)
      or (isinstance(v, list) and v and all(isinstance(n, str) for n in v))
      for v in classes.values()
    )
  except (UnicodeDecodeError, json.JSONDecodeError):
    good = False
  if not good:
    raise errors.UsageError(
      f'{path} must be one JSON object of "sub-folder": "class" or a list '
      'of classes'
    )
  return classes
