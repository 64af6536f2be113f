"""`classes`: accuracy class by class, of rare ones and of superclasses."""

import numpy as np

from mrl_jax import intervals, rows
from mrl_jax.embed.vectors import class_name
from mrl_jax.evaluators import options
from mrl_jax.evaluators.classes import superclasses as supers
from mrl_jax.evaluators.classes import trends
from mrl_jax.shapes import Bool, Int

LISTED = 1000  # classes in the details, those with most queries
MOST_CHANGED = 5  # named each way


class Classes:
  """What happens to single classes as prefixes grow.

  Rows per dim: `per_class`, the mean of the classes' accuracies; `head` and
  `tail`, top-1 of queries of frequent and rare classes, where frequencies in
  the database differ; `superclass`, where a map is given, the share of
  answers in the right superclass.

  Args:
    superclasses: a JSON or CSV file, see superclasses.py; '' for none.
    tail: share of the classes, the rarest, that are the tail.
  """

  needs = ('labels',)

  def __init__(self, superclasses: str = '', tail: float = 0.2):
    options.between_0_and_1(tail=tail)
    self.groups = supers.read_superclasses(superclasses) if superclasses else {}
    self.tail = tail
    self.metrics = ('per_class', *(('superclass',) if superclasses else ()))

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    answers, names = evidence.answers, evidence.names
    right, labels = answers.right, answers.labels
    ids, where = np.unique(labels, return_inverse=True)
    totals = np.bincount(where)
    hits = [np.bincount(where, weights) for weights in right]
    results = [
      rows.make(
        'classes',
        'per_class',
        m,
        np.mean(count / totals),
        intervals.macro(count, totals),
        len(labels),
        classes=len(ids),
      )
      for m, count in zip(answers.dims, hits)
    ]
    tail_rows, tail = self._tail_rows(answers, evidence.database.labels)
    results += tail_rows
    if self.groups:
      results += self._superclass_rows(answers, names)
    listed = np.sort(np.argsort(-totals, kind='stable')[:LISTED])
    described = [
      {
        'name': class_name(int(ids[v]), names),
        'id': int(ids[v]),
        'n': int(totals[v]),
        'accuracy': [float(count[v] / totals[v]) for count in hits],
        'trend': trends.trend(right[:, where == v]),
      }
      for v in listed
    ]
    details = {
      'by': answers.by,
      'dims': list(answers.dims),
      'classes': described,
      'left_out': len(ids) - len(described),
      'tail': [class_name(label, names) for label in tail],
      **_summary(described, answers.dims),
    }
    return results, details

  def _tail_rows(self, answers, labels) -> tuple[list[rows.Row], list[int]]:
    """(rows of head and tail, ids of the tail), empty if there is no tail."""
    if labels is None:
      return [], []
    ids = np.union1d(labels, answers.labels)
    tail = rarest(labels, ids, self.tail)
    if tail is None:
      return [], []
    rare = tail[np.searchsorted(ids, answers.labels)]
    results = []
    for metric, member in (('head', ~rare), ('tail', rare)):
      if member.any():
        right = answers.right[:, member]
        results += rows.proportions('classes', metric, answers.dims, right)
    return results, ids[tail].tolist()

  def _superclass_rows(self, answers, names) -> list[rows.Row]:
    """Top-1 of superclasses; every class asked for or answered has one."""
    answered = answers.classes[..., 0]
    ids = np.union1d(answers.labels, answered)
    groups = supers.superclass_numbers(ids, self.groups, names)
    true = groups[np.searchsorted(ids, answers.labels)]
    right = groups[np.searchsorted(ids, answered)] == true
    return rows.proportions('classes', 'superclass', answers.dims, right)


def rarest(
  labels: Int[np.ndarray, 'r'], ids: Int[np.ndarray, 'v'], share: float
) -> Bool[np.ndarray, 'v'] | None:
  """Which classes are the tail: the rarest `share` of them in `labels`.

  At least one and not all; of equally frequent classes the smaller id is
  taken first. None where all are equally frequent.
  """
  counts = np.bincount(np.searchsorted(ids, labels), minlength=len(ids))
  if len(ids) < 2 or np.all(counts == counts[0]):
    return None
  size = min(max(round(share * len(ids)), 1), len(ids) - 1)
  tail = np.zeros(len(ids), bool)
  tail[np.argsort(counts, kind='stable')[:size]] = True
  return tail


def _summary(described: list[dict], dims) -> dict:
  """How many classes follow each trend, which change most, and a sentence."""
  counts = {
    kind: sum(one['trend'] == kind for one in described)
    for kind in ('rises', 'falls', 'dips', 'peaks', 'flat')
  }
  changed = [
    {
      'name': one['name'],
      'change': one['accuracy'][-1] - one['accuracy'][0],
      'trend': one['trend'],
    }
    for one in described
  ]
  gains = sorted(changed, key=lambda one: -one['change'])[:MOST_CHANGED]
  losses = sorted(changed, key=lambda one: one['change'])[:MOST_CHANGED]
  shares = ', '.join(f'{n} {kind}' for kind, n in counts.items() if n)
  return {
    'trends': counts,
    'most_gained': [one for one in gains if one['change'] > 0],
    'most_lost': [one for one in losses if one['change'] < 0],
    'noise': (
      'changes beyond noise: McNemar with continuity correction, 5% shared '
      'among the pairs of dimensions of a class'
    ),
    'text': (
      f'From {dims[0]} to {dims[-1]} dimensions, of {len(described)} classes: '
      f'{shares}.'
    ),
  }
