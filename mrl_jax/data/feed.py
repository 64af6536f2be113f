"""The batches of a source as global arrays on a mesh."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import jax
import numpy as np
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.contracts import Batch, Drawable, Input, Record, Source
from mrl_jax.data import examples, lengths, pipeline
from mrl_jax.shapes import PyTree, UInt8

SAMPLED = 8  # examples of a split that its fingerprint reads


@dataclasses.dataclass(frozen=True)
class Loading:
  """How batches are made.

  Attributes:
    name: of the source, for error messages.
    seed: of the shuffle and the augmentations.
    batch_size, eval_batch_size: of the global batches.
    threads, workers: see pipeline.train_batches.
  """

  name: str
  seed: int
  batch_size: int
  eval_batch_size: int
  threads: int
  workers: int


def abstract_batch(
  inputs: Mapping[str, Input], labelled: bool, size: int, mesh: Mesh
) -> PyTree:
  """The shapes and shardings of a training batch, without data.

  The largest ones: batches of examples of a length may be cut shorter.
  """
  where = sharding.over_batch(mesh)
  example = {field: an_input.shape for field, an_input in inputs.items()}
  if labelled:
    example['label'] = jax.ShapeDtypeStruct((), np.int32)
  example['mask'] = jax.ShapeDtypeStruct((), np.float32)
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      (size, *leaf.shape), leaf.dtype, sharding=where
    ),
    example,
  )


class Feed:
  """Training and evaluation batches of one source.

  Attributes:
    poll: called before every evaluation batch; may raise to interrupt.
  """

  def __init__(
    self,
    source: Source,
    inputs: Mapping[str, Input],
    mesh: Mesh,
    loading: Loading,
  ):
    self.splits = {'train': source.train, 'validation': source.validation}
    self.inputs, self.mesh, self.loading = inputs, mesh, loading
    self.facts = source.facts
    self.examples = examples.Examples(inputs, bool(source.facts.classes))
    self.poll: Callable[[], None] = lambda: None

  def size(self, split: str) -> int:
    """The number of records of 'train' or 'validation'."""
    return len(self.splits[split])

  @functools.cached_property
  def fingerprint(self) -> str:
    """Of the facts, the sizes and a few examples, as evaluation sees them."""
    sizes = {name: len(records) for name, records in self.splits.items()}
    known = self.loading.name, self.facts.fingerprint, self.facts.classes
    hasher = hashlib.blake2b(json.dumps([known, sizes]).encode(), digest_size=8)
    for name, size in sizes.items():
      records = self._named(name)
      for index in np.linspace(0, size - 1, SAMPLED, dtype=int):
        example = self.examples.evaluate(records[int(index)])
        for leaf in jax.tree.leaves(example):
          hasher.update(np.ascontiguousarray(leaf).tobytes())
    return hasher.hexdigest()

  def training(self, first_step: int) -> Iterator[Batch]:
    """The training batches from step `first_step` on, without end.

    The next batch is copied to the devices while the last one is used.
    """
    size = self.loading.batch_size
    rows = sharding.local_rows(size, self.mesh)
    batches = pipeline.train_batches(
      self._named('train'),
      self.examples.train,
      pipeline.Share(size, rows),
      seed=self.loading.seed,
      first_step=first_step,
      threads=self.loading.threads,
      workers=self.loading.workers,
    )
    ahead = None
    for batch in batches:
      batch = lengths.cut(batch, self.inputs)
      ready = sharding.global_batch(batch, rows, size, self.mesh)
      if ahead is not None:
        yield ahead
      ahead = ready

  def batches(
    self,
    split: str | Sequence[Record],
    start: int = 0,
    stop: int | None = None,
  ) -> Iterator[Batch]:
    """The examples from `start` to `stop` of a split, in order.

    `split` is the name of a split, or any sequence of records. Examples that
    fill up the last batch have mask 0.
    """
    size = self.loading.eval_batch_size
    rows = sharding.local_rows(size, self.mesh)
    records = self._named(split)

    def prepare(index: int | None) -> dict:
      if index is None:
        return self.examples.blank()
      return self.examples.evaluate(records[index])

    local = pipeline.evaluation_batches(
      prepare,
      range(start, len(records) if stop is None else stop),
      pipeline.Share(size, rows),
      threads=self.loading.threads,
    )
    for batch in local:
      self.poll()
      batch = lengths.cut(batch, self.inputs)
      yield sharding.global_batch(batch, rows, size, self.mesh)

  def ids(
    self,
    split: str | Sequence[Record],
    start: int = 0,
    stop: int | None = None,
  ) -> np.ndarray | None:
    """The names of these examples; None where the records have no `ids`."""
    records = self.splits[split] if isinstance(split, str) else split
    ids = getattr(records, 'ids', None)
    return None if ids is None else ids[start:stop]

  @property
  def shown(self) -> str:
    """The field that can be drawn, '' if none can."""
    drawable = (f for f, i in self.inputs.items() if isinstance(i, Drawable))
    return next(drawable, '')

  def images(
    self, split: str, rows: Sequence[int]
  ) -> UInt8[np.ndarray, 'n h w c']:
    """Pictures of some examples of a split, as the encoder sees them."""
    records, field = self.splits[split], self.shown
    an_input = cast(Drawable, self.inputs[field])
    return np.stack([an_input.show(records[int(i)][field]) for i in rows])

  def _named(self, split: str | Sequence[Record]) -> examples.Named:
    if not isinstance(split, str):
      return examples.Named(split, 'the given records')
    name = f'{self.loading.name} ({split})'
    return examples.Named(self.splits[split], name)
