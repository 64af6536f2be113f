"""`pairs`: your own pairs of texts, with negatives or scores if there are some.

Files are JSON lines, Parquet, CSV or TSV, or a folder of them, as the Hugging
Face hub and `datasets` lay out Parquet files. One source is one such file or
folder.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mrl_jax import images, progress
from mrl_jax.contracts import Facts
from mrl_jax.data import source, split_files, tables
from mrl_jax.errors import UsageError

ROWS_AT_ONCE = 65_536  # of a pyarrow table, as Python objects
BYTES = 8  # of a fingerprint, of a hash


@dataclasses.dataclass(frozen=True)
class _Columns:
  """The names of the columns in the files, '' for none."""

  query: str
  positive: str
  negatives: tuple[str, ...]
  score: str
  ids: str

  @property
  def all(self) -> tuple[str, ...]:
    names = self.query, self.positive, *self.negatives, self.score, self.ids
    return tuple(filter(None, names))


def load(
  data_dir: str = '',
  path: str = '',
  validation_path: str = '',
  validation_fraction: float = 0.1,
  query: str = 'query',
  positive: str = 'positive',
  negatives: Sequence[str] = (),
  score: str = '',
  ids: str = '',
  malformed: int = 100,
) -> source.Split:
  """Pairs of a file or a folder: records {'query', 'positive', 'id'}.

  With `negatives`, they have a list 'negatives' of texts, which may be empty;
  with `score`, a number 'score'. Prints what it leaves out, and why.

  Args:
    path: of a file, or of a folder. Files whose names begin with `train`,
      `validation` (or `val`, `valid`, `dev`) or `test`, or that are in a folder
      of that name, are of that split; others are of `train`.
    validation_path: of what is held out. With '', it is the validation files of
      `path`; without some, `validation_fraction` of the queries.
    validation_fraction: share of the queries that is held out, by a hash of
      their text. Pairs with one query stay together.
    query, positive: columns of texts.
    negatives: columns of a text or of a list of texts each; what is empty in
      them is left out.
    score: a column of numbers.
    ids: a column of names; '' names a pair by its file and row.
    malformed: so many rows may be left out before the files are refused.

  Raises:
    UsageError: naming the option, the file and the row.
  """
  del data_dir
  columns = _named(query, positive, negatives, score, ids)
  files = split_files.by_split(path, 'path')
  if validation_path:
    other = split_files.by_split(validation_path, 'validation_path')
    files['validation'] = other['validation'] or other['train']
  train, held, fingerprint = _both(
    files, columns, _LeftOut(malformed), validation_fraction
  )
  known = Facts(_fields(columns), fingerprint=fingerprint)
  return source.Split(source.Columns(train), source.Columns(held), known)


def facts(
  data_dir: str = '',
  query: str = 'query',
  positive: str = 'positive',
  negatives: Sequence[str] = (),
  score: str = '',
  ids: str = '',
  **others,
) -> Facts:
  """The facts of `load` without a fingerprint; no file is opened."""
  del data_dir, others
  return Facts(_fields(_named(query, positive, negatives, score, ids)))


def _named(query, positive, negatives, score, ids) -> _Columns:
  """The columns of these options.

  Raises:
    UsageError: if one is missing, or has two uses.
  """
  several = (negatives,) if isinstance(negatives, str) else tuple(negatives)
  columns = _Columns(query, positive, tuple(filter(None, several)), score, ids)
  for name, value in (('query', query), ('positive', positive)):
    if not value:
      raise UsageError(f"data.source.{name}='' must name a column of texts")
  texts = (query, positive, *columns.negatives)
  for name in texts:
    if texts.count(name) > 1:
      raise UsageError(
        f'data.source: the column {name!r} has two uses; query, positive and '
        'negatives are different columns'
      )
  return columns


def _fields(columns: _Columns) -> dict[str, dict]:
  more = ('negatives', columns.negatives), ('score', columns.score)
  return {
    name: {}
    for name in ('query', 'positive', *(name for name, value in more if value))
  }


def _both(files, columns: _Columns, left_out, fraction: float) -> tuple:
  """(table to train on, table that is held out, fingerprint of both)."""
  train, digest = _read(files['train'], columns, left_out)
  if files['validation']:
    held, more = _read(files['validation'], columns, left_out)
    digest += more
    _tell_twins(train, held)
  else:
    train, held = _split(train, fraction)
  left_out.tell()
  return train, held, hashlib.blake2b(digest, digest_size=BYTES).hexdigest()


class _LeftOut:
  """The rows that cannot be used.

  Args:
    limit: of their number.
  """

  def __init__(self, limit: int):
    if limit < 0:
      raise UsageError(f'data.source.malformed={limit} must be 0 or more')
    self.limit = limit
    self.reasons: list[str] = []

  def __call__(self, error: UsageError) -> None:
    """Counts one more.

    Raises:
      UsageError: if they are too many.
    """
    self.reasons.append(str(error))
    if len(self.reasons) > self.limit:
      raise UsageError(
        f'{self.reasons[0]} (the first of more than '
        f'data.source.malformed={self.limit} rows that cannot be used)'
      )

  def tell(self) -> None:
    """Says how many, and names the first."""
    if self.reasons:
      title = f'{len(self.reasons):,} rows are left out:'
      progress.say(images.first_lines(title, self.reasons))


def _read(
  paths: Sequence[Path], columns: _Columns, left_out: _LeftOut
) -> tuple[Any, bytes]:
  """(a pyarrow table of the pairs of files, their digest).

  Raises:
    UsageError: if there are none, or a column of negatives is nowhere.
  """
  import pyarrow

  schema = _schema(columns)
  hasher = hashlib.blake2b()
  parts, waiting = [], []
  before, seen = len(left_out.reasons), set()

  def pack() -> None:
    parts.append(pyarrow.RecordBatch.from_pylist(waiting, schema))
    waiting.clear()

  for path in paths:
    for where, values in _rows(path, columns, left_out):
      try:
        pair = _pair(values, columns, path, where)
      except UsageError as error:
        left_out(error)
        continue
      seen |= values.keys()
      hasher.update(json.dumps([*pair.values()][:-1]).encode())
      waiting.append(pair)
      if len(waiting) == ROWS_AT_ONCE:
        pack()
  pack()
  table = pyarrow.Table.from_batches(parts, schema)
  if not table.num_rows:
    first = [f'; {reason}' for reason in left_out.reasons[before:]][:1]
    raise UsageError(f'{paths[0]} has no pairs{"".join(first)}')
  for name in set(columns.negatives) - seen:
    raise UsageError(
      f'no row of {paths[0]} has {name!r}, which data.source.negatives names'
    )
  return table, hasher.digest()


def _schema(columns: _Columns):
  import pyarrow

  text = pyarrow.large_string()
  kinds = {'query': text, 'positive': text}
  if columns.negatives:
    kinds['negatives'] = pyarrow.large_list(text)
  if columns.score:
    kinds['score'] = pyarrow.float64()
  return pyarrow.schema(kinds | {'id': text})


def _rows(
  path: Path, columns: _Columns, left_out: _LeftOut
) -> Iterator[tables.PlacedRow]:
  """The rows of a file.

  Raises:
    UsageError: if its first row lacks a column. A line of JSON may lack those
      of negatives.
  """
  if tables.ending(path) in tables.DELIMITED:
    placed = tables.delimited(path, left_out)
  else:
    placed = tables.rows(path, columns.all, left_out)
  free = columns.negatives if tables.ending(path) in tables.JSON_LINES else ()
  needed = [name for name in columns.all if name not in free]
  for number, row in enumerate(placed):
    try:
      for name in needed:
        tables.key(row.values, [name], f'{path}, {row.where}')
    except UsageError as error:
      if number:
        left_out(error)
        continue
      raise UsageError(
        f'{error}; name the columns by data.source.query, .positive, '
        '.negatives, .score and .ids'
      ) from error
    yield row


def _pair(values: Mapping, columns: _Columns, path: Path, where: str) -> dict:
  """The record of a row.

  Raises:
    UsageError: if it cannot be used.
  """
  row = f'{path}, {where}'
  pair: dict[str, Any] = {}
  for field, name in (
    ('query', columns.query),
    ('positive', columns.positive),
  ):
    pair[field] = tables.text_of(values, name, row)
    if not pair[field].strip():
      raise UsageError(f'{row}: {name!r} is empty; remove the pair')
  if columns.negatives:
    pair['negatives'] = _negatives(values, columns.negatives, row)
    if pair['positive'].strip() in map(str.strip, pair['negatives']):
      raise UsageError(
        f'{row}: a negative equals the positive; remove the negative'
      )
  if columns.score:
    pair['score'] = tables.score_of(values[columns.score], row)
    if pair['score'] is None:
      raise UsageError(f'{row} has no score; remove the pair')
  pair['id'] = f'{path.name}, {where}'
  if columns.ids:
    pair['id'] = tables.name_of(values[columns.ids], row)
  return pair


def _negatives(values: Mapping, names: Sequence[str], row: str) -> list[str]:
  """The texts in these columns that are not empty."""
  texts = []
  for name in names:
    given = values.get(name)
    several = given if isinstance(given, list) else [given]
    texts += [tables.text_of({name: one}, name, row) for one in several]
  return [text for text in texts if text.strip()]


def _tell_twins(train: Any, held: Any) -> None:
  """Says how many held-out queries are training queries too."""
  known = set(_hashes(train))
  twins = sum(value in known for value in _hashes(held))
  if twins:
    progress.say(
      f'{twins:,} of {held.num_rows:,} held-out pairs have a query that is '
      'learned from too.'
    )


def _split(table: Any, fraction: float) -> tuple[Any, Any]:
  """(the pairs to train on, those of a share of the queries)."""
  if not 0 < fraction < 1:
    raise UsageError(
      f'data.source.validation_fraction={fraction} must be between 0 and 1'
    )
  hashes = _hashes(table)
  order = sorted(set(hashes))
  if len(order) < 2:
    raise UsageError(
      'data.source.path has pairs of one query only, and none can be held out; '
      'name others by data.source.validation_path'
    )
  count = min(max(1, round(len(order) * fraction)), len(order) - 1)
  chosen = set(order[:count])
  held = [value in chosen for value in hashes]
  return table.filter([not one for one in held]), table.filter(held)


def _hashes(table: Any) -> list[bytes]:
  """Of each query; case and white space make no difference."""
  queries = (text.as_py().casefold() for text in table.column('query'))
  return [
    hashlib.blake2b(' '.join(q.split()).encode(), digest_size=BYTES).digest()
    for q in queries
  ]
