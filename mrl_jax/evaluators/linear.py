"""`linear`: top-1 and top-5 of the trained head at every dimension."""

import jax
import jax.numpy as jnp
import numpy as np

from mrl_jax import metrics


class Linear:
  """The head's own logits on the validation set (arXiv:2205.13147, table 1)."""

  def __init__(self, functions, data, dims, mesh):
    self.data, self.dims = data, tuple(dims)
    self.metrics = ('top1', 'top5')
    logits = functions['logits']

    @jax.jit
    def hits(params, stats, batch):
      scores = logits(params, stats, batch, self.dims)
      classes = scores.shape[-1]
      best = jax.lax.top_k(scores, min(5, classes))[1]
      right = (best == batch['label'][:, None]) * batch['mask'][:, None]
      return jnp.sum(right[..., 0], -1), jnp.sum(right, (-2, -1))

    self.hits = hits

  def run(self, params, stats) -> list[dict]:
    total = np.zeros((2, len(self.dims)), np.int64)
    for batch in self.data.batches('validation'):
      counts = jax.device_get(self.hits(params, stats, batch))
      total += np.stack(counts).astype(np.int64)
    n = self.data.size('validation')
    return [
      metrics.proportion_row('linear', name, m, int(total[i, g]), n)
      for i, name in enumerate(('top1', 'top5'))
      for g, m in enumerate(self.dims)
    ]
