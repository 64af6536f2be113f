"""Embeddings with their labels, ours or anybody's, from memory or files."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from mrl_jax.embed import columns
from mrl_jax.shapes import Float, Int

ROWS_AT_ONCE = 65_536  # looked through together
# Squares of smaller or larger values leave float32, or its sums, in cosines.
SMALL, LARGE = 1e-3, 1e15
SHOWN = 5  # rows named in an error
MOST_QUERIES = 1000


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Rows of embeddings, not normalised, and their classes.

  Attributes:
    embeddings: in memory or mapped from a file; any float type.
    labels: class ids of any size, None if unknown.
    ids: a name or number per row, None for the row's own number.
    worded: whether the labels were words in their file.
  """

  embeddings: Float[np.ndarray, 'n d']
  labels: Int[np.ndarray, 'n'] | None = None
  ids: np.ndarray | None = None
  worded: bool = False

  def __len__(self) -> int:
    return len(self.embeddings)

  def drawn(self, random: np.random.Generator, count: int) -> 'Vectors':
    """At most `count` of the rows, in their order; ids are left behind."""
    if len(self) <= count:
      return self
    index = drawn(random, len(self), count)
    labels = None if self.labels is None else self.labels[index]
    return Vectors(self.embeddings[index], labels)


def drawn(
  random: np.random.Generator, total: int, count: int
) -> Int[np.ndarray, 'n']:
  """At most `count` of `total` indices, increasing."""
  if total <= count:
    return np.arange(total)
  return np.sort(random.choice(total, count, replace=False))


class LabelsError(ValueError):
  """Something is wrong with labels, or with their number."""


def read(
  path: str | Path,
  labels: str | Path | None = None,
  names: tuple[str, ...] = (),
) -> tuple[Vectors, tuple[str, ...]]:
  """(vectors, class names) from files; names are () where classes are numbers.

  Args:
    path: `x.npy` (mapped, not loaded), `x.npz` or `x.npz:key`, `x.parquet` or
      `x.parquet:column`, or an export of ours, `FOLDER` or `FOLDER:split`.
    labels: `.npy`, `.npz`, `.parquet` likewise, or `.txt` or `.csv` with one
      label per line. Whole numbers are class ids, kept as they are; words get
      ids in sorted order. An export brings its own.
    names: of classes that have their ids already, those of a database before
      its queries are read. Words that are not among them come after them.

  Raises:
    ValueError: naming the file, what is wrong in it and the fix; a LabelsError
      if that file is `labels`.
  """
  own = None
  if Path(split_path(path)[0]).is_dir():
    path, own, known = exported(path)
    if names and known and names != known:
      raise ValueError(
        f'{path} has other classes than the embeddings searched; export both '
        'from one dataset'
      )
    names = names or known
  embeddings = checked(columns.matrix(*split_path(path)), path)
  found, worded = None, False
  if labels:
    try:
      values = columns.column(*split_path(labels))
      worded = values.dtype.kind in 'SU'
      found, names = class_ids(values, labels, names)
    except ValueError as error:
      raise LabelsError(str(error)) from error
  elif own:
    found, _ = class_ids(columns.column(own, 'label'), own, ())
  if found is not None and len(found) != len(embeddings):
    hint = (
      ' (is its first line a header?)' if ends(labels, 'csv', 'txt') else ''
    )
    kind = LabelsError if labels else ValueError
    raise kind(
      f'{labels or own} has {len(found):,} labels for the '
      f'{len(embeddings):,} rows of {path}; give one per row{hint}'
    )
  return Vectors(embeddings, found, worded=worded), names


def ends(path, *kinds: str) -> bool:
  return Path(str(path)).suffix.lower().lstrip('.') in kinds


def split_path(path: str | Path) -> tuple[str, str]:
  """('x.npz', 'key') of 'x.npz:key', ('x.npz', '') of 'x.npz'."""
  text = str(Path(str(path)).expanduser())
  file, colon, key = text.rpartition(':')
  return (text, '') if Path(text).exists() or not colon else (file, key)


def exported(path) -> tuple[str, str, tuple[str, ...]]:
  """(embeddings, label file, class names) of a split of our own export."""
  folder, split = split_path(path)
  try:
    meta = json.loads((Path(folder) / 'meta.json').read_text())
    rows, names = dict(meta['rows']), tuple(meta['classes'])
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{folder} is a folder without a meta.json of an export; name an .npy, '
      '.npz or .parquet file'
    ) from error
  if not split and len(rows) == 1:
    split = next(iter(rows))
  if split not in rows:
    choice = ', '.join(f'{folder}:{name}' for name in rows)
    raise ValueError(f'{path}: name a split of this export: {choice}')
  where = Path(folder) / split
  if not where.with_name(f'{split}.parquet').exists():
    raise ValueError(
      f'{where} is not exported to its end; run the export again to go on'
    )
  return f'{where}.npy', f'{where}.parquet', names


def checked(x: np.ndarray, path) -> Float[np.ndarray, 'n d']:
  """The rows, once they can be compared: 2-D, finite, none of them zero."""
  if x.ndim != 2:
    raise ValueError(
      f'{path} holds an array {list(x.shape)}; embeddings must be 2-D, '
      'rows x width'
    )
  if not (np.issubdtype(x.dtype, np.floating) or x.dtype.kind in 'iu'):
    raise ValueError(
      f'{path} holds {x.dtype} values; embeddings must be numbers, float16 '
      'to float64'
    )
  if 0 in x.shape:
    raise ValueError(f'{path} holds no rows: its shape is {list(x.shape)}')
  x = x if x.dtype.kind == 'f' else x.astype(np.float32)
  bad, zero, odd = [], [], []
  for start in range(0, len(x), ROWS_AT_ONCE):
    part = np.asarray(x[start : start + ROWS_AT_ONCE])
    bad.append(start + np.flatnonzero(~np.isfinite(part).all(axis=1)))
    zero.append(start + np.flatnonzero(~part.any(axis=1)))
    most = np.abs(part).max(axis=1).astype(np.float64)
    odd.append(start + np.flatnonzero((most < SMALL) | (most > LARGE)))
  refuse(path, np.concatenate(bad), 'with NaN or infinity')
  refuse(path, np.concatenate(zero), 'of zeros only, which have no direction')
  refuse(
    path,
    np.concatenate(odd),
    f'whose largest value is not between {SMALL:g} and {LARGE:g}, too far for '
    'float32',
    'multiply all by one number',
  )
  return x


def refuse(
  path,
  rows: Int[np.ndarray, 'n'],
  what: str,
  fix: str = 'remove them and their labels',
) -> None:
  if len(rows):
    said = ', '.join(str(row) for row in rows[:SHOWN])
    more = ', ...' if len(rows) > SHOWN else ''
    noun = 'row' if len(rows) == 1 else 'rows'
    raise ValueError(
      f'{path} has {len(rows):,} {noun} {what} ({noun} {said}{more}); {fix}'
    )


def class_ids(
  values: np.ndarray, path, names: tuple[str, ...]
) -> tuple[Int[np.ndarray, 'n'], tuple[str, ...]]:
  """(int64 class ids, names) of labels that are numbers or words."""
  if values.ndim != 1:
    raise ValueError(
      f'{path} holds an array {list(values.shape)}; labels must be 1-D, one '
      'per row'
    )
  if values.dtype.kind in 'SU':
    return word_ids(values.astype(str), path, names)
  if values.dtype.kind not in 'iufb':
    raise ValueError(
      f'{path} holds {values.dtype} values; labels must be whole numbers or '
      'words'
    )
  if values.dtype.kind == 'f':
    refuse_labels(path, values, ~np.isfinite(values), 'is missing')
    refuse_labels(path, values, values != np.floor(values), 'is not whole')
    wide = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    refuse_labels(
      path, values, np.abs(values) > wide, f'is beyond {values.dtype}'
    )
  refuse_labels(path, values, values < 0, 'is below 0')
  if values.dtype.kind == 'u':
    refuse_labels(path, values, values > np.iinfo(np.int64).max, 'is too large')
  return values.astype(np.int64), names


def word_ids(words, path, names) -> tuple:
  blank = np.char.strip(words) == ''
  refuse_labels(path, words, blank, 'is missing')
  found, inverse = np.unique(words, return_inverse=True)
  known = {name: i for i, name in enumerate(names)}
  for word in found.tolist():
    known.setdefault(word, len(known))
  ids = np.array([known[word] for word in found.tolist()], np.int64)
  return ids[inverse.reshape(-1)], tuple(known)


def refuse_labels(path, values, wrong: np.ndarray, why: str) -> None:
  rows = np.flatnonzero(wrong)
  if len(rows):
    raise ValueError(
      f'{path}: label {values[rows[0]].item()!r} of row {rows[0]} {why} '
      f'({len(rows):,} such); labels are whole numbers from 0, or words'
    )


def check_labels(database: Vectors, queries: Vectors, named: bool) -> None:
  """Raises ValueError if one side has words for classes, the other numbers.

  `named`: the database's numbers have names, as those of an export have.
  """
  if database.labels is None or queries.labels is None:
    return
  if database.worded != queries.worded and not (queries.worded and named):
    kinds = ['words' if v.worded else 'numbers' for v in (queries, database)]
    raise ValueError(
      f'the queries have {kinds[0]} for classes and the embeddings searched '
      f'{kinds[1]}; give both the same'
    )


def check_widths(database: Vectors, queries: Vectors) -> None:
  """Raises ValueError unless both sides are equally wide."""
  widths = [side.embeddings.shape[1] for side in (queries, database)]
  if widths[0] != widths[1]:
    raise ValueError(
      f'queries are {widths[0]} wide and the database {widths[1]}; both must '
      'come from the same model'
    )


def split(
  vectors: Vectors, count: float | None = None, seed: int = 0
) -> tuple[Vectors, Vectors]:
  """(database, queries): some rows held out at random, whatever their class.

  Each side keeps the order of its rows, and their numbers, or own ids, as
  `ids`.

  Args:
    count: of the queries, or below 1 their share; None for a tenth, at most
      1,000, at least 1.

  Raises:
    ValueError: unless both sides get a row.
  """
  n = len(vectors)
  if n < 2:
    raise ValueError('one row cannot be both searched and a query; add queries')
  if count is None:
    wanted = max(1, min(n // 10, MOST_QUERIES))
  else:
    wanted = max(1, round(count * n)) if 0 < count < 1 else count
  if wanted != int(wanted) or not 0 < wanted < n:
    raise ValueError(
      f'count={count} queries cannot be held out of {n} rows; it must be a '
      f'share between 0 and 1 or from 1 to {n - 1}'
    )
  chosen = np.zeros(n, bool)
  order = np.random.default_rng(seed).permutation(n)
  chosen[order[: int(wanted)]] = True
  ids = np.arange(n) if vectors.ids is None else vectors.ids

  def some(rows):
    labels = None if vectors.labels is None else vectors.labels[rows]
    return Vectors(vectors.embeddings[rows], labels, ids[rows])

  return some(np.flatnonzero(~chosen)), some(np.flatnonzero(chosen))
