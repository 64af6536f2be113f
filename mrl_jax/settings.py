"""The groups of a config that every run has: keys, defaults and ranges.

`train`, `optim`, `eval`, `checkpoint` and `data` are classes here, and their
fields are the keys. What is chosen from a table (an encoder, a task, ...) has
its defaults in its constructor.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Train:
  """`config.train`.

  Attributes:
    steps, epochs: length of the run; exactly one is above 0.
    batch_size: examples of an update, over all devices.
    accumulate: number of parts of a batch, which are computed one by one.
    log_every, eval_every: steps between log lines and between evaluations.
  """

  steps: int = 0
  epochs: float = 0.0
  batch_size: int = 128
  accumulate: int = 1
  log_every: int = 100
  eval_every: int = 500

  def __post_init__(self):
    _at_least_one(self, 'train', 'log_every', 'eval_every', 'accumulate')
    if (self.steps > 0) == (self.epochs > 0):
      raise ValueError(
        f'train.steps={self.steps} and train.epochs={self.epochs}: set '
        'exactly one above 0'
      )

  def total(self, examples: int) -> int:
    """Updates of the whole run."""
    epochs = math.ceil(self.epochs * examples / self.batch_size)
    return self.steps or max(1, epochs)


@dataclasses.dataclass(frozen=True)
class Optim:
  """`config.optim`; see optim.py.

  Attributes:
    name: of the optimizer; `options` are its own arguments.
    learning_rate: the peak; `schedule` is what follows `warmup_steps`.
    weight_decay: times the learning rate, of kernels and embeddings only.
    clip_norm: largest norm of the whole gradient, 0 off.
    average: decay of the moving average of the variables, 0 off.
  """

  name: str = 'adamw'
  learning_rate: float = 1e-3
  schedule: str = 'cosine'
  warmup_steps: int = 0
  weight_decay: float = 0.0
  clip_norm: float = 0.0
  average: float = 0.0
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for key in ('clip_norm', 'weight_decay', 'learning_rate'):
      if getattr(self, key) < 0:
        raise ValueError(f'optim.{key}={getattr(self, key)} must be at least 0')
    if not 0 <= self.average < 1:
      raise ValueError(f'optim.average={self.average} must be in [0, 1)')


@dataclasses.dataclass(frozen=True)
class Eval:
  """`config.eval`, without the groups of the evaluators.

  Attributes:
    batch_size: examples embedded together, over all devices.
    dims: evaluated besides the trained ones.
    often: evaluators that run at every evaluation, not only the last.
    only: evaluators that run at all, () for every one.
    retrieval_sets: folders of judged sets of texts, which `sets` asks.
  """

  batch_size: int = 256
  dims: Sequence[int] = ()
  often: Sequence[str] = ('linear',)
  only: Sequence[str] = ()
  retrieval_sets: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """`config.checkpoint`.

  Attributes:
    every: steps between saves.
    keep: how many of the newest stay.
    best: a result whose highest step stays too, like 'linear/top1/d64'.
  """

  every: int = 500
  keep: int = 2
  best: str = ''

  def __post_init__(self):
    _at_least_one(self, 'checkpoint', 'every', 'keep')


@dataclasses.dataclass(frozen=True)
class Data:
  """`config.data`, without the group of the source.

  Attributes:
    dir: of prepared datasets; '' is $TFDS_DATA_DIR, or ~/tensorflow_datasets.
    threads: batches prepared at once.
    workers: processes that prepare batches instead, 0 for none.
  """

  dir: str = ''
  threads: int = 8
  workers: int = 0

  def __post_init__(self):
    if self.threads < 1 or self.workers < 0:
      raise ValueError(
        f'data.threads={self.threads} must be at least 1, '
        f'data.workers={self.workers} at least 0'
      )


def _at_least_one(group, name: str, *keys: str) -> None:
  for key in keys:
    if getattr(group, key) < 1:
      raise ValueError(f'{name}.{key}={getattr(group, key)} must be at least 1')
