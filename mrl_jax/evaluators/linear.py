"""`linear`: top-1 and top-5 of the trained head at every dimension."""

import numpy as np

from mrl_jax import rows


class Linear:
  """The head's own logits on the validation set (arXiv:2205.13147, table 1)."""

  needs = ('labels', 'logits')
  metrics = ('top1', 'top5')

  def run(self, evidence) -> tuple[list[dict], dict]:
    answers = evidence.head
    found = answers.classes == answers.labels[:, None]
    counts = {
      'top1': np.sum(found[..., 0], axis=-1),
      'top5': np.sum(found, axis=(-2, -1)),
    }
    n = len(answers.labels)
    results = [
      rows.proportion('linear', name, m, int(hits), n)
      for name, count in counts.items()
      for m, hits in zip(answers.dims, count)
      if m <= evidence.trained[-1]  # a fixed-feature head reads no further
    ]
    return results, {}
