"""One pass of an encoder over a split: its vectors."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import PyTree


class Embedder:
  """Vectors of splits; compiled once, whatever the variables.

  Args:
    embed: f(variables, batch) -> [b d].
    feed: has `batches(split, **part)`; every batch has 'mask', which is 0 for
      padding, and may have 'label'. It may have `ids(split, **part)`.
  """

  def __init__(self, embed: Callable, feed, mesh: Mesh):
    self.feed = feed
    whole = sharding.replicated(mesh)
    self.embed = jax.jit(embed, out_shardings=whole)
    self.gather = jax.jit(lambda arrays: arrays, out_shardings=whole)

  def __call__(self, variables: PyTree, split, **part) -> Vectors:
    """Embeddings and labels of a split, or of other records, on every process.

    Padding is dropped. `part` are start= and stop= rows of it. Labels and ids
    are None where the feed has none.
    """
    embeddings, labels = [], []
    for batch in self.feed.batches(split, **part):
      embedded = self.embed(variables, batch)
      facts = {name: batch[name] for name in ('mask', 'label') if name in batch}
      facts = jax.device_get(self.gather(facts))
      real = facts['mask'] > 0
      embeddings.append(np.asarray(embedded)[real])
      if 'label' in facts:
        labels.append(facts['label'][real])
    names = getattr(self.feed, 'ids', None)
    return Vectors(
      np.concatenate(embeddings),
      np.concatenate(labels) if labels else None,
      names and names(split, **part),
    )
