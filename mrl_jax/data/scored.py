"""Pairs of texts that people have scored, as files of STS hold them."""

import csv
import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mrl_jax.data import tables, texts
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Float

SCORES = ('score', 'label', 'similarity', 'similarity_score')
SIDES = (('sentence1', 'sentence2'), ('text1', 'text2'))
IDS = ('id1', 'id2')
LEAST = 3  # pairs


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredTexts:
  """Pairs of texts, or of ids, each with a score of how alike its sides are.

  Attributes:
    path: of their file.
    first, second: the sides.
    scores: more is more alike.
    notes: sentences about what is odd.
  """

  path: Path
  first: Sequence[str]
  second: Sequence[str]
  scores: Float[np.ndarray, 'p']
  notes: tuple[str, ...]

  @property
  def name(self) -> str:
    """The name of the file without its end."""
    return self.path.name.removesuffix(tables.ending(self.path)) or 'pairs'

  @property
  def fingerprint(self) -> str:
    """Of all texts and scores, in whatever kind of file."""
    words = [list(self.first), list(self.second), self.scores.tolist()]
    text = json.dumps(words).encode()
    return hashlib.blake2b(text, digest_size=texts.BYTES).hexdigest()


def read(path: str | Path, ids: bool = False) -> ScoredTexts:
  """The scored pairs of a TSV, CSV, JSON lines or Parquet file.

  Pairs without a score are left out. A quote in a TSV file is a letter.

  Args:
    ids: whether the columns `id1` and `id2`, where there are such, name the
      sides in the place of their texts.

  Raises:
    UsageError: naming the file, and the line, of what cannot be used.
  """
  path = Path(path).expanduser()
  if not path.is_file():
    raise UsageError(
      f'{path} is not there; name a .tsv, .csv, .jsonl or '
      '.parquet file of pairs'
    )
  pairs, blank = [], 0
  for where, values in _rows(path):
    row = f'{path}, {where}'
    one, other = _sides(values, ids, row)
    score = _score(values[tables.key(values, SCORES, row)], row)
    sides = [
      tables.name_of(values[name], row)
      if name in IDS
      else tables.text_of(values, name, row).strip()
      for name in (one, other)
    ]
    if score is None:
      blank += 1
      continue
    if not all(sides):
      raise UsageError(f'{row} has an empty text; remove the pair')
    pairs.append((*sides, score))
  _check(path, pairs, blank)
  first, second, scores = zip(*pairs)
  total = blank + len(pairs)
  note = f'{blank:,} of {total:,} pairs have no score: they are left out.'
  notes = (note,) if blank else ()
  return ScoredTexts(path, first, second, np.array(scores), notes)


def _check(path: Path, pairs: Sequence[tuple], blank: int) -> None:
  """Raises UsageError unless the pairs have a correlation."""
  if len(pairs) < LEAST:
    without = f', and {blank:,} without one' if blank else ''
    raise UsageError(
      f'{path} has {len(pairs)} pairs with a score{without}; a correlation '
      f'needs {LEAST}'
    )
  if len({score for *_, score in pairs}) == 1:
    raise UsageError(
      f'{path}: all {len(pairs):,} pairs have the score {pairs[0][2]:g}, which '
      'nothing correlates with'
    )


def _sides(values: dict, ids: bool, row: str) -> tuple[str, str]:
  """The columns of both sides."""
  for pair in ((IDS,) if ids else ()) + SIDES:
    if all(name in values for name in pair):
      return pair
  known = [f'{one!r} and {other!r}' for one, other in SIDES]
  known += [f'{IDS[0]!r} and {IDS[1]!r}'] if ids else []
  raise UsageError(
    f'{row}: the columns of a pair are {", or ".join(known)}, and there are '
    f'{", ".join(map(repr, values))}'
  )


def _score(value, row: str) -> float | None:
  """A score; None where it is missing."""
  if value is None or (isinstance(value, str) and not value.strip()):
    return None
  try:
    score = math.inf if isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    score = math.inf
  if math.isinf(score):
    raise UsageError(f'{row} has the score {value!r}; it must be a number')
  return None if math.isnan(score) else score


def _rows(path: Path) -> Iterator[tables.PlacedRow]:
  kind = tables.ending(path).removesuffix('.gz')
  if kind not in ('.tsv', '.csv'):
    yield from tables.rows(path)
    return
  with tables.opened(path) as file:
    yield from (_tsv if kind == '.tsv' else _csv)(file, path)


def _tsv(file, path: Path) -> Iterator[tables.PlacedRow]:
  header: list[str] | None = None
  for line in tables.lines(file, path):
    fields = line.text.split('\t')
    if header is None:
      header = [field.strip() for field in fields]
      continue
    yield _named(f'line {line.number}', header, fields, path)


def _csv(file, path: Path) -> Iterator[tables.PlacedRow]:
  """Fields between commas, in quotes where they hold one, or a new line."""
  with io.TextIOWrapper(file, encoding='utf-8-sig', newline='') as text:
    reader = csv.reader(text, strict=True)
    header: list[str] | None = None
    try:
      for fields in reader:
        if header is None:
          header = [field.strip() for field in fields]
        elif fields:
          yield _named(f'line {reader.line_num}', header, fields, path)
    except (csv.Error, UnicodeDecodeError) as error:
      raise UsageError(
        f'{path}, line {reader.line_num + 1} cannot be read: {error}'
      ) from error


def _named(where, header, fields, path: Path) -> tables.PlacedRow:
  if len(fields) != len(header):
    raise UsageError(
      f'{path}, {where} has {len(fields)} fields where the header names '
      f'{len(header)}; is the file cut off?'
    )
  return tables.PlacedRow(where, dict(zip(header, fields)))
