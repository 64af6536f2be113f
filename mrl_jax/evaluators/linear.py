"""`linear`: top-1 and top-5 of the trained head at every dimension."""

import numpy as np

from mrl_jax import rows


class Linear:
  """The head's own logits on the validation set (arXiv:2205.13147, table 1)."""

  needs = ('logits', 'query_labels')
  metrics = ('top1', 'top5')

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    # A fixed-feature head reads no further than its width.
    answers = evidence.answers.at(
      [m for m in evidence.dims if m <= evidence.trained[-1]]
    )
    among = np.any(answers.classes == answers.labels[:, None], axis=-1)
    return [
      *rows.proportions('linear', 'top1', answers.dims, answers.right),
      *rows.proportions('linear', 'top5', answers.dims, among),
    ], {}
