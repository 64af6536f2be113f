"""The main curves as a picture of their own."""

from collections.abc import Sequence
from pathlib import Path

from mrl_jax import rows
from mrl_jax.report import blocks, charts, curves
from mrl_jax.rows import Row


def accuracy_vs_dimension(path: str | Path, points: Sequence[Row]) -> None:
  """Draws a line per main curve with its 95% band; dims on a log2 axis.

  Without any main curve, the first few of all. Open markers are dimensions
  that were not trained.
  """
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context({'text.parse_math': False}):  # $ is a character
    _draw(Figure(figsize=(7, 4.4), dpi=150, layout='constrained'), path, points)


def _draw(figure, path: str | Path, points: Sequence[Row]) -> None:
  axes = figure.add_subplot()
  for line in _lines(points):
    _plot(axes, line)
  dims = charts.thin([row['dim'] for row in points])
  axes.set_xscale('log', base=2)
  axes.set_xticks(dims, [f'{dim:g}' for dim in dims])
  axes.minorticks_off()
  axes.set_xlabel(curves.DIMENSIONS)
  axes.set_ylabel(curves.units(curves.main(points)))
  step = points[0].get('step') if points else None
  axes.set_title(
    f'{_subject(points)} by dimension, 95% intervals'
    + (f', step {step:,}' if isinstance(step, int) else ''),
    fontsize=11,
    loc='left',
  )
  axes.grid(axis='y', color='#e5e5e5', linewidth=0.8)
  axes.spines[['top', 'right']].set_visible(False)
  if points:
    axes.legend(frameon=False, loc='lower right')
  figure.savefig(path)


def _subject(points: Sequence[Row]) -> str:
  unit = curves.units(curves.main(points))
  return 'Accuracy' if unit == '%' else 'Correlation with the scores'


def _lines(points: Sequence[Row]) -> list[charts.Line]:
  """The main curves; without any, the first few of all."""
  names = curves.main(points) or dict(list(rows.curves(points).items())[:6])
  return [
    line
    for index, (name, curve) in enumerate(names.items())
    for line in curves.lines(
      curves.label(name), curve, curves.colour(name, index)
    )
  ]


def _plot(axes, line: charts.Line) -> None:
  """The band, the line and its points."""
  shade = charts.COLOURS[line.colour % len(charts.COLOURS)]
  axes.fill_between(
    line.x,
    line.low or line.y,
    line.high or line.y,
    color=shade,
    alpha=0.18,
    linewidth=0,
  )
  axes.plot(
    line.x,
    line.y,
    color=shade,
    linestyle=line.style,
    linewidth=1.8,
  )
  axes.plot(
    [], [], line.marker, color=shade, linestyle=line.style,
    label=blocks.visible(line.label),
  )  # fmt: skip
  for x, y in zip(line.x, line.y):
    axes.plot(
      x,
      y,
      line.marker,
      color=shade,
      markersize=5,
      markerfacecolor='white' if x in line.hollow else shade,
    )
