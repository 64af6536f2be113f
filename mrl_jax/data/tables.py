"""Rows of JSON lines and of Parquet files, each named by its line or row.

Files may be gzip'ed. Nothing is guessed: what cannot be read is an error that
names the file and the line.
"""

import contextlib
import gzip
import json
import mmap
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mrl_jax.errors import UsageError

JSON_LINES = ('.jsonl', '.jsonl.gz', '.ndjson')
KINDS = (*JSON_LINES, '.parquet')
ROWS_AT_ONCE = 4096  # decoded of a Parquet file
LONE = re.compile('[\ud800-\udfff]')  # halves of letters, which nothing encodes


class TextLine(NamedTuple):
  """A line that is not blank.

  Attributes:
    number: from 1.
    start: the byte at which it begins.
    text: without its end and without the mark of UTF-8.
  """

  number: int
  start: int
  text: str


class PlacedRow(NamedTuple):
  """A row and where it stands, like 'line 3'."""

  where: str
  values: dict[str, Any]


def ending(path: Path) -> str:
  """The end of a file's name, '.jsonl.gz' with both of its parts."""
  name = path.name.lower()
  both = name.endswith('.gz')
  return ''.join(Path(name).suffixes[-2:]) if both else Path(name).suffix


def opened(path: Path) -> BinaryIO:
  """A file to be read at any byte; a gzip'ed one is unpacked beside memory.

  Raises:
    UsageError: if it cannot be read.
  """
  try:
    if not ending(path).endswith('.gz'):
      return path.open('rb')
    with contextlib.ExitStack() as stack:
      whole = stack.enter_context(tempfile.TemporaryFile())
      with gzip.open(path, 'rb') as packed:
        shutil.copyfileobj(packed, whole)
      whole.seek(0)
      stack.pop_all()  # it stays open
      return whole
  except (OSError, EOFError, zlib.error) as error:
    raise UsageError(f'{path} cannot be read: {error}') from error


def mapped(file: BinaryIO) -> bytes | mmap.mmap:
  """The bytes of an open file, in memory only where they are looked at."""
  file.seek(0, 2)
  if not file.tell():
    return b''
  return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def lines(file: Iterable[bytes], path: Path) -> Iterator[TextLine]:
  """The lines of a file of UTF-8 that are not blank.

  Raises:
    UsageError: naming the line that is not UTF-8.
  """
  start = 0
  for number, line in enumerate(file, 1):
    try:
      text = line.decode('utf-8-sig' if number == 1 else 'utf-8')
    except UnicodeDecodeError as error:
      raise UsageError(
        f'{path}, line {number} is not UTF-8 text; save the file so'
      ) from error
    if (text := text.rstrip('\r\n')) and not text.isspace():
      yield TextLine(number, start, text)
    start += len(line)


def parsed(line: TextLine, path: Path) -> dict[str, Any]:
  """The JSON object of a line.

  Raises:
    UsageError: naming the line.
  """
  try:
    values = json.loads(line.text)
  except (ValueError, RecursionError) as error:
    raise UsageError(
      f'{path}, line {line.number} is not JSON ({error}); is the file cut off?'
    ) from error
  if not isinstance(values, dict):
    raise UsageError(
      f'{path}, line {line.number} holds no JSON object; write one per line, '
      'like {"_id": "1", "text": "..."}'
    )
  return values


def rows(path: Path) -> Iterator[PlacedRow]:
  """The rows of a file of JSON lines or Parquet, one at a time.

  Raises:
    UsageError: if it is of another kind, or cannot be read.
  """
  if ending(path) == '.parquet':
    yield from _parquet(path)
  elif ending(path) in JSON_LINES:
    with opened(path) as file:
      for line in lines(file, path):
        yield PlacedRow(f'line {line.number}', parsed(line, path))
  else:
    raise UsageError(
      f'{path}: files of kind {ending(path)!r} are not read; use '
      f'{", ".join(KINDS)}'
    )


def _parquet(path: Path) -> Iterator[PlacedRow]:
  import pyarrow
  from pyarrow import parquet

  number = 0
  try:
    with contextlib.closing(parquet.ParquetFile(path)) as file:
      names = [
        field.name
        for field in file.schema_arrow
        if not pyarrow.types.is_nested(field.type)
      ]
      for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
        for values in batch.to_pylist():
          number += 1
          yield PlacedRow(f'row {number}', values)
  except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
    raise UsageError(
      f'{path} cannot be read: {str(error).splitlines()[0]}'
    ) from error


def key(values: dict, names: Iterable[str], row: str) -> str:
  """The first of `names` that a row has.

  `row` names the row: 'corpus.jsonl, line 3'.

  Raises:
    UsageError: if it has none of them.
  """
  names = tuple(names)
  for name in names:
    if name in values:
      return name
  raise UsageError(
    f'{row} has no {" or ".join(map(repr, names))}, but '
    f'{", ".join(map(repr, values)) or "nothing"}'
  )


def name_of(value: Any, row: str) -> str:
  """An id as text: words as they stand, whole numbers without a point.

  Raises:
    UsageError: for anything else.
  """
  if isinstance(value, float) and value.is_integer():
    value = int(value)  # what a column with gaps makes of whole numbers
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  if not isinstance(value, str) or not value:
    raise UsageError(
      f'{row} has the id {value!r}; ids are words or whole numbers'
    )
  return LONE.sub('\ufffd', value)


def text_of(values: dict, name: str, row: str) -> str:
  """A text of a row, '' where it is missing.

  Raises:
    UsageError: if it is not text.
  """
  text = values.get(name)
  if text is None:
    return ''
  if not isinstance(text, str):
    raise UsageError(f'{row}: {name!r} is {text!r}; it must be text')
  return LONE.sub('\ufffd', text)
