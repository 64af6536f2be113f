"""Files of rows in a folder, by split, as the Hugging Face hub lays them out.

Parquet files of the hub are `data/train-00000-of-00002.parquet`, or
`default/train/0000.parquet`, with `validation` and `test` in the same way.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from mrl_jax import progress
from mrl_jax.data import tables
from mrl_jax.errors import UsageError

KINDS = (*tables.KINDS, *tables.DELIMITED)
SPLITS = {
  'train': 'train',
  'training': 'train',
  'validation': 'validation',
  'valid': 'validation',
  'val': 'validation',
  'dev': 'validation',
  'test': 'test',
}

Files = dict[str, list[Path]]
"""Files by split: 'train', 'validation' and 'test'."""


def by_split(path: str, option: str) -> Files:
  """The files of a path, by split; `option` is what gives the path.

  Raises:
    UsageError: if there are none that can be read, or of several data sets.
  """
  root = Path(path).expanduser()
  known = tables.ending(root) in KINDS
  if not path or not root.exists() or (root.is_file() and not known):
    wrong = 'of another kind' if path and root.exists() else 'not there'
    raise UsageError(
      f'data.source.{option}={path!r} is {wrong}; give a file of pairs '
      f'({", ".join(KINDS)}), or a folder of them'
    )
  files: Files = {'train': [], 'validation': [], 'test': []}
  if root.is_file():
    return files | {'train': [root]}
  places: dict[tuple, Path] = {}
  for file in sorted(root.rglob('*')):
    parts = file.relative_to(root).parts
    hidden = any(part.startswith('.') for part in parts)
    if hidden or tables.ending(file) not in KINDS or not file.is_file():
      continue
    files[_split_of(parts)].append(file)
    places[tuple(p for p in parts[:-1] if p.lower() not in SPLITS)] = file
  if len(places) > 1:
    names = ', '.join(str(Path(*place)) for place in sorted(places))
    raise UsageError(
      f'{root} has files of pairs in several folders ({names}); name one of '
      f'them by data.source.{option}'
    )
  if not places:
    arrow = any(root.rglob('*.arrow'))
    advice = ': save it again by to_parquet, not save_to_disk' if arrow else ''
    raise UsageError(f'{root} has no files of {", ".join(KINDS)}{advice}')
  if not files['train'] and not (files['validation'] and option != 'path'):
    raise UsageError(
      f'{root} has no files to train on, only {places.popitem()[1].name}; name '
      f'a file by data.source.{option}'
    )
  if files['test']:
    progress.say(f'{root}: the files of its split test are not read.')
  return files


def _split_of(parts: Sequence[str]) -> str:
  """The split of ('data', 'train-0.parquet'): that of its name or a folder."""
  names = [re.split(r'[^a-z]', parts[-1].lower())[0], *map(str.lower, parts)]
  return next((SPLITS[name] for name in names if name in SPLITS), 'train')
