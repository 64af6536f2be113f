"""Result rows as tables: for the terminal, for Markdown and for the page."""

from collections.abc import Iterable, Mapping, Sequence

from mrl_jax.report import blocks, curves, results

WIDTH = 100  # columns of a terminal
STAR = '* not a trained dimension'


def cells(
  rows: Iterable[Mapping], names: Sequence[str] = ()
) -> tuple[list[str], list[list[str]]]:
  """(header, lines): a line per dimension, a column per curve, in percent.

  All curves, or those named. Untrained dimensions carry an asterisk.
  """
  found = results.curves(rows)
  found = {name: found[name] for name in names or found}
  trained = {
    row['dim']: row.get('trained', True)
    for points in found.values()
    for row in points
  }
  lines = []
  for dim in sorted(trained):
    line = [f'{dim:g}' if trained[dim] else f'{dim:g}*']
    for points in found.values():
      line.append(at(points, dim))
    lines.append(line)
  return ['dim', *(results.label(name) for name in found)], lines


def at(points: Sequence[Mapping], dim: float) -> str:
  """The value of a curve at a dim with its interval, `-` if there is none."""
  return blocks.interval(next((r for r in points if r['dim'] == dim), None))


def text(rows: Sequence[Mapping], recommendation: str = '') -> str:
  """What a terminal shows: the main curves, the cascade, a recommendation.

  All rows stand in the files.
  """
  rows = list(rows)
  names = list(curves.main(rows)) or list(results.curves(rows))[:4]
  header, lines = cells(rows, names) if names else (['dim'], [])
  if width([header, *lines]) > WIDTH:
    header = ['dim', *(short(name) for name in names)]
    lines = [[narrow(cell) for cell in line] for line in lines]
  out = [aligned(header, lines)]
  if any(line[0].endswith('*') for line in lines):
    out.append(STAR)
  out += cascades(rows)
  if recommendation:
    out.append(f'recommended: {recommendation}')
  return '\n'.join(out)


def short(name: str) -> str:
  return curves.SHORT.get(curves.base(name), name)


def narrow(cell: str) -> str:
  """`98.33 (96.4 to 99.2)` as `98.3 (96.4-99.2)`."""
  value, _, rest = cell.partition(' ')
  if not rest:
    return cell
  return f'{float(value):.1f} {rest.replace(" to ", "-")}'


def width(lines: Sequence[Sequence[str]]) -> int:
  columns = [max(map(len, column)) for column in zip(*lines)]
  return sum(columns) + 2 * (len(columns) - 1)


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Columns to the right, a rule under the header."""
  widths = [max(map(len, column)) for column in zip(header, *lines)]
  rule = ['-' * width for width in widths]
  return '\n'.join(
    '  '.join(cell.rjust(width) for cell, width in zip(line, widths))
    for line in [header, rule, *lines]
  )


def cascades(rows: Iterable[Mapping]) -> list[str]:
  """The paper's cascade and the first that bounds its risk and saves."""
  found = [
    row
    for row in rows
    if (row['evaluator'], row['metric']) == ('cascade', 'top1')
    and 'expected_dim' in row
  ]
  bounded = [
    row
    for row in found
    if row.get('variant', '').startswith('risk')
    and row['expected_dim'] < row['dim']
  ]
  shown = [row for row in found if row.get('variant') == 'paper']
  return [
    f'cascade, {row.get("variant", "")}: {blocks.interval(row)} with '
    f'{row["expected_dim"]:.1f} of {row["dim"]:g} dimensions on average'
    for row in shown + bounded[:1]
  ]


def markdown(rows: Iterable[Mapping]) -> str:
  """Every curve as one Markdown table, a line per dimension."""
  return grid(*cells(rows))


def grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Cells as a Markdown table; bars within cells are escaped."""
  table = [header, ['---'] * len(header), *lines]
  return '\n'.join(
    '| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |'
    for line in table
  )


def full(seen) -> list[blocks.Table]:
  """Every row of an evaluation, a folded table per evaluator.

  Where rows have extras a row is a line; else a curve is, a column per dim.
  """
  tables = []
  for name in dict.fromkeys(row['evaluator'] for row in seen.rows):
    rows = [row for row in seen.rows if row['evaluator'] == name]
    extras = list(
      dict.fromkeys(k for row in rows for k in row if scalar(row, k))
    )
    header, lines = long(rows, extras) if extras else wide(rows)
    fold = f'{name}, {len(rows)} rows'
    tables.append(blocks.Table(header, lines, fold=fold))
  return tables


def scalar(row: Mapping, key: str) -> bool:
  return key not in results.KEYS and isinstance(row[key], int | float | str)


def long(rows, extras) -> tuple[list[str], list[list[str]]]:
  lines = [
    [
      results.curve_name(row),
      f'{row["dim"]:g}',
      blocks.interval(row),
      *(blocks.number(row.get(key, '-')) for key in extras),
    ]
    for row in rows
  ]
  return ['curve', 'dim', 'value, %', *extras], lines


def wide(rows) -> tuple[list[str], list[list[str]]]:
  dims = sorted({row['dim'] for row in rows})
  trained = {row['dim']: row.get('trained', True) for row in rows}
  lines = [
    [name] + [at(points, dim) for dim in dims]
    for name, points in results.curves(rows).items()
  ]
  header = [f'{dim:g}' + '*' * (not trained[dim]) for dim in dims]
  return ['curve, %', *header], lines
