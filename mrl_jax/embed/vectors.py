"""Embeddings with their labels, ours or anybody's."""

import dataclasses

import numpy as np

from mrl_jax.shapes import Float, Int


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Rows of embeddings, not normalised, and their classes.

  Attributes:
    embeddings: in memory or mapped from a file; any float type.
    labels: class ids of any size, None if unknown.
    ids: a name or number per row, None for the row's own number.
  """

  embeddings: Float[np.ndarray, 'n d']
  labels: Int[np.ndarray, 'n'] | None = None
  ids: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.embeddings)
