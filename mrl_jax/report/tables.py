"""Result rows as a table: for the terminal and for Markdown."""

from collections.abc import Iterable, Mapping

from mrl_jax.report import results


def cells(rows: Iterable[Mapping]) -> tuple[list[str], list[list[str]]]:
  """(header, lines): a line per dimension, a column per curve, in percent.

  Dimensions that were not trained carry an asterisk.
  """
  rows = list(rows)
  found = results.curves(rows)
  trained = {row['dim']: row.get('trained', True) for row in rows}
  lines = []
  for dim in sorted(trained):
    line = [f'{dim}' if trained[dim] else f'{dim}*']
    for points in found.values():
      row = next((r for r in points if r['dim'] == dim), None)
      line.append(
        '-'
        if row is None
        else f'{100 * row["value"]:.2f} '
        f'({100 * row["ci_low"]:.1f} to {100 * row["ci_high"]:.1f})'
      )
    lines.append(line)
  return ['dim', *(results.label(name) for name in found)], lines


def text(rows: Iterable[Mapping]) -> str:
  """Aligned columns for a terminal."""
  header, lines = cells(rows)
  widths = [max(map(len, column)) for column in zip(header, *lines)]
  rule = '  '.join('-' * width for width in widths)

  def row(line):
    return '  '.join(cell.rjust(width) for cell, width in zip(line, widths))

  out = [row(header), rule, *map(row, lines)]
  if any(line[0].endswith('*') for line in lines):
    out.append('* not a trained dimension')
  return '\n'.join(out)


def markdown(rows: Iterable[Mapping]) -> str:
  header, lines = cells(rows)
  table = [header, ['---'] * len(header), *lines]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in table)
