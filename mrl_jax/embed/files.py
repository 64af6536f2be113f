"""Vectors out of anybody's files, checked before a number is believed."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from mrl_jax.embed import columns
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Float, Int

ROWS_AT_ONCE = 65_536  # checked together
# Squares of smaller or larger values leave float32, or its sums, in cosines.
SMALL, LARGE = 1e-3, 1e15
SHOWN = 5  # rows named in an error


class LabelsError(ValueError):
  """Labels, or their number, cannot be used."""


def read(
  path: str | Path,
  labels: str | Path | None = None,
  names: tuple[str, ...] = (),
  codes: str | None = None,
) -> tuple[Vectors, tuple[str, ...]]:
  """(vectors, class names) from files; names are () where classes are numbers.

  Args:
    path: `x.npy` (mapped, not loaded), `x.npz` or `x.npz:key`, `x.parquet` or
      `x.parquet:column`, or an export of ours, `FOLDER` or `FOLDER:split`.
    labels: `.npy`, `.npz`, `.parquet` likewise, or `.txt` or `.csv` with one
      label per line. Whole numbers are class ids, kept as they are; words get
      ids in sorted order. An export brings its labels and ids with it.
    names: of classes that have ids already: those of a database, when its
      queries are read. Words that are not among them come after them.
    codes: what the whole numbers of `path` are: `numbers` are taken as they
      stand, `offset` are uint8 with 128 for zero, `bits` are packed eight to
      a byte. None if they are floats.

  Raises:
    ValueError: naming the file, what is wrong in it and the fix; a LabelsError
      if that file is `labels`.
  """
  table = None
  if Path(_split_key(path)[0]).is_dir():
    path, table, known = _exported(path)
    if names and known and names != known:
      raise ValueError(
        f'{path} has other classes than the embeddings searched; export both '
        'from one dataset'
      )
    names = names or known
  stored = columns.matrix(*_split_key(path))
  coded = str(stored.dtype) if stored.dtype.kind in 'iu' else ''
  embeddings = _checked(_decoded(stored, path, codes), path)
  classes, ids, worded = None, None, False
  if labels:
    try:
      values = columns.column(*_split_key(labels))
      worded = values.dtype.kind in 'SU'
      classes, names = _class_ids(values, labels, names)
      _check_count(classes, labels, embeddings, path)
    except ValueError as error:
      raise LabelsError(str(error)) from error
  if table:
    known, ids = _of_table(table, embeddings, path)
    classes = known if classes is None else classes
  return Vectors(embeddings, classes, ids, worded, coded), names


def _of_table(table: str, embeddings, path) -> tuple:
  """(class ids, ids) of the rows of an export; None for a lacking column."""
  known, classes, ids = columns.names(table), None, None
  if 'label' in known:
    classes, _ = _class_ids(columns.column(table, 'label'), table, ())
    _check_count(classes, table, embeddings, path)
  if 'id' in known:
    ids = columns.column(table, 'id', columns.IDS)
    _check_count(ids, table, embeddings, path, 'ids')
  return classes, ids


def with_ids(vectors: Vectors, ids: str | Path, path: str | Path) -> Vectors:
  """The vectors of `path` with the ids in a file, numbers or words, one a row.

  Raises:
    ValueError: naming the file, what is wrong in it and the fix.
  """
  values = columns.column(*_split_key(ids), columns.IDS)
  _refuse_records(values, ids)
  if values.dtype.kind == 'S':
    values = np.char.decode(values, 'utf-8', 'backslashreplace')
  if values.ndim != 1 or values.dtype.kind not in 'iuU':
    raise ValueError(
      f'{ids} holds {values.dtype} values {list(values.shape)}; ids must be '
      '1-D, whole numbers or words, one per row'
    )
  _check_count(values, ids, vectors.embeddings, path, 'ids')
  return dataclasses.replace(vectors, ids=values)


def _check_count(values, file, embeddings, path, noun='labels') -> None:
  if len(values) != len(embeddings):
    text = Path(_split_key(file)[0]).suffix.lower() in ('.csv', '.txt')
    hint = ' (is its first line a header?)' if text else ''
    raise ValueError(
      f'{file} has {len(values):,} {noun} for the {len(embeddings):,} rows of '
      f'{path}; give one per row{hint}'
    )


def check_sides(database: Vectors, queries: Vectors, named: bool) -> None:
  """Raises ValueError if the sides are codes or classes of different kinds.

  Packed bits are, by custom, uint8, or int8 with 128 taken away: two types
  side by side would compare other bits. Classes are words or numbers;
  `named`: the database's numbers have names, as those of an export have.
  """
  if database.coded != queries.coded:
    raise ValueError(
      f'the queries are {queries.coded} and the embeddings searched '
      f'{database.coded}, whose codes may differ; save both as one type'
    )
  if database.labels is None or queries.labels is None:
    return
  if database.worded != queries.worded and not (queries.worded and named):
    kinds = ['words' if v.worded else 'numbers' for v in (queries, database)]
    raise ValueError(
      f'the queries have {kinds[0]} for classes and the embeddings searched '
      f'{kinds[1]}; give both the same'
    )


def _split_key(path: str | Path) -> tuple[str, str]:
  """('x.npz', 'key') of 'x.npz:key', ('x.npz', '') of 'x.npz'."""
  whole = str(Path(str(path)).expanduser())
  file, colon, key = whole.rpartition(':')
  return (whole, '') if Path(whole).exists() or not colon else (file, key)


def _exported(path) -> tuple[str, str, tuple[str, ...]]:
  """(embeddings, table of rows, class names) of a split of an export."""
  folder, split = _split_key(path)
  try:
    meta = json.loads((Path(folder) / 'meta.json').read_text(encoding='utf-8'))
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
  table = Path(folder) / f'{split}.parquet'
  if not table.exists():
    raise ValueError(
      f'{table.with_suffix("")} is not exported to its end; run the export '
      'again to go on'
    )
  return str(table.with_suffix('.npy')), str(table), names


def _decoded(x: np.ndarray, path, codes: str | None) -> np.ndarray:
  """Whole numbers as the floats they stand for; floats as they are.

  Bits become -1 and 1, whose cosine orders rows as their Hamming distance does.
  The sign of an int8 byte is a bit like any other: no distance depends on it.
  """
  if x.dtype.kind not in 'iu':
    if codes and x.dtype.kind == 'f':
      raise ValueError(
        f'{path} holds {x.dtype}; --codes={codes} is for whole numbers, on '
        'both sides: drop it'
      )
    return x
  if codes is None:
    raise ValueError(
      f'{path} holds {x.dtype}; say what they are: --codes=numbers (as they '
      'stand), --codes=offset (uint8, 128 is zero) or --codes=bits (packed)'
    )
  if codes == 'offset' and x.dtype != np.uint8:
    raise ValueError(
      f'{path} holds {x.dtype}; --codes=offset is for uint8, use numbers'
    )
  if codes == 'bits':
    if x.dtype.itemsize != 1 or x.ndim != 2:
      raise ValueError(
        f'{path} holds {x.dtype} {list(x.shape)}; --codes=bits is for 2-D '
        'uint8 or int8'
      )
    bits = np.unpackbits(np.ascontiguousarray(x).view(np.uint8), axis=1)
    return bits.astype(np.float16) * 2 - 1
  x = x.astype(np.float32)
  return x - 128 if codes == 'offset' else x


def _checked(x: np.ndarray, path) -> Float[np.ndarray, 'n d']:
  """The rows, once they can be compared: 2-D, finite, none of them zero."""
  _refuse_records(x, path)
  if x.ndim != 2:
    raise ValueError(
      f'{path} holds an array {list(x.shape)}; embeddings must be 2-D, '
      'rows x width'
    )
  if x.dtype.kind != 'f':
    raise ValueError(
      f'{path} holds {x.dtype} values; embeddings must be numbers, float16 '
      'to float64'
    )
  if 0 in x.shape:
    raise ValueError(f'{path} holds no rows: its shape is {list(x.shape)}')
  infinite, zero, extreme = [], [], []
  for start in range(0, len(x), ROWS_AT_ONCE):
    rows = np.asarray(x[start : start + ROWS_AT_ONCE])
    largest = np.abs(rows).max(axis=1).astype(np.float64)
    infinite.append(~np.isfinite(rows).all(axis=1))
    zero.append(~rows.any(axis=1))
    extreme.append((largest < SMALL) | (largest > LARGE))
  _refuse_rows(path, infinite, 'with NaN or infinity')
  _refuse_rows(path, zero, 'of zeros only, which have no direction')
  _refuse_rows(
    path,
    extreme,
    f'whose largest value is not between {SMALL:g} and {LARGE:g}, too far for '
    'float32',
    'multiply all by one number',
  )
  return x


def _refuse_records(x: np.ndarray, path) -> None:
  if x.dtype.names:
    raise ValueError(
      f'{path} holds records of {", ".join(x.dtype.names)}; save one field '
      f'as a plain array: x[{x.dtype.names[0]!r}]'
    )


def _refuse_rows(
  path,
  wrong: list[Bool[np.ndarray, 'n']],
  what: str,
  fix: str = 'remove them and their labels',
) -> None:
  rows = np.flatnonzero(np.concatenate(wrong))
  if len(rows):
    numbers = ', '.join(str(row) for row in rows[:SHOWN])
    more = ', ...' if len(rows) > SHOWN else ''
    noun = 'row' if len(rows) == 1 else 'rows'
    raise ValueError(
      f'{path} has {len(rows):,} {noun} {what} ({noun} {numbers}{more}); {fix}'
    )


def _class_ids(
  values: np.ndarray, path, names: tuple[str, ...]
) -> tuple[Int[np.ndarray, 'n'], tuple[str, ...]]:
  """(int64 class ids, names) of labels that are numbers or words."""
  _refuse_records(values, path)
  if values.ndim != 1:
    raise ValueError(
      f'{path} holds an array {list(values.shape)}; labels must be 1-D, one '
      'per row'
    )
  kind = values.dtype.kind
  if kind == 'S':
    try:
      values = np.char.decode(values, 'utf-8')
    except UnicodeDecodeError as error:
      raise ValueError(
        f'{path} has the label {error.object!r}, which is not UTF-8; save '
        'labels as str'
      ) from error
  if kind in 'SU':
    return _word_ids(values, path, names)
  if kind not in 'iufb':
    raise ValueError(
      f'{path} holds {values.dtype} values; labels must be whole numbers or '
      'words'
    )
  if kind == 'f':
    largest = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    for wrong, why in (
      (~np.isfinite(values), 'is missing'),
      (values != np.floor(values), 'is not whole'),
      (np.abs(values) > largest, f'is beyond {values.dtype}'),
    ):
      _refuse_labels(path, values, wrong, why)
  _refuse_labels(path, values, values < 0, 'is below 0')
  if kind == 'u':
    largest = np.iinfo(np.int64).max
    _refuse_labels(path, values, values > largest, 'is too large')
  return values.astype(np.int64), names


def _word_ids(words, path, names) -> tuple:
  _refuse_labels(path, words, np.char.strip(words) == '', 'is missing')
  distinct, inverse = np.unique(words, return_inverse=True)
  ids = {name: i for i, name in enumerate(names)}
  for word in distinct.tolist():
    ids.setdefault(word, len(ids))
  of_distinct = np.array([ids[word] for word in distinct.tolist()], np.int64)
  return of_distinct[inverse.reshape(-1)], tuple(ids)


def _refuse_labels(path, values, wrong: np.ndarray, why: str) -> None:
  rows = np.flatnonzero(wrong)
  if len(rows):
    raise ValueError(
      f'{path}: label {values[rows[0]].item()!r} of row {rows[0]} {why} '
      f'({len(rows):,} such); labels are whole numbers from 0, or words'
    )
