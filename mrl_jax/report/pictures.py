"""Result rows as pictures."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mrl_jax.report import results

COLOURS = ('#0b6e99', '#c2410c', '#4d7c0f', '#7e22ce', '#be185d', '#57534e')


def accuracy_vs_dimension(
  path: str | Path,
  rows: Iterable[Mapping],
  left_out: tuple[str, ...] = ('linear/top5',),
) -> None:
  """Draws one line per curve with its 95% band; dims on a log2 axis.

  Open markers are dimensions that were not trained.
  """
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4.4), dpi=150, layout='constrained')
  axes = figure.add_subplot()
  every = results.curves(rows)
  found = {n: c for n, c in every.items() if n not in left_out} or every
  dims = sorted({row['dim'] for points in found.values() for row in points})
  for (name, points), colour in zip(found.items(), COLOURS):
    x = [row['dim'] for row in points]
    y = [100 * row['value'] for row in points]
    low = [100 * row['ci_low'] for row in points]
    high = [100 * row['ci_high'] for row in points]
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(x, y, color=colour, linewidth=1.8, label=results.label(name))
    for row, value in zip(points, y):
      axes.plot(
        row['dim'],
        value,
        'o',
        color=colour,
        markersize=5,
        markerfacecolor=colour if row.get('trained', True) else 'white',
      )
  axes.set_xscale('log', base=2)
  axes.set_xticks(dims, [str(dim) for dim in dims])
  axes.minorticks_off()
  axes.set_xlabel('dimensions used of the embedding')
  axes.set_ylabel('accuracy, %')
  step = next((points[0].get('step') for points in found.values()), None)
  axes.set_title(
    'Accuracy against dimension, 95% intervals'
    + (f', step {step:,}' if step is not None else ''),
    fontsize=11,
    loc='left',
  )
  axes.grid(axis='y', color='#e5e5e5', linewidth=0.8)
  axes.spines[['top', 'right']].set_visible(False)
  if found:
    axes.legend(frameon=False, loc='lower right')
  figure.savefig(path)
