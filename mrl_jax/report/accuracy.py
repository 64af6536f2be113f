"""linear, probe, knn (and retrieval's mAP@10): accuracy against dimension."""

from mrl_jax import rows
from mrl_jax.report import blocks, charts, curves, published, tables


def against_dimension(evaluation):
  """The main curves with their intervals, as charts and as a table."""
  points = _shares(evaluation)
  lines = curves.main_lines(points)
  if not lines:
    return
  hollow = any(line.hollow for line in lines)
  names = list(curves.main(points))
  yield from curves.against_dimension(
    f'{curves.short(names[0])} by dimension'
    if curves.judged(evaluation.rows)
    else 'Accuracy by dimension',
    '%',
    lines,
    f'Shown: {"; ".join(dict.fromkeys(map(curves.meaning, names)))}. '
    'Bands are 95% intervals.'
    + (' Open points were not trained.' if hollow else ''),
  )
  if published.comparable(evaluation.config):
    yield from _beside_published(evaluation)
  yield from _kept(evaluation)
  header, cells = tables.cells(points, names)
  yield blocks.Table(
    header,
    cells,
    tables.STAR if hollow else '',
    fold=tables.folded(cells, 'dimensions'),
  )


def _shares(evaluation) -> list[rows.Row]:
  """The rows without correlations, which have a chapter of their own."""
  return [
    row
    for row in evaluation.rows
    if not curves.correlated(rows.curve_name(row))
  ]


def _beside_published(evaluation):
  """Our curve and the published ones, percent of the same test set."""
  for name, points in curves.main(_shares(evaluation)).items():
    references = published.lines(name)
    if references:
      ours = curves.lines('this run', points, curves.colour(name))
      yield from curves.against_dimension(
        f'{curves.short(name)} beside the published curves',
        '%',
        [*ours, *references],
        f'Dotted: ResNet-50 on ImageNet-1K, {published.source(name)}.',
      )


def _kept(evaluation):
  """What each size keeps of the full width."""
  lines = [
    _relative(line)
    for name, points in curves.main(_shares(evaluation)).items()
    if curves.main_name(name) != 'knn/weighted'
    for line in curves.lines(curves.short(name), points, curves.colour(name))
    if len(line.x) > 1 and line.y[-1] > 0
  ]
  if not lines:
    return
  note = ''
  if published.comparable(evaluation.config):
    lines += map(_relative, published.lines('linear/top1'))
    note = (
      'Dotted: ResNet-50 on the same data, widths 8 to 2048, linear top-1, '
      f'{published.source("linear/top1")}.'
    )
  yield charts.draw(
    'Kept of what all dimensions reach',
    charts.Axes(
      'share of the dimensions', '% of the result with all', shares=True
    ),
    lines,
    note,
  )


def _relative(line: charts.Line) -> charts.Line:
  """A line in shares of its last dimension and percent of its last value."""
  return charts.Line(
    line.label,
    [x / line.x[-1] for x in line.x],
    [100 * y / line.y[-1] for y in line.y],
    colour=line.colour,
    style=line.style,
    marker=line.marker,
  )
