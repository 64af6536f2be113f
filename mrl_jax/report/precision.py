"""precision: quality against bytes per vector, dimension x number format."""

import math
from collections.abc import Sequence

from mrl_jax import rows
from mrl_jax.report import blocks, charts, curves

COLOURS = {
  'float32': 0,
  'float16': 1,
  'float8': 2,
  'int8': 3,
  'binary': 4,
  'binary_rescored': 5,
}
WORDS = {'top1': '1-NN top-1', 'recall': 'recall'}


def pareto(evaluation):
  """All combinations, and the front that no other is better than."""
  if 'how' in evaluation.recommendation:
    yield blocks.Text(evaluation.recommendation['how'])
  for metric, word in WORDS.items():
    formats = {
      name: [_with_rescore(row) for row in points if row.get('bytes')]
      for name, points in evaluation.by('variant', 'precision', metric).items()
    }
    points = [row for group in formats.values() for row in group]
    if not points:
      continue
    word += f'@{points[0]["k"]}' if 'k' in points[0] else ''
    pairs = [(row['bytes'], row['value']) for row in points]
    front = [points[index] for index in rows.front(pairs)]
    lines = [_joined('front', front, 6, '-', '')]
    for name, group in formats.items():
      colour = COLOURS.get(name, 7)
      label = name.replace('_', ', ')
      lines += curves.lines(label, group, colour, x='bytes', style='')
    chosen = [row for row in points if _recommended(evaluation, row)]
    lines += [_joined('recommended', [row], 7, '', '*') for row in chosen]
    sizes = _powers_of_two([row['bytes'] for row in points])
    yield charts.draw(
      f'{word} against bytes',
      charts.Axes('bytes a vector', f'{word}, %', dims=sizes),
      lines,
      'All that is stored counts. Nothing on the front is beaten in both.',
    )
    yield _table(front, word)


def _with_rescore(row) -> dict:
  """A row with the bytes of all that is stored, rescoring codes included."""
  return {**row, 'bytes': row['bytes'] + row.get('bytes_rescore', 0)}


def _joined(label, points, colour, style, marker) -> charts.Line:
  """Rows of any depth as one line without intervals."""
  return charts.Line(
    label,
    [row['bytes'] for row in points],
    [100 * row['value'] for row in points],
    colour=colour,
    style=style,
    marker=marker,
  )


def _recommended(evaluation, row) -> bool:
  """Whether a row is of the combination that the headline names."""
  advice = evaluation.recommendation
  return (row['dim'], row.get('depth'), row.get('variant')) == (
    advice.get('dim'),
    advice.get('depth'),
    advice.get('precision'),
  )


def _powers_of_two(sizes: Sequence[int]) -> list[int]:
  """The powers of two from the smallest size to the largest."""
  low, high = math.floor(math.log2(min(sizes))), math.log2(max(sizes))
  return [2**i for i in range(low, math.ceil(high) + 1)]


def _table(front, word: str) -> blocks.Table:
  return blocks.Table(
    ['bytes', 'dim', 'precision', f'{word}, %', 'kept of full, %'],
    [
      [
        blocks.number(row['bytes']),
        blocks.size(rows.granularity(row)),
        row.get('variant', ''),
        blocks.interval(row),
        _kept(row),
      ]
      for row in front
    ],
    fold=f'The front of {word}',
  )


def _kept(row) -> str:
  if row.get('kept') is None:
    return '-'
  ends = {f'ci_{end}': row.get(f'kept_{end}') for end in ('low', 'high')}
  return blocks.interval({'value': row['kept'], **ends})
