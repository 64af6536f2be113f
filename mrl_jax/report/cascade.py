"""cascade: a dimension per example, beside fixed ones and the oracle."""

import re

from mrl_jax.report import blocks, charts, curves, published

# Family of policies -> label and colour.
FAMILIES = {
  'paper': ("the paper's thresholds", 1),
  'conditional': ('thresholds set one after the other', 3),
  'joint': ('thresholds set together', 4),
  'risk': ('few lost for sure', 5),
}


def cascade(evaluation):
  """Accuracy against the expected dimension, and a table of policies."""
  policies = evaluation.by('variant', 'cascade', 'top1')
  if not policies:
    return
  families = {}
  for policy, points in policies.items():
    families.setdefault(_family(policy)[0], []).extend(points)
  lines = fixed = _fixed(evaluation)
  for family, points in families.items():
    label, colour = FAMILIES.get(family, (family, 6))
    lines = lines + _dots(label, points, colour)
  lines += _oracle(evaluation)
  if published.comparable(evaluation.config):
    lines += published.lines('cascade/top1.paper', {'cascade': (6, 'o')})
  yield charts.draw(
    'Right answers against the dimensions used',
    charts.Axes(
      'dimensions used, mean of the queries',
      'right, %',
      dims=curves.dims(*fixed) or [evaluation.width],
    ),
    lines,
    'A query stops at few dimensions where the answer is sure. No threshold '
    'was chosen on the queries shown.',
  )
  yield from blocks.sentences(evaluation, 'cascade', 'texts')
  yield _table([row for points in families.values() for row in points])


def _dots(label: str, points: list, colour: int) -> list[charts.Line]:
  return curves.lines(label, points, colour, x='expected_dim', style='')


def _fixed(evaluation) -> list[charts.Line]:
  """Accuracy of each fixed dimension: what a cascade has to beat."""
  points = [
    {
      'dim': point['dim'],
      'value': point['accuracy'],
      'ci_low': point['low'],
      'ci_high': point['high'],
    }
    for point in evaluation.detail('cascade', 'fixed')
  ]
  for name in ('linear/top1', 'probe/top1'):
    points = points or evaluation.curve(name)
  return curves.lines('the same for all queries', points, 0)


def _oracle(evaluation) -> list[charts.Line]:
  """The smallest dimension that is right, if one knew it; and the vote."""
  lines = []
  for metric, label, colour in (
    ('oracle', 'if the best were known', 2),
    ('vote', 'majority of the dimensions', 6),
  ):
    points = evaluation.curve(f'agreement/{metric}')
    points = [{'expected_dim': row['dim'], **row} for row in points]
    lines += _dots(label, points, colour)
  return lines


def _family(policy: str) -> tuple[str, str]:
  """(family, target) of a policy: `joint16` is of `joint`, at 16."""
  return re.fullmatch(r'(.*?)([\d.]*)', policy).groups()


def policy_label(policy: str) -> str:
  """`risk0.01` as 'few lost for sure, 1%', `joint16` with '16 dims'."""
  family, target = _family(policy)
  label = FAMILIES.get(family, (family,))[0]
  if not target:
    return label
  return f'{label}, ' + (
    f'{100 * float(target):g}%' if family == 'risk' else f'{target} dims'
  )


def _table(points: list) -> blocks.Table:
  columns = ('expected_dim', 'cumulative')
  return blocks.Table(
    ['rule', 'right, %', 'dimensions, mean', 'compared in all', 'spread'],
    [
      [
        policy_label(row.get('variant', '')),
        blocks.interval(row),
        *(blocks.number(row.get(key, '-')) for key in columns),
        blocks.percent(row.get('deviation')),
      ]
      for row in points
    ],
    'A query that goes on is compared again with more dimensions; the fourth '
    'column adds them up. The spread is the deviation over splits of the '
    'queries, in points.',
  )
