"""A dimension per example: cascades, the oracle, where answers turn right."""

import re

from mrl_jax.report import blocks, charts, curves, published

TITLE = 'A dimension per example'
FAMILIES = {
  'paper': ("the paper's thresholds", 1),
  'conditional': ('thresholds on those that arrive', 3),
  'joint': ('joint search', 4),
  'risk': ('bounded risk', 5),
}


def fixed(seen) -> charts.Line:
  """Accuracy of each fixed dimension: what a cascade has to beat."""
  points = [
    {
      'dim': point['dim'],
      'value': point['accuracy'],
      'ci_low': point['low'],
      'ci_high': point['high'],
    }
    for point in seen.details.get('cascade', {}).get('fixed') or []
  ]
  points = points or seen.curve('linear/top1') or seen.curve('probe/top1')
  return curves.line('fixed dimension', points, 0)


def cascade(seen):
  """Accuracy against the expected dimension, beside fixed dims and oracle."""
  families = {}
  for points in seen.of('cascade', 'top1').values():
    for row in points:
      family = re.sub(r'[\d.]+$', '', row.get('variant', ''))
      families.setdefault(family, []).append(row)
  if not families:
    return
  lines = [fixed(seen)]
  for family, rows in families.items():
    label, colour = FAMILIES.get(family, (family, 6))
    lines.append(
      curves.line(label, rows, colour, x='expected_dim', style='')
    )  # fmt: skip
  lines += oracle(seen)
  if published.comparable(seen.config):
    found = published.beside('cascade/top1.paper')[0]
    lines.append(
      charts.Line(
        'cascade, published',
        found['dims'],
        found['values'],
        colour=6,
        style=':',
      )
    )
  yield charts.draw(
    'Accuracy against the expected dimension',
    charts.Axes(
      'dimension used, mean over examples',
      'top-1, %',
      dims=curves.dims(lines[0]) or [seen.width],
    ),
    lines,
    'No threshold was chosen on the examples reported.',
  )
  yield from blocks.sentences(seen, 'cascade', 'texts')
  yield policies([row for rows in families.values() for row in rows])


def oracle(seen) -> list[charts.Line]:
  """The smallest dimension that is right, if one knew it; and the vote."""
  lines = []
  for metric, label, colour in (('oracle', 'oracle', 2), ('vote', 'vote', 6)):
    points = [
      {'expected_dim': row['dim'], **row}
      for row in seen.curve(f'agreement/{metric}')
    ]
    if points:
      lines.append(
        curves.line(label, points, colour, x='expected_dim', style='')
      )
  return lines


def policy(variant: str) -> str:
  """`joint16` as 'joint search, 16 dims', `risk0.01` as 'bounded risk, 1%'."""
  family, target = re.fullmatch(r'(.*?)([\d.]*)', variant).groups()
  said = FAMILIES.get(family, (family,))[0]
  if not target:
    return said
  return f'{said}, ' + (
    f'{100 * float(target):g}%' if family == 'risk' else f'{target} dims'
  )


def policies(rows) -> blocks.Table:
  columns = ('expected_dim', 'cumulative')
  return blocks.Table(
    ['policy', 'top-1, %', 'mean dim', 'sum of dims tried', 'deviation'],
    [
      [
        policy(row.get('variant', '')),
        blocks.interval(row),
        *(blocks.number(row.get(key, '-')) for key in columns),
        blocks.percent(row.get('deviation')),
      ]
      for row in rows
    ],
    'The sum counts every dimension tried on the way. The deviation is that '
    'of the accuracy over splits, in points.',
  )


def first_right(seen):
  """At which dimension examples are first answered right."""
  rows = seen.curve('agreement/first_right')
  names = [f'{row["dim"]:g}' for row in rows]
  shares = [100 * row['value'] for row in rows]
  if rows:
    yield from blocks.sentences(seen, 'agreement')
    never = max(0, 100 - sum(shares))
    yield charts.draw(
      'First right at',
      charts.Axes(
        'dimension', '% of examples', bars=True, ticks=[*names, 'never']
      ),
      [
        charts.Line(
          'share of examples', range(len(names) + 1), [*shares, never], colour=2
        )
      ],
    )


PARTS = (cascade, first_right)
