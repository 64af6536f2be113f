"""Batches of examples of a length, cut to one of a few sizes."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from mrl_jax.contracts import Batch, Input, Sized


def smallest(sizes: Sequence[int], length: int) -> int:
  """The first of the increasing sizes that holds an example of this length."""
  return next(size for size in sizes if size >= length)


def cut(batch: Batch, inputs: Mapping[str, Input]) -> Batch:
  """The batch, each of its fields cut to the smallest size that holds it.

  `batch` has the rows of this process. All processes cut to the same size,
  that of the longest example of the global batch: they must call this equally
  often.
  """
  sized = {f: i for f, i in inputs.items() if isinstance(i, Sized)}
  longest = np.array(
    [i.size(batch[f]).max() for f, i in sized.items()], np.int32
  )
  if sized and jax.process_count() > 1:
    longest = multihost_utils.process_allgather(longest).max(axis=0)
  fitting = {
    field: an_input.cut(batch[field], smallest(an_input.sizes, length))
    for (field, an_input), length in zip(sized.items(), longest)
  }
  return {**batch, **fitting}
