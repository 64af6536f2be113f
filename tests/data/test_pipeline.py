"""The pipeline: order, sharing among processes, place of the batches."""

import numpy as np
import pytest

from mrl_jax import sharding
from mrl_jax.data import digits, feed, pipeline, source
from mrl_jax.inputs import image


def toy(count=25):
  """Examples that carry their own index in every pixel."""
  images = np.tile(
    np.arange(count, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1)
  )
  return source.InMemory(images, np.arange(count))


def noisy(record, rng):
  noise = np.full((2, 2, 1), rng.integers(256), np.uint8)
  return record | {'image': np.concatenate([record['image'], noise], axis=-1)}


def stream(rows, steps, first=0, batch_size=8, **options):
  batches = pipeline.train_batches(
    toy(),
    noisy,
    pipeline.Share(batch_size, np.asarray(rows)),
    seed=1,
    first_step=first,
    **options,
  )
  return [next(batches) for _ in range(steps)]


def test_every_epoch_is_a_new_permutation():
  labels = np.concatenate([b['label'] for b in stream(range(8), 25)])
  epochs = labels[: 25 * 8].reshape(8, 25)
  for epoch in epochs:
    assert sorted(epoch) == list(range(25))
  assert len({tuple(e) for e in epochs}) == 8


def test_batches_do_not_depend_on_the_number_of_processes():
  whole = stream(range(8), 6)
  halves = [stream(range(0, 4), 6), stream(range(4, 8), 6)]
  odd = stream([0, 1, 6, 7], 6)
  for step in range(6):
    for key in ('image', 'label'):
      joined = np.concatenate([h[step][key] for h in halves])
      np.testing.assert_array_equal(joined, whole[step][key])
      np.testing.assert_array_equal(
        odd[step][key], whole[step][key][[0, 1, 6, 7]]
      )


@pytest.mark.parametrize('threads', [1, 4])
def test_starting_later_gives_the_later_batches(threads):
  whole = stream(range(8), 9)
  tail = stream(range(8), 4, first=5, threads=threads)
  for a, b in zip(whole[5:], tail):
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_array_equal(a['label'], b['label'])
  assert len({b['image'][..., 1].tobytes() for b in whole}) == 9  # augmented


@pytest.mark.slow
def test_worker_processes_give_the_same_batches():
  alone = stream(range(8), 3, first=2)
  for a, b in zip(alone, stream(range(8), 3, first=2, workers=2)):
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_array_equal(a['label'], b['label'])


@pytest.mark.parametrize('batch_size', [1, 5, 8, 25, 40])
@pytest.mark.parametrize('processes', [1, 2, 4])
def test_evaluation_counts_every_example_once(batch_size, processes):
  size = batch_size * processes  # divisible, as checked at the start
  records, labels, counts = toy(), [], set()

  def prepare(index):
    return records[index or 0] | {'mask': np.float32(index is not None)}

  for process in range(processes):
    rows = np.arange(process * batch_size, (process + 1) * batch_size)
    batches = list(
      pipeline.evaluation_batches(
        prepare, range(25), pipeline.Share(size, rows)
      )
    )
    counts.add(len(batches))
    for batch in batches:
      assert batch['image'].shape == (batch_size, 2, 2, 1)
      labels += batch['label'][batch['mask'] > 0].tolist()
  assert sorted(labels) == list(range(25))
  assert len(counts) == 1


def test_feed_puts_batches_on_the_mesh_and_polls(data_dir):
  mesh = sharding.make_mesh(2, 2, 2)
  feeder = feed.Feed(
    digits.load(str(data_dir)),
    {'image': image.Image(8, channels=1)},
    mesh,
    feed.Loading('digits', 0, 16, 128, threads=1, workers=0),
  )
  polled = []
  feeder.poll = lambda: polled.append(True)
  masks = [np.asarray(b['mask']) for b in feeder.batches('validation')]
  assert sum(m.sum() for m in masks) == 360 and len(masks) == len(polled) == 3
  first, second = feeder.training(0), feeder.training(1)
  next(first)
  np.testing.assert_array_equal(
    np.asarray(next(first)['image']), np.asarray(next(second)['image'])
  )
