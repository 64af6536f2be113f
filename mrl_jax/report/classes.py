"""classes: groups of classes, and each class, against the dimension."""

from mrl_jax.report import blocks, charts, curves

# Metric -> label and colour.
GROUPS = {
  'superclass': ('superclass', 0),
  'head': ('frequent classes', 1),
  'tail': ('rare classes', 2),
  'per_class': ('mean of classes', 3),
}
MOST = 200  # classes in the table


def groups(evaluation):
  """Superclasses, frequent and rare classes against the dimension."""
  lines = curves.metric_lines(evaluation, 'classes', GROUPS)
  yield from curves.against_dimension('Groups of classes', 'right, %', lines)


def trends(evaluation):
  """Each class: the most changed as lines, all of them in a table."""
  classes = evaluation.detail('classes', 'classes')
  if not classes:
    return
  dims = evaluation.detail('classes', 'dims') or sorted(
    {row['dim'] for row in evaluation.rows if row['evaluator'] == 'classes'}
  )
  yield from blocks.sentences(evaluation, 'classes')
  yield from curves.against_dimension(
    'Classes that lose most and least with few dimensions',
    'right, %',
    [
      charts.Line(
        str(entry['name']),
        dims,
        [100 * accuracy for accuracy in entry['accuracy']],
        colour=colour,
        marker=charts.MARKERS[colour],
      )
      for colour, entry in enumerate(_most_changed(classes))
    ],
  )
  yield blocks.Table(
    ['class', 'queries', *(f'{dim:g}' for dim in dims), 'trend'],
    [
      [
        str(entry['name']),
        blocks.number(entry.get('n', '-')),
        *(blocks.percent(accuracy, 1) for accuracy in entry['accuracy']),
        str(entry.get('trend', '')),
      ]
      for entry in classes[:MOST]
    ],
    'Right answers in percent, by dimension.'
    + (f' The first {MOST} classes.' if len(classes) > MOST else ''),
    fold=f'All {min(len(classes), MOST)} classes',
  )


def _most_changed(classes: list) -> list:
  """The four classes that gain most and the two that gain least."""
  by_gain = sorted(
    classes, key=lambda entry: entry['accuracy'][0] - entry['accuracy'][-1]
  )
  return by_gain if len(by_gain) <= 6 else [*by_gain[:4], *by_gain[-2:]]
