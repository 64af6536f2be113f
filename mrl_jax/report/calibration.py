"""calibration: whether its confidence is right."""

from mrl_jax.report import blocks, charts, curves

# Metric -> label and colour.
METRICS = {
  'ece': ('bins of equal width', 0),
  'ece_adaptive': ('bins of equal size', 1),
}
FEWEST = 10  # examples of a bin that say something of its accuracy


def expected_error(evaluation):
  """Expected calibration error against the dimension."""
  lines = curves.metric_lines(evaluation, 'calibration', METRICS)
  if lines:
    yield from blocks.sentences(evaluation, 'calibration')
  yield from curves.against_dimension(
    'How far confidence is off (ECE)',
    'points',
    lines,
    'The mean distance between the confidence stated and the share right.',
    y_from_zero=True,
  )


def diagram(evaluation):
  """Accuracy against confidence at a few dimensions."""
  bins_by_dim = dict(
    zip(
      evaluation.detail('calibration', 'dims'),
      evaluation.detail('calibration', 'reliability'),
    )
  )
  dims = sorted(bins_by_dim)
  dims = sorted({dims[0], dims[len(dims) // 2], dims[-1]}) if dims else []
  lines = []
  for colour, dim in enumerate(dims):
    bins = [it for it in bins_by_dim[dim] if it['count'] >= FEWEST]
    if bins:
      lines.append(
        charts.Line(
          f'{dim} dimensions',
          [100 * it['confidence'] for it in bins],
          [100 * it['accuracy'] for it in bins],
          colour=colour,
          marker=charts.MARKERS[colour],
        )
      )
  if lines:
    yield charts.draw(
      'Is it right as often as it is sure?',
      charts.Axes('stated confidence, %', 'right, %', diagonal=True),
      lines,
      'On the diagonal, confidence is true; above it, the answer is better '
      f'than stated. Points of at least {FEWEST} queries.',
    )
