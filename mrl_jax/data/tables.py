"""Rows of JSON lines, Parquet, CSV and TSV, each named by its line or row.

Files may be gzip'ed. Nothing is guessed: what cannot be read is an error that
names the file and the line.
"""

import contextlib
import csv
import gzip
import io
import json
import math
import mmap
import re
import reprlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mrl_jax.errors import UsageError

JSON_LINES = ('.jsonl', '.jsonl.gz', '.ndjson')
KINDS = (*JSON_LINES, '.parquet')
DELIMITED = ('.csv', '.csv.gz', '.tsv', '.tsv.gz')
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


def _raised(error: UsageError) -> None:
  raise error


def rows(
  path: Path,
  columns: Sequence[str] = (),
  malformed: Callable[[UsageError], None] = _raised,
) -> Iterator[PlacedRow]:
  """The rows of a file of JSON lines or Parquet, one at a time.

  Args:
    columns: of a Parquet file that has all of them. Otherwise its rows are of
      every column that is not nested.
    malformed: is called for a line that is not a JSON object. If it does not
      raise, the line is passed over.

  Raises:
    UsageError: if it is of another kind, or cannot be read.
  """
  if ending(path) == '.parquet':
    yield from _parquet(path, columns)
  elif ending(path) in JSON_LINES:
    with opened(path) as file:
      for line in lines(file, path):
        try:
          row = PlacedRow(f'line {line.number}', parsed(line, path))
        except UsageError as error:
          malformed(error)
          continue
        yield row
  else:
    raise UsageError(
      f'{path}: files of kind {ending(path)!r} are not read; use '
      f'{", ".join(KINDS)}'
    )


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[PlacedRow]:
  import pyarrow
  from pyarrow import parquet

  number = 0
  try:
    with contextlib.closing(parquet.ParquetFile(path)) as file:
      flat = [
        field.name
        for field in file.schema_arrow
        if not pyarrow.types.is_nested(field.type)
      ]
      there = set(columns) <= set(file.schema_arrow.names)
      chosen = [*dict.fromkeys(columns)] if columns and there else flat
      for batch in file.iter_batches(ROWS_AT_ONCE, columns=chosen):
        for values in batch.to_pylist():
          number += 1
          yield PlacedRow(f'row {number}', values)
  except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
    raise UsageError(
      f'{path} cannot be read: {str(error).splitlines()[0]}'
    ) from error


def delimited(
  path: Path, malformed: Callable[[UsageError], None] = _raised
) -> Iterator[PlacedRow]:
  """The rows of a CSV or TSV file with a header; a quote in TSV is a letter.

  Args:
    malformed: is called for a row of more or fewer fields than the header. If
      it does not raise, the row is passed over.

  Raises:
    UsageError: if the file cannot be read.
  """
  read_fields = _csv if ending(path).startswith('.csv') else _tsv
  header: list[str] | None = None
  with opened(path) as file:
    for number, fields in read_fields(file, path):
      if header is None:
        header = [field.strip() for field in fields]
      elif len(fields) != len(header):
        error = UsageError(
          f'{path}, line {number} has {len(fields)} fields where the header '
          f'names {len(header)}; is the file cut off?'
        )
        malformed(error)
      else:
        yield PlacedRow(f'line {number}', dict(zip(header, fields)))


def _tsv(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
  for line in lines(file, path):
    yield line.number, line.text.split('\t')


def _csv(file: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
  """Fields between commas, in quotes where they hold one, or a new line."""
  with io.TextIOWrapper(file, encoding='utf-8-sig', newline='') as text:
    reader = csv.reader(text, strict=True)
    try:
      for fields in reader:
        if fields:
          yield reader.line_num, fields
    except (csv.Error, UnicodeDecodeError) as error:
      raise UsageError(
        f'{path}, line {reader.line_num + 1} cannot be read: {error}'
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
    raise UsageError(
      f'{row}: {name!r} is {reprlib.repr(text)}; it must be text'
    )
  return LONE.sub('\ufffd', text)


def score_of(value: Any, row: str) -> float | None:
  """A number of a row, also in digits; None where it is missing.

  Raises:
    UsageError: if it is not a finite number.
  """
  if value is None or (isinstance(value, str) and not value.strip()):
    return None
  try:
    score = math.inf if isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    score = math.inf
  if math.isinf(score):
    raise UsageError(f'{row} has the score {value!r}; it must be a number')
  return None if math.isnan(score) else score
