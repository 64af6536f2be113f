"""Batches for training and evaluation, from a source, through Grain.

Training is one endless global stream: shuffled anew every epoch, element i
augmented with a generator of its own index. Step t is elements [t*B, (t+1)*B)
and each process reads only its rows of it. So the batches depend neither on
the number of processes nor on where a run was interrupted.
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
  examples: Sequence[dict],
  transform: Callable,
  *,
  seed: int,
  batch_size: int,
  rows: np.ndarray,
  first_step: int = 0,
  threads: int = 8,
  workers: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
  """This process's rows of the batches first_step, first_step + 1, ...

  Args:
    examples: random access to {'image': uint8 [h w c], 'label': int}.
    transform: f(image, rng) -> image, all of one size.
    batch_size: of the global batch; `rows` are this process's rows of it.
    threads: batches prepared at once in this process.
    workers: processes that prepare batches instead, 0 for none.

  Yields:
    {'image': uint8 [b h w c], 'label': int32 [b], 'mask': float32 [b]}.
  """

  def prepare(example, rng):
    return {
      'image': transform(example['image'], rng),
      'label': np.int32(example['label']),
      'mask': np.float32(1),
    }

  stream = (
    grain.MapDataset.source(examples)
    .seed(seed)
    .shuffle()
    .repeat()
    .random_map(prepare)
  )
  batches = grain.MapDataset.source(Rows(stream, batch_size, rows)).batch(
    len(rows), drop_remainder=True
  )
  iterable = batches[first_step:].to_iter_dataset(
    grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
  )
  if workers:
    # Grain's workers read absl flags, which our command line does not parse.
    flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers)
    iterable = iterable.mp_prefetch(options)
  return iter(iterable)


def evaluation_batches(
  examples: Sequence[dict],
  transform: Callable,
  *,
  batch_size: int,
  rows: np.ndarray,
  threads: int = 8,
  start: int = 0,
  stop: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """This process's rows of the batches of examples start to stop, in order.

  The last batch is filled with zeros that carry mask 0. Every process yields
  the same number of batches.
  """
  count = len(examples) if stop is None else stop
  blank = None

  def row(index: int) -> dict:
    nonlocal blank
    if index < count:
      example = examples[index]
      return {
        'image': transform(example['image']),
        'label': np.int32(example['label']),
        'mask': np.float32(1),
      }
    if blank is None:
      blank = np.zeros_like(transform(examples[0]['image']))
    return {'image': blank, 'label': np.int32(0), 'mask': np.float32(0)}

  indices = [
    int(first + r) for first in range(start, count, batch_size) for r in rows
  ]
  return iter(
    grain.MapDataset.source(indices)
    .map(row)
    .batch(len(rows), drop_remainder=True)
    .to_iter_dataset(
      grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    )
  )
