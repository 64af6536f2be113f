"""Quality against bytes per vector: dimension x precision and its front."""

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
WORDS = {'top1': '1-NN top-1', 'recall': 'recall@10'}


def pareto(seen):
  """All combinations, and the front that no other is better than."""
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
    yield charts.draw(
      f'{word} against bytes',
      charts.Axes(
        'bytes a vector', f'{word}, %',
        dims=sorted({row['bytes'] for row in points}),
      ),
      lines,
      'Nothing on the front is beaten in both.',
    )  # fmt: skip
    yield table(best, word)


def rows(seen) -> list:
  return [
    row
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
  return blocks.interval(
    {
      'value': row.get('kept', float('nan')),
      'ci_low': row.get('kept_low'),
      'ci_high': row.get('kept_high'),
    }
  )


PARTS = (pareto,)
