"""Whether to trust it: calibration, classes, corruptions, cosines."""

from mrl_jax.report import blocks, charts, curves

DIMENSIONS = 'dimensions used of the embedding'
TITLE = 'Reliability'
FEWEST = 10  # examples of a bin that say something of its accuracy


def expected_error(seen):
  """Expected calibration error against the dimension."""
  lines = [
    curves.line(label, seen.curve(f'calibration/{name}'), colour)
    for name, label, colour in (
      ('ece', 'equal widths', 0),
      ('ece_adaptive', 'equal counts', 1),
    )
    if seen.curve(f'calibration/{name}')
  ]
  if lines:
    yield from blocks.sentences(seen, 'calibration')
    yield charts.draw(
      'Calibration error (ECE)',
      charts.Axes(DIMENSIONS, '%', dims=curves.dims(*lines), y_from_zero=True),
      lines,
    )


def diagram(seen):
  """Accuracy against confidence at a few dimensions."""
  details = seen.details.get('calibration', {})
  found = dict(zip(details.get('dims', ()), details.get('reliability', ())))
  dims = sorted(found)
  dims = sorted({dims[0], dims[len(dims) // 2], dims[-1]}) if dims else []
  lines = []
  for colour, dim in enumerate(dims):
    bins = [b for b in found[dim] if b['count'] >= FEWEST]
    if bins:
      lines.append(
        charts.Line(
          f'{dim} dims',
          [100 * b['confidence'] for b in bins],
          [100 * b['accuracy'] for b in bins],
          colour=colour,
          marker=charts.MARKERS[colour],
        )
      )
  if lines:
    yield charts.draw(
      'Accuracy of what it is sure of',
      charts.Axes('confidence, %', 'accuracy, %', diagonal=True),
      lines,
      'On the diagonal, confidence is right. Only bins of at '
      f'least {FEWEST} examples are drawn.',
    )


def groups(seen):
  """Superclasses, frequent and rare classes against the dimension."""
  lines = []
  for name, label in (
    ('superclass', 'superclass'),
    ('head', 'frequent classes'),
    ('tail', 'rare classes'),
    ('per_class', 'mean of classes'),
  ):
    points = seen.curve(f'classes/{name}')
    if points:
      lines.append(curves.line(label, points, len(lines)))
  if lines:
    yield charts.draw(
      'Groups of classes',
      charts.Axes(DIMENSIONS, 'top-1, %', dims=curves.dims(*lines)),
      lines,
    )


def trends(seen):
  """Each class: the most changed as lines, all of them in a table."""
  details = seen.details.get('classes', {})
  classes = details.get('classes') or []
  if not classes:
    return
  dims = details.get('dims') or sorted(
    {r['dim'] for r in seen.rows if r['evaluator'] == 'classes'}
  )
  moved = sorted(classes, key=lambda c: c['accuracy'][0] - c['accuracy'][-1])
  shown = moved if len(moved) <= 6 else [*moved[:4], *moved[-2:]]
  lines = [
    charts.Line(
      str(c['name']), dims, [100 * a for a in c['accuracy']],
      colour=colour, marker=charts.MARKERS[colour],
    )
    for colour, c in enumerate(shown)
  ]  # fmt: skip
  yield from blocks.sentences(seen, 'classes')
  yield charts.draw(
    'Classes that gain most and least with size',
    charts.Axes(DIMENSIONS, 'top-1, %', dims=dims),
    lines,
  )
  yield blocks.Table(
    ['class', 'n', *(f'{dim:g}' for dim in dims), 'trend'],
    [
      [
        str(c['name']),
        blocks.number(c.get('n', '-')),
        *(blocks.percent(a, 1) for a in c['accuracy']),
        str(c.get('trend', '')),
      ]
      for c in classes[:200]
    ],
    'Top-1 in percent by dimension.'
    + (' The first 200 classes.' if len(classes) > 200 else ''),
    fold=f'All {min(len(classes), 200)} classes',
  )


def corruptions(seen):
  """Clean and corrupted test sets against the dimension."""
  found = seen.of('robustness', 'top1')
  by = {points[0].get('variant', ''): points for points in found.values()}
  severities = sorted(name for name in by if name.startswith('severity'))
  lines = [
    curves.line(name.replace('severity', 'severity '), by[name], colour)
    for colour, name in enumerate(['clean', *severities])
    if name in by
  ]
  if 'mean' in by:
    lines.append(curves.line('mean', by['mean'], 6, style='--'))
  if lines:
    yield charts.draw(
      'Corrupted images',
      charts.Axes(DIMENSIONS, 'top-1, %', dims=curves.dims(*lines)),
      lines,
    )
  plain = ('clean', 'mean', *severities)
  kinds = [name for name in by if name not in plain]
  if kinds:
    dims = sorted({row['dim'] for name in kinds for row in by[name]})
    yield blocks.Table(
      ['corruption', *(f'{dim:g}' for dim in dims)],
      [
        [name.replace('_', ' '), *at_dims(by[name], dims)]
        for name in kinds
      ],
      'Top-1 in percent by dimension; of a corruption the mean of its '
      'severities.',
      fold=f'{len(kinds)} corruptions and shifted sets',
    )  # fmt: skip


def at_dims(points, dims) -> list[str]:
  values = {row['dim']: row['value'] for row in points}
  return [blocks.percent(values.get(dim)) for dim in dims]


def cosines(seen):
  """Similarity of images of one class and of two."""
  lines = [
    curves.line(label, seen.curve(f'cosine/{name}'), colour, scale=1)
    for name, label, colour in (
      ('positive', 'same class', 2),
      ('negative', 'two classes', 1),
      ('separation', 'AUC', 0),
    )
    if seen.curve(f'cosine/{name}')
  ]
  if lines:
    yield charts.draw(
      'Cosine similarity of pairs',
      charts.Axes(DIMENSIONS, 'mean cosine; AUC', dims=curves.dims(*lines)),
      lines,
      'AUC: how often a pair of one class is more similar than one of two.',
    )


def spans(seen):
  """How cosines are spread, at the smallest dimension and at the full width."""
  details = seen.details.get('cosine', {})
  dims, edges = details.get('dims') or [], details.get('edges') or []
  lines = []
  for name, label, colour in (
    ('positive', 'same class', 2),
    ('negative', 'two classes', 1),
  ):
    found = details.get('histograms', {}).get(name) or []
    for g, style in {0: '--', len(found) - 1: '-'}.items() if found else ():
      counts = found[g]
      lines.append(
        charts.Line(
          f'{label}, {dims[g]} dims',
          [(a + b) / 2 for a, b in zip(edges, edges[1:])],
          [100 * count / max(1, sum(counts)) for count in counts],
          colour=colour,
          style=style,
          marker='',
        )
      )
  if lines:
    yield charts.draw(
      'How cosines are spread',
      charts.Axes('cosine', '% of pairs', y_from_zero=True),
      lines,
    )


PARTS = (expected_error, diagram, groups, trends, corruptions, cosines, spans)
