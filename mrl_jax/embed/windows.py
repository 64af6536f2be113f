"""Batches of any number of values, those of like length together.

A batch is as long as its longest example, so values are sorted by length. Only
a window of them is in memory: the next one is read while one is embedded.
"""

import concurrent.futures
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mrl_jax import sharding
from mrl_jax.contracts import Input, Sized, Values
from mrl_jax.data import lengths
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Int, PyTree

THREADS = 8  # that decode
BATCHES = 64  # of a window
WINDOW_BYTES = 64 << 20


class Window(NamedTuple):
  """Some examples, the longest first.

  Attributes:
    rows: of the values.
    lengths: of each example; None if they have none.
    arrays: of each example.
  """

  rows: Int[np.ndarray, 'n']
  lengths: Int[np.ndarray, 'n'] | None
  arrays: PyTree


def batches(
  values: Values, an_input: Input, field: str, size: int, mesh
) -> Iterator[tuple[Int[np.ndarray, 'n'], PyTree]]:
  """(rows of the values, their batch on the devices), every row once.

  Batches have `size` rows, rounded up to the devices of the mesh. The last is
  filled up with rows of mask 0. Fewer values than one batch are filled up to a
  power of two.

  Raises:
    UsageError: for a size below 1, or a value that the input cannot use.
  """
  if size < 1:
    raise UsageError(f'batch_size={size} must be at least 1')
  size = sharding.whole_rows(size, mesh)
  room = size
  if len(values) < size:
    power = 1 << max(len(values) - 1, 0).bit_length()
    room = min(size, sharding.whole_rows(power, mesh))
  where = sharding.over_batch(mesh)
  for window in _windows(values, an_input, size):
    for start in range(0, len(window.rows), size):
      rows = window.rows[start : start + size]
      arrays = _batch(window, start, len(rows), room, an_input)
      batch = {field: arrays, 'mask': np.arange(room) < len(rows)}
      yield rows, jax.device_put(batch, where)


def _batch(window: Window, start: int, count: int, room: int, an_input) -> Any:
  """`count` examples from `start`, the first of them again up to `room`."""
  at = np.full(room, start)
  at[:count] += np.arange(count)
  arrays = jax.tree.map(lambda leaf: leaf[at], window.arrays)
  if window.lengths is None:
    return arrays
  longest = int(window.lengths[start])
  return an_input.cut(arrays, lengths.smallest(an_input.sizes, longest))


def _windows(values: Values, an_input: Input, size: int) -> Iterator[Window]:
  """All values, in windows of a multiple of `size`, each read ahead."""
  count = size
  if isinstance(an_input, Sized):
    leaves = jax.tree.leaves(an_input.shape)
    example = sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)
    count *= min(BATCHES, max(1, WINDOW_BYTES // (example * size)))
  spans = [
    range(start, min(start + count, len(values)))
    for start in range(0, len(values), count)
  ]
  with (
    concurrent.futures.ThreadPoolExecutor(1) as ahead,
    concurrent.futures.ThreadPoolExecutor(THREADS) as pool,
  ):
    coming = None
    for span in spans:
      following = ahead.submit(_read, values, an_input, span, pool)
      if coming is not None:
        yield coming.result()
      coming = following
    if coming is not None:
      yield coming.result()


def _read(values: Values, an_input: Input, span: range, pool) -> Window:
  """The examples of some rows."""
  rows = np.arange(span.start, span.stop)
  if not isinstance(an_input, Sized):
    read = list(pool.map(lambda i: an_input.evaluate(values[i]), span))
    return Window(rows, None, jax.tree.map(lambda *x: np.stack(x), *read))
  some = [values[i] for i in span]
  try:
    arrays = an_input.evaluate_all(some)
  except ValueError:
    _blame(some, [values.names[i] for i in span], an_input)
    raise
  sizes = an_input.size(arrays)
  order = np.argsort(-sizes, kind='stable')
  return Window(
    rows[order], sizes[order], jax.tree.map(lambda x: x[order], arrays)
  )


def _blame(some: Sequence[Any], names: Sequence[str], an_input: Input) -> None:
  """Raises UsageError with the name of the first value that is not usable."""
  for name, value in zip(names, some):
    try:
      an_input.evaluate(value)
    except ValueError as error:
      raise UsageError(f'row {name}: {error}') from error
