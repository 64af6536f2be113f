"""Tensors of safetensors files, read one at a time.

A file is a length of 8 bytes, a header in JSON that says where each tensor
lies, and the tensors. bfloat16 is read too, which NumPy does not know.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from mrl_jax.errors import UsageError

INDEX = '.safetensors.index.json'
PICKLES = ('.bin', '.pt', '.pth', '.pkl', '.pickle', '.ckpt', '.joblib')
DTYPES = {
  'F64': np.float64,
  'F32': np.float32,
  'F16': np.float16,
  'BF16': ml_dtypes.bfloat16,
  'I64': np.int64,
  'I32': np.int32,
  'I16': np.int16,
  'I8': np.int8,
  'U8': np.uint8,
  'BOOL': np.bool_,
}
REMEDY = (
  'save the model as safetensors, in transformers: '
  'AutoModel.from_pretrained(DIR).save_pretrained(DIR)'
)


class Tensor(NamedTuple):
  """Where a tensor lies, and what it is.

  Attributes:
    dtype: as the file names it; DTYPES has those that can be read.
    start: its first byte in the file.
  """

  path: Path
  shape: tuple[int, ...]
  dtype: str
  start: int

  def read(self) -> np.ndarray:
    """The numbers, in the type they are stored in."""
    array = np.fromfile(
      self.path, DTYPES[self.dtype], math.prod(self.shape), offset=self.start
    )
    return array.reshape(self.shape)


def tensors(path: Path) -> dict[str, Tensor]:
  """The tensors of a safetensors file, or of all files that an index names.

  Raises:
    UsageError: for a pickle, a file that is not there, damaged or cut off.
  """
  _refuse_pickle(path)
  if not path.name.endswith(INDEX):
    return dict(_header(path))
  try:
    places = json.loads(path.read_text(encoding='utf-8'))['weight_map']
    files = {path.with_name(name) for name in places.values()}
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    raise UsageError(f'{path} cannot be read: {error!r}') from error
  if missing := sorted(file.name for file in files if not file.is_file()):
    raise UsageError(
      f'{path} names {len(files)} files and {len(missing)} are not there: '
      f'{", ".join(missing[:5])}; download the model again'
    )
  whole: dict[str, Tensor] = {}
  for file in sorted(files):
    whole |= _header(file)
  if absent := sorted(places.keys() - whole.keys()):
    raise UsageError(
      f'{path} names {len(absent)} tensors that its files do not have: '
      f'{", ".join(absent[:5])}'
    )
  return whole


def _refuse_pickle(path: Path) -> None:
  """Raises UsageError for a file that runs code when it is read."""
  if path.suffix in PICKLES:
    raise UsageError(
      f'{path} is a pickle, which can run code when it is read; {REMEDY}'
    )


def _header(path: Path) -> Iterator[tuple[str, Tensor]]:
  """(name, tensor) of one file, whose length must be what its header says."""
  try:
    size = path.stat().st_size
    with path.open('rb') as file:
      length = int.from_bytes(file.read(8), 'little')
      text = file.read(length) if length < size else b''
    if len(text) < max(length, 1):
      raise ValueError('it is cut off, or not a safetensors file')
    header: Mapping = json.loads(text)
    start, end = 8 + length, 8 + length
    for name, facts in header.items():
      if name == '__metadata__':
        continue
      first, last = facts['data_offsets']
      shape, dtype = tuple(facts['shape']), facts['dtype']
      if dtype in DTYPES:
        expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if last - first != expected:
          raise ValueError(f'{name} has {last - first} bytes, not {expected}')
      end = max(end, start + last)
      yield name, Tensor(path, shape, dtype, start + first)
    if size < end:
      raise ValueError(
        f'it is cut off: {size:,} bytes where its header says {end:,}'
      )
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
