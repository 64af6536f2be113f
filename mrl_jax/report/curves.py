"""Curves on a page: their names for people, colours, lines and charts.

A curve has one name and one colour everywhere.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from mrl_jax import rows
from mrl_jax.report import blocks, charts
from mrl_jax.rows import Row

DIMENSIONS = 'dimensions used of the embedding'

# The curves that say how good a dimension is, in the order they are drawn:
# short name and colour.
MAIN = {
  'linear/top1': ('linear head', 0),
  'probe/top1': ('linear probe', 1),
  'knn/top1': ('1-NN', 2),
  'knn/weighted': ('weighted k-NN', 3),
  'retrieval/map@10': ('mAP@10', 4),
  'retrieval/ndcg@10': ('nDCG@10', 2),
  'pairs/spearman': ('Spearman', 8),
  'pairs/pearson': ('Pearson', 6),
}
JUDGED = 'retrieval/ndcg@10'  # the main curve where there are no classes
BY_CLASS = ('linear/top1', 'probe/top1', 'knn/top1', 'knn/weighted')
LABELS = {
  'linear/top1': 'linear head, top-1',
  'linear/top5': 'linear head, top-5',
  'probe/top1': 'linear probe, top-1',
  'knn/top1': '1-NN',
  'knn/weighted': 'weighted k-NN',
  'retrieval/map': 'retrieval mAP',
  'retrieval/ap': 'retrieval MAP',
  'retrieval/map_min': 'retrieval mAP over min(k, R)',
  'retrieval/p': 'retrieval precision',
  'retrieval/r': 'retrieval recall',
  'retrieval/ndcg': 'retrieval nDCG',
  'retrieval/mrr': 'retrieval MRR',
  'retrieval/top1': 'retrieval top-1',
  'pairs/spearman': 'Spearman x 100',
  'pairs/pearson': 'Pearson x 100',
}
# What a percent of a main curve means.
MEANINGS = {
  'linear/top1': 'right by the trained classifier (linear head)',
  'probe/top1': 'right by a new linear classifier (linear probe)',
  'knn/top1': 'nearest row has the right class (1-NN)',
  'knn/weighted': 'right by a vote of near rows (weighted k-NN)',
  'retrieval/map@10': 'right rows stand first among ten (mAP@10)',
  'retrieval/ndcg@10': 'relevant rows near the top (nDCG@10)',
  'pairs/spearman': 'cosines against the scores (Spearman)',
  'pairs/pearson': 'cosines against the scores (Pearson)',
}
HUNDREDTHS = 'x 100'  # the unit of a correlation, as everybody shows it
COUNTED = ('knn/weighted', 'few_shot/top1')  # `(k=20)`; all others `@20`
STYLES = ('-', '--', ':')


def label(name: str) -> str:
  """A curve's name for people."""
  base, _, rest = name.partition('@')
  words = LABELS.get(base, base)
  if not rest:
    return words
  return f'{words} (k={rest})' if base in COUNTED else f'{words}@{rest}'


def main_name(name: str) -> str | None:
  """The key of MAIN that a curve stands under, None if there is none.

  Without a k that is an option: `knn/weighted@20` is `knn/weighted`.
  """
  base = name.partition('@')[0]
  return next((key for key in (name, base) if key in MAIN), None)


def short(name: str) -> str:
  """A main curve's short name for people, any other's name as it is."""
  return MAIN.get(main_name(name), (name,))[0]


def colour(name: str, other: int = 0) -> int:
  """The colour of a main curve; `other` if it is not one."""
  return MAIN.get(main_name(name), (name, other))[1]


def main(points: Iterable[Row]) -> dict[str, list[Row]]:
  """The main curves that were measured, by their full names.

  Where something was measured by class, nDCG@10 is not one of them; else it
  takes the place of mAP@10.
  """
  curves = rows.curves(points)
  found = {
    name: curves[name]
    for key in MAIN
    for name in curves
    if main_name(name) == key
  }
  by_class = any(main_name(name) in BY_CLASS for name in found)
  if JUDGED in found:
    found.pop(JUDGED if by_class else 'retrieval/map@10', None)
  return found


def judged(points: Iterable[Row]) -> bool:
  """Whether nDCG@10 is the main curve: of judgements or pairs, not classes."""
  return JUDGED in main(points)


def correlated(name: str) -> bool:
  """Whether a curve is of correlations, not of shares."""
  return name.startswith('pairs/')


def units(names: Iterable[str]) -> str:
  """`%`, or `x 100` where all curves are correlations."""
  names = list(names)
  return HUNDREDTHS if names and all(map(correlated, names)) else '%'


def headed(words: str, name: str) -> str:
  """The header of a column of a curve: with its unit."""
  return f'{words} {HUNDREDTHS}' if correlated(name) else f'{words}, %'


def in_words(row: Mapping) -> str:
  """The value of a main curve in a sentence: `91.2%`, a correlation `80.6`."""
  sign = '' if correlated(rows.curve_name(row)) else '%'
  return f'{blocks.percent(row["value"], 1)}{sign}'


def meaning(name: str) -> str:
  """What a percent of a main curve means; any other's name for people."""
  return MEANINGS.get(main_name(name)) or label(name)


def deepest(points: Iterable[Row]) -> list[Row]:
  """The rows of all layers, or of the most there are, by dimension."""
  points = list(points)
  sizes = rows.granularities(points)
  return sorted(
    (row for row in points if row.get('depth') == sizes[-1].depth),
    key=lambda row: row['dim'],
  )


def lines(
  label: str,
  points: Iterable[Mapping],
  colour: int,
  *,
  x: str = 'dim',
  style: str = '-',
  scale: float = 100,
) -> list[charts.Line]:
  """Rows as lines in percent, one per depth, the deepest in `style`.

  Rows without `x` are left out. Granularities that were not trained are
  hollow.
  """
  depths: dict[int | None, list] = {}
  for point in points:
    if point.get(x) is not None:
      depths.setdefault(point.get('depth'), []).append(point)
  deepest = sorted(
    depths, key=lambda depth: -math.inf if depth is None else -depth
  )
  drawn = []
  for index, depth in enumerate(deepest):
    curve = sorted(depths[depth], key=lambda point: point[x])
    drawn.append(
      charts.Line(
        label if depth is None else f'{label}, {depth} layers',
        [point[x] for point in curve],
        [scale * point['value'] for point in curve],
        low=_ends(curve, 'ci_low', scale),
        high=_ends(curve, 'ci_high', scale),
        colour=colour,
        style=_style(style, index),
        marker=charts.MARKERS[(colour + index) % len(charts.MARKERS)],
        hollow=frozenset(p[x] for p in curve if not p.get('trained', True)),
      )
    )
  return drawn


def _ends(curve: Sequence[Mapping], key: str, scale: float) -> list[float]:
  """One end of the intervals of rows; empty if no row has any."""
  if not any(key in point for point in curve):
    return []
  return [scale * point.get(key, point['value']) for point in curve]


def _style(style: str, index: int) -> str:
  """Another style for each depth; points stay points."""
  if not style:
    return style
  return STYLES[(STYLES.index(style) + index) % len(STYLES)]


def main_lines(points: Iterable[Row]) -> list[charts.Line]:
  """The main curves as lines under their short names."""
  return [
    line
    for name, curve in main(points).items()
    for line in lines(short(name), curve, colour(name))
  ]


def metric_lines(
  evaluation, evaluator: str, metrics: Mapping[str, tuple[str, int]], **options
) -> list[charts.Line]:
  """Curves of an evaluator as lines: {metric[@k]: (label, colour)}."""
  return [
    line
    for metric, (label, colour) in metrics.items()
    for line in lines(
      label, evaluation.curve(f'{evaluator}/{metric}'), colour, **options
    )
  ]


def dims(*lines: charts.Line) -> list[float]:
  """Every x of lines, increasing: the ticks of their axis."""
  return sorted({x for line in lines for x in line.x})


def against_dimension(
  title: str,
  y: str,
  lines: Sequence[charts.Line],
  note: str = '',
  y_from_zero: bool = False,
) -> list[blocks.Picture]:
  """A chart of lines over the dimension; no chart if there are no lines."""
  axes = charts.Axes(DIMENSIONS, y, dims=dims(*lines), y_from_zero=y_from_zero)
  return [charts.draw(title, axes, lines, note)] if lines else []
