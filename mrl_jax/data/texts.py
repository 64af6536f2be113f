"""StoredTexts by id that stay in their file: each is read when it is asked for.

A passage of a corpus is its title and its text, joined by a space, as BEIR and
MTEB join them.
"""

import dataclasses
import hashlib
import json
import mmap
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mrl_jax.data import tables
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Int

IDS = ('_id', 'id')
BYTES = 8  # of a fingerprint


@dataclasses.dataclass(frozen=True, eq=False)
class StoredTexts(Sequence):
  """StoredTexts of one side of a judged set, in the order of their file.

  Attributes:
    ids: of each, str.
    keys: of the JSON lines, joined by a space.
    starts: the byte at which each line begins.
    fingerprint: of all ids and texts.
    empty: ids of those that are empty.
    left: how many more the file has, which were not wanted.
  """

  ids: np.ndarray
  keys: tuple[str, ...]
  starts: Int[np.ndarray, 'n']
  fingerprint: str
  empty: tuple[str, ...]
  left: int
  content: bytes | mmap.mmap  # of the file

  @property
  def names(self) -> Sequence[str]:
    """The ids, as `contracts.Values` calls them."""
    return self.ids

  def __len__(self) -> int:
    return len(self.ids)

  def __getitem__(self, index):
    """The text of a row, or, of a slice, the texts of these rows."""
    if isinstance(index, slice):
      changed = {k: getattr(self, k)[index] for k in ('ids', 'starts')}
      return dataclasses.replace(self, **changed)
    start = self.starts[index]
    stop = self.content.find(b'\n', start)
    line = self.content[start : stop if stop >= 0 else len(self.content)]
    return _joined(json.loads(line.decode('utf-8-sig')), self.keys, '')


def _joined(values: dict, keys: Sequence[str], row: str) -> str:
  return ' '.join(tables.text_of(values, key, row) for key in keys).strip()


def read(
  paths: Sequence[Path],
  keys: tuple[str, ...],
  wanted: Collection[str] | None = None,
) -> StoredTexts:
  """The texts of files (several are parts of one), checked in one pass.

  Args:
    keys: of a text, the last of which every row must have.
    wanted: ids of those that are kept; None keeps all.

  Raises:
    UsageError: naming the file and the line of what cannot be used, and both
      lines of an id that repeats.
  """
  plain = len(paths) == 1 and tables.ending(paths[0]) in tables.JSON_LINES
  with tables.opened(paths[0]) if plain else tempfile.TemporaryFile() as file:
    places = _plain(paths[0], file) if plain else _spooled(paths, keys, file)
    kept = _kept(places, keys, wanted)
    return StoredTexts(keys=keys, content=tables.mapped(file), **kept)


def _kept(places: Iterator[tuple], keys: tuple[str, ...], wanted) -> dict:
  """What StoredTexts holds of the rows that are wanted."""
  seen: dict[str, str] = {}
  hasher = hashlib.blake2b(digest_size=BYTES)
  ids, starts, empty = [], [], []
  for row, values, start in places:
    name = tables.name_of(values[tables.key(values, IDS, row)], row)
    if name in seen:
      raise UsageError(
        f'{row} has the id {name!r} of {seen[name]}; each needs one of its own'
      )
    seen[name] = row
    tables.key(values, keys[-1:], row)
    text = _joined(values, keys, row)
    if wanted is not None and name not in wanted:
      continue
    hasher.update(json.dumps([name, text]).encode())
    ids.append(name)
    starts.append(start)
    empty += [] if text else [name]
  return {
    'ids': np.array(ids, str),
    'starts': np.array(starts, np.int64),
    'fingerprint': hasher.hexdigest(),
    'empty': tuple(empty),
    'left': len(seen) - len(ids),
  }


def _plain(path: Path, file: BinaryIO):
  """(name of the row, its values, its first byte) of a file of JSON lines."""
  for line in tables.lines(file, path):
    yield f'{path}, line {line.number}', tables.parsed(line, path), line.start


def _spooled(paths: Sequence[Path], keys: Sequence[str], file: BinaryIO):
  """Likewise of files that are not read at any byte; `file` gets the texts."""
  start = 0
  for path in paths:
    for where, values in tables.rows(path):
      yield f'{path}, {where}', values, start
      kept = {key: values.get(key) for key in keys}
      start += file.write(json.dumps(kept).encode() + b'\n')
  file.flush()
