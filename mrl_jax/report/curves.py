"""Result rows as lines of a chart; a curve has one colour everywhere."""

from collections.abc import Mapping, Sequence

from mrl_jax.report import charts, published, results

# The curves that say how good a dimension is, in the order they are drawn.
MAIN = {
  'linear/top1': 0,
  'probe/top1': 1,
  'knn/top1': 2,
  'knn/weighted': 3,
  'retrieval/map@10': 4,
}
SHORT = {
  'linear/top1': 'linear head',
  'probe/top1': 'linear probe',
  'knn/top1': '1-NN',
  'knn/weighted': 'weighted k-NN',
  'retrieval/map@10': 'mAP@10',
}
REFERENCES = (('MRL', 6, 'o'), ('FF', 7, '^'), ('MRL-E', 5, 's'))

BASELINES = (
  ('SVD', 3, '^'),
  ('random features', 2, 'D'),
  ('slimmable', 6, 'X'),
)


def main(rows: Sequence[Mapping]) -> dict[str, list[Mapping]]:
  """The main curves that were measured, by their full names."""
  found = results.curves(rows)
  return {
    name: points
    for base in MAIN
    for name, points in found.items()
    if base in (name, name.partition('@')[0])
  }


def base(name: str) -> str:
  """A main curve's name without a k that is an option: `knn/weighted`."""
  return name if name in MAIN else name.partition('@')[0]


def line(
  label: str,
  points: Sequence[Mapping],
  colour: int,
  *,
  x: str = 'dim',
  style: str = '-',
  scale: float = 100,
) -> charts.Line:
  """Rows as a line in percent; dims that were not trained are hollow."""
  points = sorted((p for p in points if x in p), key=lambda p: p[x])
  return charts.Line(
    label,
    [p[x] for p in points],
    [scale * p['value'] for p in points],
    [scale * p.get('ci_low', p['value']) for p in points],
    [scale * p.get('ci_high', p['value']) for p in points],
    colour=colour,
    style=style,
    marker=charts.MARKERS[colour % len(charts.MARKERS)],
    hollow=frozenset(p[x] for p in points if not p.get('trained', True)),
  )


def main_lines(rows: Sequence[Mapping]) -> list[charts.Line]:
  return [
    line(SHORT[base(name)], points, MAIN[base(name)])
    for name, points in main(rows).items()
  ]


def references(
  name: str, words: tuple = REFERENCES, relative: bool = False
) -> list[charts.Line]:
  """Published curves beside one of ours, dotted.

  In percent, or in percent of their full width if `relative`.
  """
  known = {found['name']: found for found in published.beside(name)}
  return [
    charts.Line(
      f'{word}, published',
      known[word]['dims'],
      [
        100 * value / known[word]['values'][-1] if relative else value
        for value in known[word]['values']
      ],
      colour=colour,
      style=':',
      marker=marker,
    )
    for word, colour, marker in words
    if word in known
  ]


def dims(*lines: charts.Line) -> list[float]:
  """Every x of some lines, increasing: the ticks of their axis."""
  return sorted({x for found in lines for x in found.x})
