"""Quality against bytes per vector: dimension x precision and its front."""

import math

from mrl_jax.report import blocks, charts, curves

TITLE = 'Bytes a vector'
PRECISIONS = {
  'float32': 0,
  'float16': 1,
  'float8': 2,
  'int8': 3,
  'binary': 4,
  'binary_rescored': 5,
}
WORDS = {'top1': '1-NN top-1', 'recall': 'recall'}


def pareto(seen):
  """All combinations, and the front that no other is better than."""
  said = seen.details.get('precision', {}).get('recommendation')
  if isinstance(said, dict) and 'how' in said:
    yield blocks.Text(said['how'])
  for metric in sorted({r['metric'] for r in rows(seen)}, reverse=True):
    points = [row for row in rows(seen) if row['metric'] == metric]
    found = {}
    for row in points:
      found.setdefault(row.get('variant', ''), []).append(row)
    best = front(points)
    lines = [
      charts.Line(
        'front',
        [row['bytes'] for row in best],
        [100 * row['value'] for row in best],
        colour=6,
        marker='',
      ),
      *(
        curves.line(
          name.replace('_', ', '),
          group,
          PRECISIONS.get(name, 7),
          x='bytes',
          style='',
        )
        for name, group in found.items()
      ),
    ]
    word = WORDS.get(metric, metric)
    word += f'@{points[0]["k"]}' if 'k' in points[0] else ''
    lines += recommended(seen, points)
    yield charts.draw(
      f'{word} against bytes',
      charts.Axes(
        'bytes a vector', f'{word}, %',
        dims=powers([row['bytes'] for row in points]),
      ),
      lines,
      'All that is stored counts. Nothing on the front is beaten in both.',
    )  # fmt: skip
    yield table(best, word)


def recommended(seen, points) -> list[charts.Line]:
  """The combination that the headline names, if it is of these points."""
  said = seen.details.get('precision', {}).get('recommendation')
  if not isinstance(said, dict):
    return []
  chosen = (said.get('dim'), said.get('precision'))
  return [
    charts.Line(
      'recommended',
      [row['bytes']],
      [100 * row['value']],
      colour=7,
      style='',
      marker='*',
    )
    for row in points
    if (row['dim'], row.get('variant')) == chosen
  ]


def powers(sizes) -> list[int]:
  """The powers of two from the smallest size to the largest."""
  low, high = math.floor(math.log2(min(sizes))), math.log2(max(sizes))
  return [2**i for i in range(low, math.ceil(high) + 1)]


def rows(seen) -> list:
  """Rows with the bytes of all that is stored, rescoring codes included."""
  return [
    {**row, 'bytes': row['bytes'] + row.get('bytes_rescore', 0)}
    for row in seen.rows
    if row['evaluator'] == 'precision' and row.get('bytes')
  ]


def front(points) -> list:
  """Rows that no row of at most their bytes is as good as, by bytes."""
  best = []
  for row in sorted(points, key=lambda r: (r['bytes'], -r['value'])):
    if not best or row['value'] > best[-1]['value']:
      best.append(row)
  return best


def table(best, word: str) -> blocks.Table:
  return blocks.Table(
    ['bytes', 'dim', 'precision', f'{word}, %', 'kept of full, %'],
    [
      [
        blocks.number(row['bytes']),
        f'{row["dim"]:g}',
        row.get('variant', ''),
        blocks.interval(row),
        kept(row),
      ]
      for row in best
    ],
    fold=f'The front of {word}',
  )


def kept(row) -> str:
  if row.get('kept') is None:
    return '-'
  ends = {f'ci_{end}': row.get(f'kept_{end}') for end in ('low', 'high')}
  return blocks.interval({'value': row['kept'], **ends})


PARTS = (pareto,)
