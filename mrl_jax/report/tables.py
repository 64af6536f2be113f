"""Result rows as tables: for the terminal, for Markdown and for the page."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from mrl_jax import rows
from mrl_jax.report import blocks, curves
from mrl_jax.rows import Row

WIDTH = 100  # columns of a terminal
LONG = 12  # lines of a table that is open at first
STAR = '* not a trained dimension'
Cells = tuple[Sequence[str], Sequence[Sequence[str]]]  # header, lines


def by_size(
  corner: str,
  columns: Mapping[str, Sequence[Row]],
  show: Callable[[Row | None], str] = blocks.interval,
  mark: str = '*',
) -> Cells:
  """A line per granularity, a column per curve.

  `corner` is the header of the first column, `show` makes a cell of a row,
  `mark` follows the granularities that were not trained.
  """
  trained = {
    rows.granularity(row): row.get('trained', True)
    for curve in columns.values()
    for row in curve
  }
  lines = [
    [
      blocks.size(size) + ('' if trained[size] else mark),
      *(show(rows.at(curve, size)) for curve in columns.values()),
    ]
    for size in rows.granularities(
      row for curve in columns.values() for row in curve
    )
  ]
  return [corner, *columns], lines


def transposed(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Cells:
  """Lines as columns and columns as lines; the corner stays."""
  header, *lines = zip(header, *lines)
  return header, lines


def cells(points: Iterable[Row], names: Iterable[str] = ()) -> Cells:
  """A line per granularity, a column per curve, in percent.

  All curves, or those named. Untrained granularities carry an asterisk.
  """
  measured = rows.curves(points)
  names = list(names) or measured
  return by_size('dim', {curves.label(name): measured[name] for name in names})


def text(points: Iterable[Row], decision: str = '') -> str:
  """What a terminal shows: the main curves, the cascade, the decision.

  All rows stand in the files.
  """
  points = list(points)
  names = list(curves.main(points)) or list(rows.curves(points))[:4]
  header, lines = cells(points, names)
  if _width([header, *lines]) > WIDTH:
    header = ['dim', *map(curves.short, names)]
    lines = [[_narrow(cell) for cell in line] for line in lines]
  out = [_aligned(header, lines)]
  if any(line[0].endswith('*') for line in lines):
    out.append(STAR)
  out += _cascades(points)
  if decision:
    out.append(f'decision: {decision}')
  return '\n'.join(out)


def _narrow(cell: str) -> str:
  """`98.33 (96.4 to 99.2)` as `98.3 (96.4-99.2)`."""
  value, _, rest = cell.partition(' ')
  if not rest:
    return cell
  return f'{float(value):.1f} {rest.replace(" to ", "-")}'


def _width(lines: Sequence[Sequence[str]]) -> int:
  columns = [max(map(len, column)) for column in zip(*lines)]
  return sum(columns) + 2 * (len(columns) - 1)


def _aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Columns to the right, a rule under the header."""
  header, *lines = [[*map(blocks.visible, line)] for line in [header, *lines]]
  widths = [max(map(len, column)) for column in zip(header, *lines)]
  rule = ['-' * width for width in widths]
  return '\n'.join(
    '  '.join(cell.rjust(width) for cell, width in zip(line, widths))
    for line in [header, rule, *lines]
  )


def _cascades(points: Iterable[Row]) -> list[str]:
  """The paper's cascade and the first that bounds its risk and saves."""
  policies = [
    row
    for row in points
    if (row['evaluator'], row['metric']) == ('cascade', 'top1')
    and 'expected_dim' in row
  ]
  bounded = [
    row
    for row in policies
    if row.get('variant', '').startswith('risk')
    and row['expected_dim'] < row['dim']
  ]
  paper = [row for row in policies if row.get('variant') == 'paper']
  return [
    f'cascade, {row.get("variant", "")}: {blocks.interval(row)} with '
    f'{row["expected_dim"]:.1f} of {row["dim"]:g} dimensions on average'
    for row in paper + bounded[:1]
  ]


def markdown(points: Iterable[Row]) -> str:
  """Every curve as one Markdown table, a line per granularity."""
  return grid(*cells(points))


def grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Cells as a Markdown table; bars within cells are escaped."""
  table = [header, ['---'] * len(header), *lines]
  return '\n'.join('| ' + ' | '.join(map(_cell, line)) + ' |' for line in table)


def _cell(text: str) -> str:
  return blocks.visible(text).replace('|', '\\|')


def folded(lines: Sequence, noun: str) -> str:
  """The title under which a long table is closed at first, '' for others."""
  return f'All {len(lines)} {noun}' if len(lines) > LONG else ''


def full(evaluation) -> list[blocks.Table | blocks.Text]:
  """Every row of an evaluation, a folded table per evaluator.

  Where rows have extras a row is a line; else a curve is, a column per
  granularity.
  """
  evaluators: dict[str, list[Row]] = {}
  for row in evaluation.rows:
    evaluators.setdefault(row['evaluator'], []).append(row)
  contents = [
    blocks.Table(*_every(points), fold=f'{name}, {len(points)} rows')
    for name, points in evaluators.items()
  ]
  if not all(row.get('trained', True) for row in evaluation.rows):
    contents.append(blocks.Text(STAR))
  return contents


def _every(points: Sequence[Row]) -> Cells:
  extras = dict.fromkeys(
    key
    for row in points
    for key, value in row.items()
    if key not in rows.KEYS and isinstance(value, int | float | str)
  )
  unit = curves.units(map(rows.curve_name, points))
  if not extras:
    return transposed(*by_size(f'curve, {unit}', rows.curves(points)))
  lines = [
    [
      rows.curve_name(row),
      blocks.size(rows.granularity(row)),
      blocks.interval(row),
      *(blocks.number(row.get(key, '-')) for key in extras),
    ]
    for row in points
  ]
  return ['curve', 'dim', f'value, {unit}', *extras], lines
