"""A plan (plan.py) as a table for the terminal."""

import math

# Row of the table -> where a step's value lies, and its unit.
ROWS = {
  'memory of a chip': None,
  '  parameters': ('memory/parameters', 'B'),
  '  optimizer': ('memory/optimizer', 'B'),
  '  moving average': ('memory/average', 'B'),
  '  batch': ('memory/batch', 'B'),
  '  padding and outputs': ('memory/other', 'B'),
  '  temporaries': ('memory/temporaries', 'B'),
  '  program': ('memory/program', 'B'),
  '  total': ('memory/total', 'B'),
  '  share of the usable': ('memory/share', '%'),
  'a step of a chip': None,
  '  FLOPs': ('flops', 'FLOP'),
  '  FLOPs of matmuls, by hand': ('matmul_flops', 'FLOP'),
  '  bytes accessed': ('bytes_accessed', 'B'),
  '  FLOPs at the peak': ('flops_seconds', 's'),
  '  bytes at full bandwidth': ('bandwidth_seconds', 's'),
}


def at(step: dict, path: str):
  """The value under a path like `memory/total`, None if there is none."""
  for key in path.split('/'):
    step = step.get(key) if step else None
  return step


def _show(value, unit: str) -> str:
  """A number for people: 1.5 GiB, 6.75 TFLOP, 34.3 ms, 34.9%."""
  if value is None:
    return '-'
  if unit == 'messages':
    return f'{value["count"]:,}, {_show(value["bytes"], "B")}'
  if unit == '%':
    return f'{value:.1%}'
  if unit == 's':
    return f'{1000 * value:.3g} ms'
  base, prefixes = (1024, ' KMGT') if unit == 'B' else (1000, ' KMGTPE')
  power = min(int(math.log(max(value, 1), base)), len(prefixes) - 1)
  binary = 'i' if unit == 'B' and power else ''
  return f'{value / base**power:.3g} {prefixes[power].strip()}{binary}{unit}'


def text(report: dict) -> str:
  """The plan for a terminal: a column per head, and their ratio."""
  steps = list(report['steps'].values())
  lines = [('', *report['steps'], 'ratio' if len(steps) > 1 else '')]
  sent = next((s['collectives'] for s in steps if s['collectives']), {})
  messages = {f'  {k}': (f'collectives/{k}', 'messages') for k in sent}
  rows = ROWS | {'messages of a step, of a chip': None} | messages
  for label, row in rows.items():
    if row is None:
      lines.append((label, *[''] * (len(steps) + 1)))
      continue
    path, unit = row
    values = [at(step, path) for step in steps]
    ratio = ''
    if unit in ('B', 'FLOP', 's') and len(values) > 1 and all(values):
      ratio = f'{values[0] / values[1]:.4f}'
    lines.append((label, *(_show(value, unit) for value in values), ratio))
  widths = [max(map(len, column)) for column in zip(*lines)]
  rows = [
    line[0].ljust(widths[0])
    + ''.join(f'  {cell:>{w}}' for cell, w in zip(line[1:], widths[1:]))
    for line in lines
  ]
  return '\n'.join([_heading(report), *(row.rstrip() for row in rows)])


def _heading(report: dict) -> str:
  """The lines above the columns: what was compiled, and the verdict."""
  chip, step = report['chip'], next(iter(report['steps'].values()))
  mesh = ' x '.join(f'{axis} {size}' for axis, size in report['mesh'].items())
  memory, seconds = step['memory'], step['roofline_seconds']
  lines = [
    f'{report["topology"]}: {report["chips"]} chips of {chip["hbm"]} GiB '
    f'({chip["usable"]} usable), {chip["peak"] / 1e12:.0f} TFLOP/s bf16, '
    f'{chip["bandwidth"] / 1e9:.0f} GB/s',
    f'mesh {mesh}, global batch {report["batch_size"]:,}',
    f'{"fits" if memory["fits"] else "DOES NOT FIT"}: '
    f'{_show(memory["total"], "B")}, {memory["share"]:.1%} of the usable',
  ]
  if seconds:
    rate = report['batch_size'] / seconds
    lines.append(
      f'roofline {_show(seconds, "s")} a step, bound by {step["bound_by"]}: '
      f'{rate:,.0f} examples/s'
    )
  if report['run']['hours']:
    run = report['run']
    lines.append(
      f'whole run at the roofline: {run["steps"]:,} steps, '
      f'{run["hours"]:.3g} hours, {run["chip_hours"]:.3g} chip-hours'
    )
  elif seconds:
    lines.append('whole run: give --examples=N, those of the training data')
  if 'largest_batch' in report:
    size = report['largest_batch']['size']
    words = f'{size:,}, compiled' if size else 'none of those tried'
    lines.append(f'largest global batch that fits: {words}')
  return '\n'.join(lines)
