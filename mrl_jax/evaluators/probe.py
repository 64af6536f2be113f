"""`probe`: a classifier fitted on frozen prefixes, per dimension."""

from collections.abc import Sequence

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
    probe = evidence.probe(self.options)
    right = answers.of_probe(probe, evidence.queries, evidence.dims).right
    results = rows.proportions('probe', 'top1', evidence.dims, right)
    for row, strength in zip(results, probe.strengths):
      row['strength'] = strength
    details = {
      'dims': list(evidence.dims),
      'strengths': list(probe.strengths),
      'gradients': list(probe.gradients),
      'classes': len(probe.classes),
    }
    return results, details
