"""Arrays out of .npy, .npz, .parquet and text files; never pickles."""

import codecs
import csv
import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Content(NamedTuple):
  """What a file holds: usual keys, one of which it may have, and a noun."""

  keys: tuple[str, ...]
  noun: str


EMBEDDINGS = Content(('embeddings', 'embedding'), 'embedding')
LABELS = Content(('labels', 'label'), 'label')
IDS = Content(('ids', 'id'), 'id')
TABLE_ROWS = 65_536  # decoded together
WHOLE = re.compile('-?(0|[1-9][0-9]*)')


def matrix(file: str, key: str) -> np.ndarray:
  """The array of embeddings in `file`, under `key` or the usual name."""
  readers = {'.npy': _npy, '.npz': _npz, '.parquet': _parquet_matrix}
  return _reader(readers, file)(file, key, EMBEDDINGS)


def column(file: str, key: str, kind: Content = LABELS) -> np.ndarray:
  """The labels or ids in `file`, under `key` or the usual name."""
  readers = {'.npy': _npy, '.npz': _npz, '.parquet': _parquet_column}
  readers |= {'.txt': _lines, '.csv': _lines}
  return _reader(readers, file)(file, key, kind)


def names(file: str) -> list[str]:
  """The columns of a Parquet file."""
  return _parquet(file).schema_arrow.names


def _reader(readers: dict, file: str):
  path = Path(file)
  if path.suffix.lower() not in readers:
    raise ValueError(
      f'{file}: files of kind {path.suffix!r} are not read; use '
      f'{", ".join(readers)}'
    )
  if not path.is_file():
    raise ValueError(f'{file} is not there; check the path')
  if path.stat().st_size == 0:
    raise ValueError(f'{file} is empty (0 bytes); write it again')
  return readers[path.suffix.lower()]


def _npy(file: str, key: str, what: Content) -> np.ndarray:
  if key:
    raise ValueError(f'{file}:{key}: an .npy file has no keys; drop ":{key}"')
  return _load(lambda: np.load(file, mmap_mode='r', allow_pickle=False), file)


def _npz(file: str, key: str, what: Content) -> np.ndarray:
  archive = _load(lambda: np.load(file, allow_pickle=False), file)
  with archive:
    key = _pick(file, key, archive.files, what.keys, 'keys')
    return _load(lambda: archive[key], f'{file}:{key}')


def _load(load, file: str):
  """What `load()` returns; damaged files and pickles fail in one line."""
  try:
    return load()
  except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
    if 'allow_pickle' in str(error) or 'Python objects' in str(error):
      raise ValueError(
        f'{file} holds pickled Python objects, which are never loaded; save '
        'a plain array: x.astype(float32), or labels and ids as numbers or str'
      ) from error
    raise ValueError(
      f'{file} cannot be read ({str(error).splitlines()[0]}); write it again'
    ) from error


def _pick(file: str, key: str, keys, usual, what: str) -> str:
  """`key` if the file has it; without one, a usual name, or the only one."""
  keys = list(keys)
  if key and key in keys:
    return key
  if not key:
    known = [name for name in usual if name in keys]
    if known or len(keys) == 1:
      return (known or keys)[0]
  wrong = f'{file}:{key} is not there' if key else f'{file} has several {what}'
  raise ValueError(
    f'{wrong}; its {what} are {", ".join(keys) or "none"}: name one, like '
    f'{file}:{keys[0] if keys else "NAME"}'
  )


def _parquet(file: str):
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError as error:
    raise ValueError(
      f'{file}: reading Parquet needs pyarrow; pip install pyarrow'
    ) from error
  try:
    return parquet.ParquetFile(file)
  except (pyarrow.ArrowException, OSError) as error:
    raise ValueError(
      f'{file} is not a Parquet file ({str(error).splitlines()[0]})'
    ) from error


def _table(file: str, key: str, what: Content) -> tuple:
  """(pyarrow file, name of the column) of a Parquet file."""
  source = _parquet(file)
  names = source.schema_arrow.names
  return source, _pick(file, key, names, what.keys, 'columns')


def _parquet_matrix(file: str, key: str, what: Content) -> np.ndarray:
  """Rows of a column of equally long lists of numbers."""
  import pyarrow

  source, name = _table(file, key, what)
  kind = source.schema_arrow.field(name).type
  if isinstance(kind, pyarrow.FixedShapeTensorType) and len(kind.shape) == 1:
    kind = kind.storage_type
  types = pyarrow.types
  lists = types.is_list, types.is_large_list, types.is_fixed_size_list
  views = types.is_list_view, types.is_large_list_view
  if not any(is_kind(kind) for is_kind in lists + views):
    raise ValueError(
      f'{file}:{name} is a column of {kind}; embeddings must be a column of '
      f'lists of numbers, out of {", ".join(source.schema_arrow.names)}'
    )
  if not _numeric(kind.value_type):
    raise ValueError(
      f'{file}:{name} holds lists of {kind.value_type}, not of numbers'
    )
  start, rows = 0, None
  for batch in source.iter_batches(TABLE_ROWS, columns=[name]):
    width = None if rows is None else rows.shape[1]
    column = getattr(batch.column(0), 'storage', batch.column(0))
    if any(is_kind(kind) for is_kind in views):
      column = column.cast(pyarrow.large_list(kind.value_type))
    values = _equal_lists(column, f'{file}:{name}', start, width)
    if rows is None:
      shape = source.metadata.num_rows, values.shape[1]
      rows = np.empty(shape, values.dtype)
    rows[start : start + len(values)] = values
    start += len(values)
  return np.empty((0, 0)) if rows is None else rows


def _numeric(kind) -> bool:
  import pyarrow

  return pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)


def _equal_lists(lists, name: str, first: int, width) -> np.ndarray:
  """[n d] of a pyarrow array of lists, once none is missing or uneven.

  `width` is that of the rows before, None if these are the first.
  """
  import pyarrow.compute

  sizes = pyarrow.compute.list_value_length(lists).fill_null(-1).to_numpy(False)
  if not len(sizes):
    return np.empty((0, width or 0))
  width = sizes[0] if width is None else width
  wrong = np.flatnonzero(sizes != width)
  if sizes[0] < 0:
    wrong, width = np.array([0]), 'numbers'
  if len(wrong):
    size = sizes[wrong[0]]
    held = f'{size} numbers' if size >= 0 else 'nothing'
    raise ValueError(
      f'{name}: row {first + wrong[0]} holds {held} where {width} are '
      'expected; all rows must be equally wide'
    )
  values = lists.flatten()
  if values.null_count:
    raise ValueError(
      f'{name} has {values.null_count:,} missing numbers in rows {first} to '
      f'{first + len(sizes) - 1}; remove these rows and their labels'
    )
  return values.to_numpy(zero_copy_only=False).reshape(len(sizes), width)


def _parquet_column(file: str, key: str, what: Content) -> np.ndarray:
  """A column of numbers or words."""
  import pyarrow

  source, name = _table(file, key, what)
  kind = source.schema_arrow.field(name).type
  if pyarrow.types.is_dictionary(kind):
    kind = kind.value_type
  types = pyarrow.types
  words = any(
    is_kind(kind)
    for is_kind in (
      *(types.is_string, types.is_large_string, types.is_string_view),
      *(types.is_binary, types.is_large_binary, types.is_binary_view),
      types.is_fixed_size_binary,
    )
  )
  numbers = _numeric(kind) or types.is_boolean(kind) or types.is_decimal(kind)
  if not (words or numbers):
    raise ValueError(
      f'{file}:{name} is a column of {kind}; {what.noun}s must be whole '
      f'numbers or words, out of {", ".join(source.schema_arrow.names)}'
    )
  values = source.read(columns=[name]).column(0)
  if values.null_count:
    missing = np.flatnonzero(values.is_null().to_numpy())
    raise ValueError(
      f'{file}:{name}: {len(missing):,} {what.noun}s are missing, the first in '
      f'row {missing[0]}; remove these rows or give them one'
    )
  values = values.cast(kind)
  if not words and not types.is_decimal(kind):
    return values.to_numpy()
  target = pyarrow.large_string() if words else pyarrow.int64()
  try:
    array = values.cast(target).to_numpy()
  except pyarrow.ArrowInvalid as error:
    wrong = 'not UTF-8' if words else 'not whole, or beyond 64 bits'
    raise ValueError(
      f'{file}:{name} has {what.noun}s that are {wrong}; save them as strings'
    ) from error
  return array.astype(str) if words else array


def _lines(file: str, key: str, what: Content) -> np.ndarray:
  """One label or id per line, or the column `key` of a .csv with a header.

  Integers if all are, else words, as 007 is.
  """
  text = _text(file)
  if file.lower().endswith('.csv'):
    rows = _cells(file, key, text, what.noun)
  elif key:
    raise ValueError(f'{file}:{key}: a text file has no keys; drop ":{key}"')
  else:
    rows = re.split('\r\n|\r|\n', text)
  rows = [row.strip() for row in rows]
  while rows and not rows[-1]:
    rows.pop()
  blank = [i for i, row in enumerate(rows) if not row]
  if blank:
    raise ValueError(
      f'{file}: the {what.noun} of line {blank[0] + 1} is missing '
      f'({len(blank):,} such); give one per line'
    )
  whole = all(WHOLE.fullmatch(row) for row in rows)
  try:
    return np.array(rows, np.int64) if whole else np.array(rows, str)
  except OverflowError as error:
    raise ValueError(f'{file} has numbers beyond 64 bits') from error


def _text(file: str) -> str:
  """UTF-8, or UTF-16 that begins with its mark."""
  data = Path(file).read_bytes()
  marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
  try:
    return data.decode('utf-16' if marked else 'utf-8-sig')
  except UnicodeDecodeError as error:
    raise ValueError(f'{file} is not UTF-8 text; save it so') from error


def _cells(file: str, key: str, text: str, noun: str) -> list[str]:
  """The only column, or the one `key` names, between commas, ; or tabs.

  Semicolons and tabs divide fields if `key` is then in the header, or if all
  lines have equally many; else they are parts of words.
  """
  try:
    tables = [
      list(csv.reader(io.StringIO(text, newline=''), delimiter=delimiter))
      for delimiter in ',;\t'
    ]
  except csv.Error as error:
    raise ValueError(f'{file} is not CSV ({error})') from error
  headers = [[name.strip() for name in rows[0]] for rows in tables if rows]
  named = [rows for rows, names in zip(tables, headers) if key and key in names]
  even = [rows for rows in tables if _divided(rows)]
  rows = (named + even + tables)[0]
  at = 0
  if key:
    header = [name.strip() for name in rows[0]] if rows else []
    at = header.index(_pick(file, key, header, (), 'columns'))
    rows = rows[1:]
  width = len(header) if key else 1
  wrong = [i for i, row in enumerate(rows) if row and len(row) != width]
  if wrong:
    raise ValueError(
      f'{file}: line {wrong[0] + 1 + bool(key)} has '
      f'{len(rows[wrong[0]])} fields, not {width}; '
      f'write one {noun} per line, in quotes if it holds a comma, or name a '
      f'column of the header: {file}:NAME'
    )
  return [row[at] if row else '' for row in rows]


def _divided(rows: list[list[str]]) -> bool:
  """Whether all lines have equally many fields, and more than one."""
  sizes = {len(row) for row in rows if row}
  return len(sizes) == 1 and sizes != {1}
