"""Batches for training and evaluation, from records, through Grain.

Training is one endless global stream: shuffled anew every epoch, element i
augmented with a generator of its own index. Step t is elements [t*B, (t+1)*B)
and each process reads only its rows of it. So the batches depend neither on
the number of processes nor on where a run was interrupted.

Which arrays an example has is the business of `data/examples.py`.
"""

from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np
from absl import flags

ENDLESS = 2**60


class Rows(Sequence):
  """One process's share of the global stream: some rows of every batch."""

  def __init__(self, stream, batch_size: int, rows: np.ndarray):
    self.stream, self.batch_size = stream, batch_size
    self.rows = [int(row) for row in rows]

  def __len__(self) -> int:
    return ENDLESS

  def __getitem__(self, index: int) -> dict:
    step, row = divmod(int(index), len(self.rows))
    return self.stream[step * self.batch_size + self.rows[row]]


def train_batches(
  records: Sequence,
  prepare: Callable,
  *,
  seed: int,
  batch_size: int,
  rows: np.ndarray,
  first_step: int = 0,
  threads: int = 8,
  workers: int = 0,
) -> Iterator[dict]:
  """This process's rows of the batches first_step, first_step + 1, ...

  Args:
    records: random access to what `prepare` takes.
    prepare: f(record, rng) -> arrays of one example, by name.
    batch_size: of the global batch; `rows` are this process's rows of it.
    threads: batches prepared at once in this process.
    workers: processes that prepare batches instead, 0 for none.
  """
  stream = (
    grain.MapDataset.source(records)
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(prepare)
  )
  batches = grain.MapDataset.source(Rows(stream, batch_size, rows)).batch(
    len(rows), drop_remainder=True
  )
  iterable = batches[first_step:].to_iter_dataset(_reading(threads))
  if workers:
    # Grain's workers read absl flags, which our command line does not parse.
    flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers)
    iterable = iterable.mp_prefetch(options)
  return iter(iterable)


def evaluation_batches(
  prepare: Callable[[int | None], dict],
  span: range,
  *,
  batch_size: int,
  rows: np.ndarray,
  threads: int = 8,
) -> Iterator[dict]:
  """This process's rows of the batches of the examples in `span`, in order.

  `prepare(index)` gives the arrays of an example; `prepare(None)` those that
  fill up the last batch. Every process yields the same number of batches.
  """
  indices = [
    int(first + row)
    for first in range(span.start, span.stop, batch_size)
    for row in rows
  ]
  return iter(
    grain.MapDataset.source(indices)
    .map(lambda index: prepare(index if index < span.stop else None))
    .batch(len(rows), drop_remainder=True)
    .to_iter_dataset(_reading(threads))
  )


def _reading(threads: int) -> grain.ReadOptions:
  return grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=2 * threads
  )
