"""A source's batches as global arrays on a mesh."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.data import pipeline, source, transforms


def abstract_batch(
  size: int, image_size: tuple[int, int], channels: int, mesh: Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """The shapes and places of a training batch, without any data."""
  shapes = {
    'image': ((size, *image_size, channels), np.uint8),
    'label': ((size,), np.int32),
    'mask': ((size,), np.float32),
  }
  where = sharding.over_batch(mesh)
  return {
    name: jax.ShapeDtypeStruct(shape, dtype, sharding=where)
    for name, (shape, dtype) in shapes.items()
  }


class Feed:
  """Training and evaluation batches of one source.

  Args:
    data: the source.
    mesh: batches are split over its `data` and `fsdp` axes.
    train_transform: f(image, rng) -> image of `image_size`.
    image_size: (height, width) that the encoder takes.
    eval_crop: share of the short side that evaluation keeps, see
      transforms.centre_crop.
    batch_size, eval_batch_size: of the global batches.
    seed: of the shuffle and the augmentations.
    threads, workers: see pipeline.train_batches.
    poll: called before every evaluation batch; may raise to interrupt.
  """

  def __init__(
    self,
    data: source.Source,
    mesh: Mesh,
    *,
    train_transform: Callable,
    image_size: tuple[int, int],
    eval_crop: float,
    batch_size: int,
    eval_batch_size: int,
    seed: int,
    threads: int,
    workers: int,
  ):
    self.splits = {'train': data.train, 'validation': data.validation}
    self.mesh, self.train_transform = mesh, train_transform
    self.image_size, self.eval_crop = image_size, eval_crop
    self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
    self.seed, self.threads, self.workers = seed, threads, workers
    self.poll: Callable[[], None] = lambda: None

  def size(self, split: str) -> int:
    return len(self.splits[split])

  def training(self, first_step: int) -> Iterator[dict[str, jax.Array]]:
    """The endless training batches from `first_step` on, one copied ahead."""
    rows = sharding.local_rows(self.batch_size, self.mesh)
    batches = pipeline.train_batches(
      self.splits['train'],
      self.train_transform,
      seed=self.seed,
      batch_size=self.batch_size,
      rows=rows,
      first_step=first_step,
      threads=self.threads,
      workers=self.workers,
    )
    ahead = None
    for batch in batches:
      ready = sharding.global_batch(batch, rows, self.batch_size, self.mesh)
      if ahead is not None:
        yield ahead
      ahead = ready

  def batches(
    self,
    split: str | Sequence[dict],
    start: int = 0,
    stop: int | None = None,
  ) -> Iterator[dict[str, jax.Array]]:
    """Examples start to stop of a split, in order; padding carries mask 0.

    Instead of a split's name, any examples {'image', 'label'} do.
    """
    size = self.eval_batch_size
    rows = sharding.local_rows(size, self.mesh)
    local = pipeline.evaluation_batches(
      self.splits[split] if isinstance(split, str) else split,
      self.view,
      batch_size=size,
      rows=rows,
      threads=self.threads,
      start=start,
      stop=stop,
    )
    for batch in local:
      self.poll()
      yield sharding.global_batch(batch, rows, size, self.mesh)

  def view(self, image: np.ndarray) -> np.ndarray:
    """What the encoder sees of an image when it is evaluated, uint8."""
    return transforms.centre_crop(image, self.image_size, self.eval_crop)

  def images(self, split: str, rows) -> np.ndarray:
    """Some images [n h w c] of a split, as the encoder sees them."""
    examples = self.splits[split]
    return np.stack([self.view(examples[int(i)]['image']) for i in rows])
