"""`classes`: accuracy class by class, of rare ones and of superclasses."""

import numpy as np

from mrl_jax import rows
from mrl_jax.embed import classes
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
    superclasses: a JSON or CSV file, see classes.read_superclasses; '' for
      none.
    tail: share of the classes, the rarest, that are the tail.
  """

  needs = ('labels',)

  def __init__(self, superclasses: str = '', tail: float = 0.2):
    if not 0 < tail < 1:
      raise ValueError(f'tail={tail} must be above 0 and below 1')
    self.groups = (
      classes.read_superclasses(superclasses) if superclasses else {}
    )
    self.tail = tail
    self.metrics = ('per_class', *(('superclass',) if superclasses else ()))

  def run(self, evidence) -> tuple[list[dict], dict]:
    answers, names = evidence.answers, evidence.names
    right, labels = answers.right, answers.labels
    ids, where = np.unique(labels, return_inverse=True)
    hits, totals = classes.accuracies(right, where, len(ids))
    results = [
      rows.make(
        'classes',
        'per_class',
        m,
        np.mean(count / totals),
        classes.macro_interval(count, totals),
        len(labels),
        classes=len(ids),
      )
      for m, count in zip(answers.dims, hits)
    ]
    tail_rows, tail = self.tail_rows(answers, evidence.database.labels)
    results += tail_rows
    if self.groups:
      results += self.superclass_rows(answers, names)
    listed = np.sort(np.argsort(-totals, kind='stable')[:LISTED])
    said = [
      {
        'name': classes.name_of(int(ids[v]), names),
        'id': int(ids[v]),
        'n': int(totals[v]),
        'accuracy': (hits[:, v] / totals[v]).tolist(),
        'trend': classes.trend(right[:, where == v]),
      }
      for v in listed
    ]
    details = {
      'by': answers.by,
      'dims': list(answers.dims),
      'classes': said,
      'left_out': len(ids) - len(said),
      'tail': [classes.name_of(label, names) for label in tail],
      **summary(said, answers.dims),
    }
    return results, details

  def tail_rows(self, answers, database) -> tuple[list[dict], list[int]]:
    """(rows of head and tail, ids of the tail), empty if there is no tail."""
    if database is None:
      return [], []
    ids = np.union1d(database, answers.labels)
    tail = classes.rarest(database, ids, self.tail)
    if tail is None:
      return [], []
    rare = tail[np.searchsorted(ids, answers.labels)]
    rows = []
    for metric, member in (('head', ~rare), ('tail', rare)):
      if member.any():
        rows += part_rows(metric, answers.dims, answers.right[:, member])
    return rows, ids[tail].tolist()

  def superclass_rows(self, answers, names) -> list[dict]:
    """Top-1 of superclasses; every class asked for or answered has one."""
    said = answers.classes[..., 0]
    ids = np.union1d(answers.labels, said)
    groups = classes.superclass_ids(ids, self.groups, names)
    true = groups[np.searchsorted(ids, answers.labels)]
    right = groups[np.searchsorted(ids, said)] == true
    return part_rows('superclass', answers.dims, right)


def part_rows(
  metric: str, dims: Int[np.ndarray, 'g'], right: Bool[np.ndarray, 'g q']
) -> list[dict]:
  return [
    rows.proportion('classes', metric, m, int(np.sum(row)), len(row))
    for m, row in zip(dims, right)
  ]


def summary(said: list[dict], dims) -> dict:
  """How many classes follow each trend, which change most, and a sentence."""
  trends = {
    kind: sum(one['trend'] == kind for one in said)
    for kind in ('rises', 'falls', 'dips', 'peaks', 'flat')
  }
  changed = [
    {
      'name': one['name'],
      'change': one['accuracy'][-1] - one['accuracy'][0],
      'trend': one['trend'],
    }
    for one in said
  ]
  gains = sorted(changed, key=lambda one: -one['change'])[:MOST_CHANGED]
  losses = sorted(changed, key=lambda one: one['change'])[:MOST_CHANGED]
  counts = ', '.join(f'{n} {kind}' for kind, n in trends.items() if n)
  return {
    'trends': trends,
    'most_gained': [one for one in gains if one['change'] > 0],
    'most_lost': [one for one in losses if one['change'] < 0],
    'noise': (
      'changes beyond noise: McNemar with continuity correction, 5% shared '
      'among the pairs of dimensions of a class'
    ),
    'text': (
      f'From {dims[0]} to {dims[-1]} dimensions, of {len(said)} classes: '
      f'{counts}.'
    ),
  }
