"""search: quality of each method against its work, time and bytes."""

from mrl_jax.report import blocks, charts, curves, tables

# Method -> label and colour.
METHODS = {
  'prefix': ('exact on the prefix', 0),
  'ar': ('shortlist, then rerank', 1),
  'funnel': ("funnel, the paper's", 2),
  'funnel_auto': ('funnel, chosen', 3),
  'device': ('exact on the device', 6),
  'device_approximate': ('approximate on the device', 8),
}
TERMS = (
  'Shortlist: the best rows with few dimensions. Rerank: those again with all. '
  'Funnel: shortlists that shrink while dimensions grow.'
)
COLUMNS = {
  'method': 'method',
  'dim': 'dim',
  'recall': 'true neighbours, %',
  'top1': 'first row right, %',
  'mflops': 'million products',
  'mflops_shortlist': 'before the rerank',
  'bytes': 'index bytes',
  'milliseconds_batch': 'ms a query, in batches',
  'milliseconds_single': 'ms a query, one by one',
  'build_seconds': 'seconds to build',
  'about': 'what it does',
}


def mflops(evaluation):
  """Quality of each method against its work per query."""
  for metric, word in (
    ('recall', 'true neighbours found'),
    ('top1', 'first row right'),
  ):
    methods = evaluation.by('variant', 'search', metric)
    lines = [
      line
      for method, points in methods.items()
      if method != 'device'  # the work and the rows of `prefix` at full width
      for line in _lines(method, points, x='mflops')
    ]
    if lines:
      k = next(iter(methods.values()))[0].get('k')
      yield charts.draw(
        f'Search: {word}, against work',
        charts.Axes(
          'million products a query, rerank included',
          f'{word}, %' + (f' of {k}' if k else ''),
          log_x=True,
        ),
        lines,
        TERMS,
      )


def milliseconds(evaluation):
  """Recall against measured time: whole batches, and one query at a time."""
  methods = {}
  for entry in evaluation.detail('search', 'methods'):
    if entry.get('recall') is not None:
      points = methods.setdefault(entry['method'], [])
      points.append({**entry, 'value': entry['recall']})
  for key, word in (
    ('milliseconds_batch', 'many queries at once'),
    ('milliseconds_single', 'one query at a time'),
  ):
    lines = [
      line
      for method, points in methods.items()
      for line in _lines(method, points, x=key, style='')
    ]
    if lines:
      yield charts.draw(
        f'Search: true neighbours found, against time, {word}',
        charts.Axes(
          'milliseconds a query', 'true neighbours found, %', log_x=True
        ),
        lines,
        'Measured on one machine, named at the end of the page.',
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
      'Products are multiply-adds of one query.',
      fold=tables.folded(entries, 'methods'),
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
