"""search: quality of each method against its work, time and bytes."""

from mrl_jax.report import blocks, charts, curves

# Method -> label and colour.
METHODS = {
  'prefix': ('exact on the prefix', 0),
  'ar': ('shortlist, then rerank', 1),
  'funnel': ("funnel, the paper's", 2),
  'funnel_auto': ('funnel, chosen', 3),
  'device': ('exact on the device', 6),
  'device_approximate': ('approximate on the device', 8),
}
COLUMNS = {
  'method': 'method',
  'dim': 'dim',
  'recall': 'recall, %',
  'top1': 'top-1, %',
  'mflops': 'MFLOPs',
  'mflops_shortlist': 'without rerank',
  'bytes': 'index bytes',
  'milliseconds_batch': 'ms a query, batch',
  'milliseconds_single': 'ms, one by one',
  'build_seconds': 'build, s',
  'about': 'what it does',
}


def mflops(evaluation):
  """Quality of each method against its work per query."""
  for metric, word in (('recall', 'recall'), ('top1', 'top-1')):
    methods = evaluation.by('variant', 'search', metric)
    lines = [
      line
      for method, points in methods.items()
      if method != 'device'  # the work and the rows of `prefix` at full width
      for line in _lines(method, points, x='mflops')
    ]
    if lines:
      k = next(iter(methods.values()))[0].get('k')
      word += f'@{k}' if k else ''
      yield charts.draw(
        f'Search: {word} against work',
        charts.Axes(
          'MFLOPs a query, rerank included', f'{word}, %', log_x=True
        ),
        lines,
      )


def milliseconds(evaluation):
  """Recall against measured time: whole batches, and one query at a time."""
  methods = {}
  for entry in evaluation.detail('search', 'methods'):
    if entry.get('recall') is not None:
      points = methods.setdefault(entry['method'], [])
      points.append({**entry, 'value': entry['recall']})
  for key, word in (
    ('milliseconds_batch', 'in batches'),
    ('milliseconds_single', 'one by one'),
  ):
    lines = [
      line
      for method, points in methods.items()
      for line in _lines(method, points, x=key, style='')
    ]
    if lines:
      yield charts.draw(
        f'Search: recall against time, {word}',
        charts.Axes('milliseconds a query', 'recall, %', log_x=True),
        lines,
        'Measured on the machine of the evaluation, see the end.',
      )


def _lines(method: str, points: list, **options) -> list[charts.Line]:
  label, colour = METHODS.get(method, (method, 6))
  return curves.lines(label, points, colour, **options)


def methods(evaluation):
  """Every method with its quality, work, memory and time."""
  entries = evaluation.detail('search', 'methods')
  columns = [key for key in COLUMNS if any(key in entry for entry in entries)]
  if entries:
    yield blocks.Table(
      [COLUMNS[key] for key in columns],
      [[_cell(entry.get(key), key) for key in columns] for entry in entries],
      'MFLOPs are multiply-adds of one query, with the rerank and without.',
      fold=f'All {len(entries)} methods' if len(entries) > 12 else '',
    )
  for name, why in evaluation.detail('search', 'left_out', {}).items():
    yield blocks.Text(f'Not measured: {name}, {why}.')


def _cell(value, key: str) -> str:
  if value is None:
    return '-'
  if key in ('recall', 'top1'):
    return blocks.percent(value)
  if key.startswith('milliseconds'):
    return f'{value:.3g}'
  return blocks.number(value)
