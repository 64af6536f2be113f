"""Pairs of texts that people have scored, as files of STS hold them."""

import dataclasses
import hashlib
import json
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
    score = tables.score_of(values[tables.key(values, SCORES, row)], row)
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


def _rows(path: Path) -> Iterator[tables.PlacedRow]:
  if tables.ending(path) in tables.DELIMITED:
    return tables.delimited(path)
  return tables.rows(path)
