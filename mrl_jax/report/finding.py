"""Search: quality against dimension, MFLOPs, time and bytes."""

from mrl_jax.report import blocks, charts, curves

TITLE = 'Retrieval and search'
METHODS = {
  'prefix': ('exact on the prefix', 0),
  'ar': ('shortlist, then rerank', 1),
  'funnel': ("funnel, the paper's", 2),
  'funnel_auto': ('funnel, chosen', 3),
  'hnsw': ('HNSW, then rerank', 4),
  'ivf': ('IVF, then rerank', 5),
  'flat': ('faiss Flat, then rerank', 7),
  'device': ('exact on the device', 6),
  'device_approximate': ('approximate on the device', 8),
}
METRICS = {
  'top1': ('top-1', 0),
  'map@10': ('mAP@10', 4),
  'map_min@10': ('mAP@10 over min(k, R)', 1),
  'ndcg@10': ('nDCG@10', 2),
  'mrr@10': ('MRR@10', 3),
  'p@10': ('P@10', 5),
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


def retrieval(seen):
  """The usual measures of retrieval against the dimension."""
  lines = [
    curves.line(label, seen.curve(f'retrieval/{name}'), colour)
    for name, (label, colour) in METRICS.items()
    if seen.curve(f'retrieval/{name}')
  ]
  if lines:
    yield charts.draw(
      'Retrieval against dimension',
      charts.Axes(
        'dimensions used of the embedding', '%', dims=curves.dims(*lines)
      ),
      lines,
      "mAP@10 is the paper's, divided by 10; the other by min(10, R).",
    )


def mflops(seen):
  """Quality of each method against its work per query."""
  for metric, word in (('recall', 'recall'), ('top1', 'top-1')):
    lines, found = [], seen.of('search', metric)
    for points in found.values():
      variant = points[0].get('variant', '')
      if variant == 'device':
        continue  # the work and the rows of `prefix` at full width
      label, colour = METHODS.get(variant, (variant, 6))
      line = curves.line(label, points, colour, x='mflops')
      lines += [line] * bool(line.x)
    if lines:
      k = next(iter(found.values()))[0].get('k')
      word += f'@{k}' if k else ''
      yield charts.draw(
        f'Search: {word} against work',
        charts.Axes(
          'MFLOPs a query, rerank included', f'{word}, %', log_x=True
        ),
        lines,
      )


def milliseconds(seen):
  """Recall against measured time: whole batches, and one query at a time."""
  methods = seen.details.get('search', {}).get('methods') or []
  for key, word in (
    ('milliseconds_batch', 'in batches'),
    ('milliseconds_single', 'one by one'),
  ):
    found = {}
    for entry in methods:
      if entry.get(key) is not None and entry.get('recall') is not None:
        found.setdefault(entry['method'], []).append(entry)
    lines = [timed(name, key, entries) for name, entries in found.items()]
    if lines:
      yield charts.draw(
        f'Search: recall against time, {word}',
        charts.Axes('milliseconds a query', 'recall, %', log_x=True),
        lines,
        'Measured on the machine of the evaluation, see the end.',
      )


def timed(name: str, key: str, entries: list) -> charts.Line:
  entries = sorted(entries, key=lambda entry: entry[key])
  label, colour = METHODS.get(name, (name, 6))
  return charts.Line(
    label,
    [entry[key] for entry in entries],
    [100 * entry['recall'] for entry in entries],
    colour=colour,
    style='',
    marker=charts.MARKERS[colour],
  )


def methods(seen):
  """Every method with its quality, work, memory and time."""
  entries = seen.details.get('search', {}).get('methods') or []
  columns = [key for key in COLUMNS if any(key in entry for entry in entries)]
  if entries:
    yield blocks.Table(
      [COLUMNS[key] for key in columns],
      [[cell(entry.get(key), key) for key in columns] for entry in entries],
      'MFLOPs are multiply-adds of one query, with the rerank and without.',
      fold=f'All {len(entries)} methods' if len(entries) > 12 else '',
    )

  left_out = seen.details.get('search', {}).get('left_out') or {}
  for name, why in left_out.items():
    yield blocks.Text(f'Not measured: {name}, {why}.')


def cell(value, key: str) -> str:
  if value is None:
    return '-'
  if key in ('recall', 'top1'):
    return blocks.percent(value)
  if key.startswith('milliseconds'):
    return f'{value:.3g}'
  return blocks.number(value)


PARTS = (retrieval, mflops, milliseconds, methods)
