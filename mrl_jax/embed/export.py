"""A checkpoint's embeddings as files: mapped rows, their labels, what they are.

A folder holds, of each split, `<split>.npy` (rows x width, not normalised),
`<split>.parquet` (id, a name or the number of the row; label and class if
there are labels) and, in all, one `meta.json`. Rows are written in parts;
`<split>.progress.json` says how many are safe on disk, so an export that was
stopped goes on behind the last whole part.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from mrl_jax import progress
from mrl_jax.embed.vectors import Vectors, class_name

DTYPES = ('float32', 'float16')
PART_ROWS = 8192


def run(
  embed: Callable[..., Vectors],
  splits: Mapping[str, int],
  folder: str | Path,
  meta: Mapping,
  names: Sequence[str] = (),
  dtype: str = 'float32',
  part_rows: int = PART_ROWS,
) -> None:
  """Writes all rows of the splits; goes on where an earlier call stopped.

  All processes embed every part together; part p is written by process
  p % count into the one file, so the folder must be shared by all hosts.

  Args:
    embed: f(split, start=, stop=) -> those rows, the same on every process.
    splits: the rows of each.
    meta: what the embeddings come from, JSON-able: step, dims, ...
    names: of the classes.

  Raises:
    ValueError: if the folder holds another export, or a value does not fit
      the dtype.
  """
  if dtype not in DTYPES:
    raise ValueError(f'dtype={dtype} is not one of {", ".join(DTYPES)}')
  if part_rows < 1:
    raise ValueError(f'part_rows={part_rows} must be at least 1')
  if any(rows < 1 for rows in splits.values()):
    raise ValueError(f'splits={dict(splits)}: each needs at least 1 row')
  folder = Path(folder).expanduser()
  facts = json.loads(json.dumps(dict(meta))) | {
    'dtype': dtype,
    'normalised': False,
    'classes': list(names),
  }
  rows = _all_rows(folder, facts, splits)
  _wait('checked')
  if _leads():
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / 'meta.json', facts | {'rows': rows})
  for split, count in splits.items():
    _export_split(embed, split, count, folder / split, names, dtype, part_rows)


def _all_rows(folder: Path, facts: dict, splits: Mapping) -> dict:
  """The rows of every split, earlier ones too, once nothing else changed."""
  path = folder / 'meta.json'
  if not path.exists():
    return dict(splits)
  try:
    old = json.loads(path.read_text(encoding='utf-8'))
    rows = old.pop('rows')
  except (ValueError, KeyError) as error:
    raise ValueError(f'{path} is damaged; delete {folder}') from error
  before = old | {f'{name} rows': rows[name] for name in splits if name in rows}
  now = facts | {
    f'{name} rows': splits[name] for name in splits if name in rows
  }
  for key in sorted(before.keys() | now.keys()):
    if before.get(key) != now.get(key):
      raise ValueError(
        f'{folder} holds an export with {key}={_short(before.get(key))}, this '
        f'one has {_short(now.get(key))}; name another folder or delete that '
        'one'
      )
  return rows | dict(splits)


def _short(value) -> str:
  words = str(value)
  return words if len(words) <= 60 else words[:57] + '...'


def _export_split(embed, split, count, stem, names, dtype, part_rows) -> None:
  """Embeds and writes one split from the last safe row on."""
  array, labels, ids, marker, table = (
    stem.with_name(f'{split}.{end}')
    for end in ('npy', 'labels.npy', 'ids.jsonl', 'progress.json', 'parquet')
  )
  first = _agreed(_safe_rows(marker, array, count))
  started = time.perf_counter()
  if first:
    progress.say(f'{split}: {first:,} of {count:,} rows are there already')
  for part, start in enumerate(range(first, count, part_rows)):
    stop = min(start + part_rows, count)
    vectors = embed(split, start=start, stop=stop)
    rows = _fitting(vectors.embeddings, stop - start, dtype, split, start)
    if start == 0:
      if _leads():
        _create(array, (count, rows.shape[1]), dtype)
        labels.unlink(missing_ok=True)
        ids.unlink(missing_ok=True)
        if vectors.labels is not None:
          _create(labels, (count,), 'int64')
        table.unlink(missing_ok=True)
      _wait(f'{split} created')
    if part % jax.process_count() == jax.process_index():
      write_rows(array, start, rows)
      if vectors.labels is not None:
        write_rows(labels, start, np.asarray(vectors.labels, np.int64))
    if _leads() and vectors.ids is not None:
      _append_ids(ids, start, vectors.ids, anew=start == first)
    _wait(f'{split} {stop}')
    if _leads():
      _replace(marker, {'rows': stop})
    _report(split, first, stop, count, started)
  if _leads() and not table.exists():
    known = np.load(labels, mmap_mode='r') if labels.exists() else None
    write_table(table, _all_ids(ids, count), known, names)
    labels.unlink(missing_ok=True)
    ids.unlink(missing_ok=True)
  _wait(f'{split} done')


def _safe_rows(marker: Path, array: Path, count: int) -> int:
  """Rows that are known to be on disk whole."""
  if not marker.exists():
    return 0
  try:
    rows = json.loads(marker.read_text(encoding='utf-8'))['rows']
    whole = 0 <= rows <= count and len(np.load(array, mmap_mode='r')) == count
  except (OSError, ValueError, KeyError, TypeError):
    whole = False
  if not whole:
    raise ValueError(
      f'{array} does not fit {marker}; delete both to export these rows again'
    )
  return rows


def _fitting(embeddings, count: int, dtype: str, split: str, start: int):
  """The rows in their dtype, once they are as many and as small as needed."""
  if len(embeddings) != count:
    raise ValueError(
      f'{split}: {len(embeddings)} rows came where {count} from row {start} '
      'were asked for'
    )
  with np.errstate(over='ignore'):
    rows = np.ascontiguousarray(embeddings, dtype)
  wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
  if len(wrong):
    raw = np.asarray(embeddings)[wrong[0]]
    fix = 'export float32' if np.isfinite(raw).all() else 'the run diverged'
    raise ValueError(
      f'{split}: row {start + wrong[0]} is not finite in {dtype}; {fix}'
    )
  return rows


def _create(path: Path, shape: tuple[int, ...], dtype: str) -> None:
  """An .npy file of zeros, whatever was there."""
  array = np.lib.format.open_memmap(path, 'w+', np.dtype(dtype), shape)
  array.flush()


def write_rows(path: Path, start: int, rows: np.ndarray) -> None:
  """Writes rows into their place in the file, safe on disk when it returns.

  By seek and write: two hosts that map one page of a network file each write
  back the whole of it.
  """
  whole = np.load(path, mmap_mode='r')
  if whole.shape[1:] != rows.shape[1:]:
    raise ValueError(
      f'{path} is {whole.shape[1:]} wide, these rows are {rows.shape[1:]}'
    )
  with open(path, 'r+b') as file:
    file.seek(whole.offset + start * whole.strides[0])
    file.write(rows.tobytes())
    file.flush()
    os.fsync(file.fileno())


def _append_ids(path: Path, start: int, ids, anew: bool) -> None:
  """Adds names behind the first `start`; `anew`: there may be more by now."""
  if anew and path.exists():
    with open(path, encoding='utf-8') as file:
      kept = list(itertools.islice(file, start))
    path.write_text(''.join(kept), encoding='utf-8')
  with open(path, 'a', encoding='utf-8') as file:
    file.writelines(json.dumps(name) + '\n' for name in ids.tolist())
    file.flush()
    os.fsync(file.fileno())


def _all_ids(path: Path, count: int):
  """The names of all rows, without them their numbers."""
  if not path.exists():
    return np.arange(count)
  with open(path, encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def write_table(
  path: Path, ids: Sequence, labels: np.ndarray | None, names: Sequence[str]
) -> None:
  """Writes columns id, label and class (its name, or the label)."""
  import pyarrow
  from pyarrow import parquet

  columns: dict[str, Sequence] = {'id': ids}
  if labels is not None:
    labels = np.asarray(labels)
    words = [class_name(label, names) for label in labels.tolist()]
    columns |= {'label': labels, 'class': words}
  part = path.with_suffix('.parquet.part')
  parquet.write_table(pyarrow.table(columns), part)
  os.replace(part, path)


def _replace(path: Path, values: dict) -> None:
  """JSON in the file's place, whole or not at all."""
  part = path.with_name(path.name + '.part')
  with open(part, 'w', encoding='utf-8') as file:
    file.write(json.dumps(values, indent=2) + '\n')
    file.flush()
    os.fsync(file.fileno())
  os.replace(part, path)


def _leads() -> bool:
  return jax.process_index() == 0


def _wait(name: str) -> None:
  """Returns once every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(f'export {name}')


def _agreed(rows: int) -> int:
  """The first process's number on all."""
  if jax.process_count() == 1:
    return rows
  return int(multihost_utils.broadcast_one_to_all(np.int64(rows)))


def _report(split: str, first: int, row: int, total: int, started) -> None:
  """The line a person watches: rows, rows/s, time left."""
  rate = (row - first) / max(time.perf_counter() - started, 1e-9)
  left = progress.duration((total - row) / rate)
  progress.say(
    f'{split}  {row:>9,}/{total:,} rows  {rate:9,.0f} rows/s  {left} left'
  )
