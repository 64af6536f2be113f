"""Vectors of a task's splits."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.embed.vectors import Vectors


class Embedder:
  """Vectors of a split; compiled once, whatever the variables.

  Args:
    embed: f(variables, batch) -> [b d].
    data: what has `batches(split)`.
  """

  def __init__(self, embed: Callable, data, mesh: Mesh):
    self.data = data
    where = sharding.replicated(mesh)
    self.embed = jax.jit(embed, out_shardings=where)
    self.pick = jax.jit(
      lambda batch: (batch.get('label'), batch['mask']), out_shardings=where
    )

  def __call__(self, variables, split: str | Sequence, **part) -> Vectors:
    """Embeddings and labels of a split, padding dropped, on every process."""
    embeddings, labels = [], []
    for batch in self.data.batches(split, **part):
      embedded = self.embed(variables, batch)
      label, mask = jax.device_get(self.pick(batch))
      embeddings.append(np.asarray(embedded)[mask > 0])
      if label is not None:
        labels.append(label[mask > 0])
    return Vectors(
      np.concatenate(embeddings), np.concatenate(labels) if labels else None
    )
