"""Embeddings of a large batch through an encoder that fits a small one.

A contrastive loss needs all embeddings of a batch at once, but its encoder
does not need all activations: each part is encoded, its activations dropped,
and encoded again when its gradient is asked for (GradCache, arXiv:2101.06983).
Exactly the whole batch's loss and gradient, for one more forward pass.
"""

from collections.abc import Callable

import jax

from mrl_jax.shapes import Array, Float, PyTree


def embed(
  encode: Callable[[PyTree, int], Float[Array, 'm d']], batch: PyTree, size: int
) -> Float[Array, 'b d']:
  """encode(part of the batch, its index) for parts of `size` rows, in order.

  Activations of one part are alive at a time. `encode` must treat rows one by
  one: no batch statistics. Fold the index into a key for randomness. Part i
  takes every (b / size)-th row from i, so that no row leaves its device.

  Raises:
    ValueError: if `size` does not divide the batch.
  """
  rows = len(jax.tree.leaves(batch)[0])
  if size < 1 or rows % size:
    raise ValueError(f'parts of {size} rows do not divide a batch of {rows}')
  count = rows // size
  parts = jax.tree.map(
    lambda x: x.reshape(size, count, *x.shape[1:]).swapaxes(0, 1), batch
  )
  one = jax.checkpoint(lambda part: encode(*part), prevent_cse=False)
  embeddings = jax.lax.map(one, (parts, jax.numpy.arange(count)))
  return embeddings.swapaxes(0, 1).reshape(rows, *embeddings.shape[2:])
