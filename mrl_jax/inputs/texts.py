"""Texts that a person has: strings, and files with a text per line or row."""

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrl_jax.contracts import Values
from mrl_jax.errors import UsageError

KEY = 'text'  # of a file, unless another is named
NAMES = ('_id', 'id')  # keys that name a text
SUFFIXES = 'txt|jsonl|parquet|csv|tsv'
PATH = re.compile(rf'(.+?\.({SUFFIXES}))(?::([^:/\\]*))?', re.IGNORECASE)


class Texts(Sequence):
  """Strings with a name each.

  Attributes:
    texts: a sequence of strings, or a column of pyarrow.
    names: of each, its id or its number.
  """

  def __init__(self, texts: Any, names: Sequence[str] | None = None):
    self.texts = texts
    self.names = names or [str(i) for i in range(len(texts))]

  def __len__(self) -> int:
    return len(self.texts)

  def __getitem__(self, index: int) -> str:  # type: ignore[override]
    value = self.texts[index]
    return value.as_py() if hasattr(value, 'as_py') else value


def fault(value: Any, blank: bool = False) -> str:
  """What is wrong with a text, as the end of a sentence; '' if nothing is.

  `blank` says whether it may be empty.
  """
  if not isinstance(value, str):
    missing = value is None or value != value
    kind = 'missing' if missing else f'of type {type(value).__name__}'
    return f'is {kind}; give a string, or remove the row'
  if not blank and not value.strip():
    return 'is empty; an empty text has no meaning: remove the row'
  if not value.isascii():
    lone = re.search('[\ud800-\udfff]', value)
    if lone:
      return (
        f'has half a character ({ascii(lone[0])}, at {lone.start():,}), which '
        'is not Unicode; read it again as UTF-8'
      )
  return ''


def open_texts(given: Any) -> Values:
  """What a person gives as texts.

  Args:
    given: one of these. A sequence of strings: each is a text. A string that
      ends in .txt (a text per line), .jsonl, .parquet, .csv or .tsv is the
      path of a file; `:KEY` after it names a key or a column, 'text' by
      default. A pathlib.Path is always one. Any other string is one text.
      `contracts.Values` are taken as they are, and read when asked for.

  Raises:
    UsageError: for anything else, a file that cannot be read, or a text that
      is missing or empty, naming its line or row.
  """
  if isinstance(given, str | Path):
    match = PATH.fullmatch(str(given))
    if match:
      path, kind, key = match.groups(default='')
      return _read(Path(path).expanduser(), kind.lower(), key)
    if isinstance(given, Path):
      raise UsageError(
        f'{given}: texts are read from .txt, .jsonl, .parquet, .csv and .tsv'
      )
    given = [given]
  if isinstance(given, Values):
    return given
  if isinstance(given, np.ndarray) and given.ndim == 1:
    given = given.tolist()
  if not isinstance(given, Sequence):
    raise UsageError(
      f'{type(given).__name__} is not a list of texts; give strings, or the '
      'path of a file'
    )
  if isinstance(given, list | tuple):  # others are read when asked for
    _check(given, 'text', 0)
  return Texts(given)


def _check(values: Iterable, where: str, first: int) -> None:
  for i, value in enumerate(values, first):
    if problem := fault(value):
      raise UsageError(f'{where} {i} {problem}')


def _read(path: Path, kind: str, key: str) -> Texts:
  if not _there(path):
    raise UsageError(
      f'{path} is not there; check the path, or give a list: [text]'
    )
  found = _texts(path, kind, key)
  if not found:
    raise UsageError(f'{path} has no texts; write one per line or row')
  return found


def _there(path: Path) -> bool:
  try:
    return path.is_file()
  except OSError:  # a name that is too long
    return False


def _texts(path: Path, kind: str, key: str) -> Texts:
  if kind == 'parquet':
    return _column(path, _parquet(path, key), 0)
  if kind in ('csv', 'tsv'):
    return _column(path, _table(path, kind, key), 1)
  if kind == 'txt' and key:
    raise UsageError(f'{path}:{key}: a .txt file has no keys; drop ":{key}"')
  lines = re.split('\r\n|\r|\n', _decoded(path))
  while lines and not lines[-1].strip():
    lines.pop()
  names: Sequence[str] = [str(i) for i in range(1, len(lines) + 1)]
  values: Sequence = lines
  if kind == 'jsonl':
    values, ids = _records(path, lines, key or KEY)
    names = ids or names
  _check(values, f'{path}: the text of line', 1)
  return Texts(values, names)


def _decoded(path: Path) -> str:
  """UTF-8, or UTF-16 that begins with its mark."""
  try:
    data = path.read_bytes()
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode('utf-16' if marked else 'utf-8-sig')
  except OSError as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  except UnicodeDecodeError as error:
    line = error.object[: error.start].count(b'\n') + 1
    raise UsageError(
      f'{path}: line {line} is not UTF-8 text; save the file so'
    ) from error


def _records(
  path: Path, lines: Sequence[str], key: str
) -> tuple[list, list[str]]:
  """(the values of `key`, the ids or [] if some record has none)."""
  values, ids = [], []
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
    except (ValueError, RecursionError) as error:
      raise UsageError(f'{path}: line {number} is not JSON: {error}') from error
    if not isinstance(record, dict) or key not in record:
      keys = ', '.join(record) if isinstance(record, dict) else 'none'
      raise UsageError(
        f'{path}: line {number} has no key {key!r} (its keys: {keys}); name '
        f'one: {path}:KEY'
      )
    values.append(record[key])
    ids += [str(record[name]) for name in NAMES if name in record][:1]
  return values, ids if len(ids) == len(values) else []


def _column(path: Path, columns: tuple, first: int) -> Texts:
  """Texts of a pyarrow column of strings, decoded when they are asked for.

  `columns` are that one and the ids or None; `first` is the number of a row.
  """
  import pyarrow

  column, ids = columns

  try:
    column = column.cast(pyarrow.large_string())
    column.validate(full=True)
  except pyarrow.ArrowException as error:
    raise UsageError(
      f'{path}: its column of {column.type} is not UTF-8 text: {error}'
    ) from error
  _check((v.as_py() for v in column), f'{path}: the text of row', first)
  names = [str(i) for i in range(first, first + len(column))]
  if ids is not None and not ids.null_count:
    names = [str(value.as_py()) for value in ids]
  return Texts(column, names)


def _parquet(path: Path, key: str) -> tuple:
  """(column of texts, column of ids or None)."""
  import pyarrow
  from pyarrow import parquet

  try:
    file = parquet.ParquetFile(path)
    key, name = _keys(path, key, file.schema_arrow.names)
    table = file.read(columns=[key, name] if name else [key])
  except (pyarrow.ArrowException, OSError) as error:
    raise UsageError(f'{path} is not a Parquet file: {_line(error)}') from error
  kind = table.schema.field(key).type
  kind = getattr(kind, 'value_type', kind)  # of a dictionary
  words = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
  if not words and not pyarrow.types.is_string_view(kind):
    raise UsageError(
      f'{path}:{key} is a column of {kind}; choose one of strings, out of '
      + ', '.join(file.schema_arrow.names)
    )
  return table.column(key), table.column(name) if name else None


def _table(path: Path, kind: str, key: str) -> tuple:
  """The same of a .csv, or of a .tsv, in which quotes are plain letters."""
  import pyarrow
  from pyarrow import csv

  tabs = kind == 'tsv'
  parse = csv.ParseOptions(
    delimiter='\t' if tabs else ',',
    quote_char=False if tabs else '"',
    newlines_in_values=not tabs,
  )
  read = csv.ReadOptions(block_size=1 << 26)  # a row must fit
  try:
    with csv.open_csv(path, read, parse) as reader:
      header = reader.schema.names
    key, name = _keys(path, key, header)
    columns = [key, name] if name else [key]
    convert = csv.ConvertOptions(
      include_columns=columns,
      column_types=dict.fromkeys(columns, pyarrow.string()),
    )
    table = csv.read_csv(path, read, parse, convert)
  except (pyarrow.ArrowException, OSError) as error:
    raise UsageError(f'{path} cannot be read: {_line(error)}') from error
  return table.column(key), table.column(name) if name else None


def _keys(path: Path, key: str, columns: Sequence[str]) -> tuple[str, str]:
  """(column of texts, column of ids or ''), of these columns."""
  usual = KEY if KEY in columns or len(columns) > 1 else columns[0]
  if (key or usual) not in columns:
    raise UsageError(
      f'{path} has no column {key or usual!r}; name one of '
      f'{", ".join(columns)}, like {path}:{columns[0]}'
    )
  key = key or usual
  return key, next((n for n in NAMES if n in columns and n != key), '')


def _line(error: Exception) -> str:
  return (str(error).splitlines() or [''])[0][:200]
