"""robustness: corrupted and shifted test sets against the dimension."""

from mrl_jax.report import blocks, curves, tables


def corruptions(evaluation):
  """Clean and corrupted test sets as curves, each corruption in a table."""
  variants = evaluation.by('variant', 'robustness', 'top1')
  severities = sorted(name for name in variants if name.startswith('severity'))
  lines = []
  for colour, name in enumerate(['clean', *severities]):
    label = name.replace('severity', 'severity ')
    lines += curves.lines(label, variants.get(name, ()), colour)
  lines += curves.lines('mean', variants.get('mean', ()), 6, style='--')
  yield from curves.against_dimension(
    'Corrupted images',
    'right, %',
    lines,
    'Severity 1 is the mildest, 5 the worst.',
  )
  kinds = {
    name.replace('_', ' '): points
    for name, points in variants.items()
    if name not in ('clean', 'mean', *severities)
  }
  if kinds:
    yield blocks.Table(
      *tables.transposed(*tables.by_size('corruption', kinds, _value, '')),
      'Right answers in percent, by dimension; of a corruption the mean of '
      'its severities.',
      fold=f'{len(kinds)} corruptions and shifted sets',
    )


def _value(row) -> str:
  return blocks.percent(row and row['value'])
