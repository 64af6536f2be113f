"""`probe`: a classifier fitted on frozen prefixes, per dimension."""

from collections.abc import Sequence

import numpy as np

from mrl_jax import rows
from mrl_jax.embed import answers, probes


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
    solver: str = probes.DEFAULTS.solver,
    strengths: Sequence[float] = probes.DEFAULTS.strengths,
    examples: int = probes.DEFAULTS.examples,
  ):
    self.options = probes.Options(solver, tuple(strengths), examples)

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    probe, queries = evidence.probe(self.options), evidence.queries
    right = answers.of_probe(probe, queries, evidence.dims).right
    hits = np.sum(right, axis=1)
    results = [
      rows.proportion(
        'probe', 'top1', m, int(count), len(queries), strength=strength
      )
      for m, count, strength in zip(evidence.dims, hits, probe.strengths)
    ]
    details = {
      'dims': list(evidence.dims),
      'strengths': list(probe.strengths),
      'gradients': list(probe.gradients),
      'classes': len(probe.classes),
    }
    return results, details
