"""Records become batches for training and evaluation, through Grain.

Training reads one endless stream. It is shuffled anew every epoch, and element
i is augmented with a random generator that depends on i. The batch of step t
is elements [t*B, (t+1)*B); each process reads only its own rows of it. So the
batches depend neither on the number of processes nor on where a run was
interrupted.

`data/examples.py` decides which arrays an example has.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

ENDLESS = 2**60


class Share(NamedTuple):
  """What a process reads of every global batch: some of its rows."""

  batch_size: int
  rows: np.ndarray


class Rows(Sequence):
  """The rows of one process, of every batch of the stream."""

  def __init__(self, stream, share: Share):
    self.stream, self.batch_size = stream, share.batch_size
    self.rows = [int(row) for row in share.rows]

  def __len__(self) -> int:
    return ENDLESS

  def __getitem__(self, index: int) -> dict:
    step, row = divmod(int(index), len(self.rows))
    return self.stream[step * self.batch_size + self.rows[row]]


def train_batches(
  records: Sequence,
  prepare: Callable,
  share: Share,
  *,
  seed: int,
  first_step: int = 0,
  threads: int = 8,
  workers: int = 0,
) -> Iterator[dict]:
  """The rows of this process of the batches first_step, first_step + 1, ...

  Args:
    records: random access to what `prepare` takes.
    prepare: f(record, rng) -> arrays of one example, by name.
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
  batches = grain.MapDataset.source(Rows(stream, share)).batch(
    len(share.rows), drop_remainder=True
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
  share: Share,
  *,
  threads: int = 8,
) -> Iterator[dict]:
  """The rows of this process of the batches of the examples in `span`.

  The examples are in order. `prepare(index)` returns the arrays of one;
  `prepare(None)` returns those that fill up the last batch. Every process
  yields the same number of batches.
  """
  indices = [
    int(first + row)
    for first in range(span.start, span.stop, share.batch_size)
    for row in share.rows
  ]
  return iter(
    grain.MapDataset.source(indices)
    .map(lambda index: prepare(index if index < span.stop else None))
    .batch(len(share.rows), drop_remainder=True)
    .to_iter_dataset(_reading(threads))
  )


def _reading(threads: int) -> grain.ReadOptions:
  return grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=2 * threads
  )
