"""`probe`: a classifier fitted on frozen prefixes, per dimension."""

from collections.abc import Sequence

import numpy as np

from mrl_jax import rows
from mrl_jax.embed import evidence as evidences
from mrl_jax.embed import probes


class LinearProbe:
  """Top-1 of linear probes at every dim, trained or not; see embed/probes.py.

  Args:
    solver: 'lbfgs' for logistic regression, 'ridge' for least squares, which
      takes millions of rows.
    strengths: of the penalty, tried on rows held out of the training split.
    examples: rows that lbfgs is fitted on.
  """

  needs = ('labels',)
  metrics = ('top1',)

  def __init__(
    self,
    solver: str = probes.SOLVERS[0],
    strengths: Sequence[float] = probes.STRENGTHS,
    examples: int = probes.EXAMPLES,
  ):
    probes.check_options(strengths, solver, examples)
    options = dict(solver=solver, strengths=tuple(strengths), examples=examples)
    # Left out if they are the default, so that the probe which answers in
    # place of a head is the same one, fitted once.
    self.options = {
      name: value
      for name, value in options.items()
      if value != probes.fit.__kwdefaults__[name]
    }

  def run(self, evidence) -> tuple[list[dict], dict]:
    probe = evidence.probe(**self.options)
    queries, dims = evidence.queries, evidence.dims
    best, _ = evidences.decide(probe.logits, queries.embeddings, dims)
    hits = probe.classes[best[..., 0]] == queries.labels
    results = [
      rows.proportion(
        'probe', 'top1', m, int(right), len(queries), strength=strength
      )
      for m, right, strength in zip(dims, np.sum(hits, axis=1), probe.strengths)
    ]
    details = {
      'dims': list(dims),
      'strengths': list(probe.strengths),
      'gradients': list(probe.gradients),
      'classes': len(probe.classes),
    }
    return results, details
