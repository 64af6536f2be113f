"""Charts as inline SVG: text stays text, colours are the page's own."""

import dataclasses
import io
import math
import re
from collections.abc import Sequence

from mrl_jax.report import blocks

# Near Okabe and Ito's colours, moved until eyes without green cones tell any
# two apart and each stands out from the ground (tests/report/test_colours.py).
COLOURS = (
  '#0c6aab #bc4a00 #009e73 #ae3d83 #c98500 #289dd5 #606058 #222222 '
  '#8a5a2b'.split()
)
DARK = (
  '#4bb0e8 #ff8a50 #2fc79a #e58ec8 #f8bb3f #a1dcfd #888c90 #e9e8e9 '
  '#c9996b'.split()
)
MARKERS = 'osD^vPX*p'
STYLES = {'-': 'solid', '--': (0, (5, 2)), ':': (0, (1, 1.6))}

# Drawn with these, replaced by the page's variables: light or dark.
SLOTS = {f'#{slot:02x}abcd': f'var(--c{slot})' for slot in range(len(COLOURS))}
INK, FAINT, GROUND = '#01fefe', '#02fefe', '#03fefe'
SHARED = {INK: 'var(--ink)', FAINT: 'var(--line)', GROUND: 'var(--ground)'}


@dataclasses.dataclass(frozen=True)
class Line:
  """One curve. `hollow` are the x of points to be drawn open.

  `style` is '-', '--', ':' or '' (points only). `names` stand at the points.
  A line without a label has no key.
  """

  label: str
  x: Sequence[float]
  y: Sequence[float]
  low: Sequence[float] = ()
  high: Sequence[float] = ()
  colour: int = 0
  style: str = '-'
  marker: str = 'o'
  hollow: frozenset = frozenset()
  names: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Axes:
  """What the axes say, and where they have ticks (log2 where `dims` or
  `shares` of the full width). With `values`, points bear their y."""

  x: str
  y: str
  dims: Sequence[float] = ()
  log_x: bool = False
  shares: bool = False
  y_from_zero: bool = False
  diagonal: bool = False
  bars: bool = False
  ticks: Sequence[str] = ()
  values: bool = False
  chosen: float | None = None  # the x of a point with a ring


def draw(
  title: str, axes: Axes, lines: Sequence[Line], note=''
) -> blocks.Picture:
  """The lines with their bands; few and short labels stand at their ends."""
  import matplotlib
  from matplotlib.figure import Figure

  lines = [line for line in lines if len(line.x)]
  style = {
    'svg.fonttype': 'none',
    'svg.hashsalt': title,
    'font.size': 10,
    'text.parse_math': False,  # names with $ are names
    **{f'{key}.color': INK for key in ('text', 'xtick', 'ytick')},
    'axes.labelcolor': INK,
    'axes.edgecolor': FAINT,
    'axes.linewidth': 0.8,
  }
  with matplotlib.rc_context(style):
    figure = Figure(figsize=(5, 3.4), layout='constrained')
    plane = figure.add_subplot(facecolor='none')
    for line in lines:
      _plot(plane, line, axes, len(lines))
    for line in lines:
      if axes.values:
        _tell(plane, line, axes)
      _name_points(plane, line)
    _frame(plane, axes)
    keys = [
      blocks.Key(line.label, line.colour, line.style, line.marker)
      for line in lines
      if line.label
    ]
    if _direct(lines, axes):
      _name_ends(plane, lines)
      keys = []
    out = io.StringIO()
    figure.savefig(out, format='svg', transparent=True, metadata={'Date': None})
  if len(lines) == 1 and (axes.bars or axes.values):
    keys = []
  return blocks.Picture(title, _clean(out.getvalue(), title), keys, note)


def _slot(colour: int) -> str:
  return list(SLOTS)[colour % len(SLOTS)]


def _plot(plane, line: Line, axes: Axes, count: int) -> None:
  colour = _slot(line.colour)
  if axes.bars:
    plane.bar(line.x, line.y, color=colour, width=0.8, alpha=0.85)
    return
  if len(line.low):
    if line.style:
      plane.fill_between(
        line.x,
        line.low,
        line.high,
        color=colour,
        alpha=0.3 if count == 1 else 0.18 if count < 5 else 0.1,
        linewidth=0.6 if count == 1 else 0,
      )
    else:
      plane.vlines(line.x, line.low, line.high, color=colour, linewidth=1)
  if line.style:
    plane.plot(
      line.x, line.y, color=colour, linewidth=1.7,
      linestyle=STYLES[line.style],
    )  # fmt: skip
  if not line.marker:
    return
  for hollow in (False, True):
    at = [i for i, x in enumerate(line.x) if (x in line.hollow) == hollow]
    plane.plot(
      [line.x[i] for i in at],
      [line.y[i] for i in at],
      linestyle='',
      marker=line.marker,
      color=colour,
      markersize=3 if line.style == ':' else 4.6,
      markerfacecolor=GROUND if hollow else colour,
    )


def _tell(plane, line: Line, axes: Axes) -> None:
  """Values above the intervals where there is room; a ring at the chosen."""
  plane.margins(y=0.12)
  places = thin(line.x)
  for x, y, high in zip(line.x, line.y, line.high or line.y):
    chosen = x == axes.chosen
    if chosen:
      plane.plot(
        [x], [y], 'o', markersize=13, markerfacecolor='none', color=INK
      )
    if x in places or chosen:
      plane.annotate(
        f'{y:.1f}',
        (x, max(high, y)),
        (0, 9 if chosen else 4),
        textcoords='offset points',
        ha='center',
        weight='bold' if chosen else 'normal',
      )


def _name_points(plane, line: Line) -> None:
  """Names left above the points, where a front has nothing."""
  for x, y, name in zip(line.x, line.y, line.names):
    plane.annotate(
      blocks.visible(name),
      (x, y),
      (-3, 3),
      textcoords='offset points',
      ha='right',
      fontsize=7,
    )


def _frame(plane, axes: Axes) -> None:
  """Labels, ticks, grid; ticks that would touch are left out."""
  plane.set_xlabel(axes.x)
  plane.set_ylabel(axes.y)
  plane.set_axisbelow(True)
  plane.grid(axis='y', color=FAINT, linewidth=0.7)
  plane.spines[['top', 'right', 'left']].set_visible(False)
  plane.tick_params(color=FAINT, length=3)
  if axes.dims:
    plane.set_xscale('log', base=2)
    plane.set_xticks(*zip(*[(d, f'{d:g}') for d in thin(axes.dims)]))
    plane.minorticks_off()
  elif axes.log_x:
    from matplotlib.ticker import LogLocator

    plane.set_xscale('log')
    low, high = plane.get_xlim()
    few = (1, 2, 5) if high / low < 300 else (1,)
    plane.xaxis.set_major_locator(LogLocator(subs=few))
    plane.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    plane.xaxis.set_minor_formatter(lambda *_: '')
  if axes.shares:
    plane.set_xscale('log', base=2)
    plane.xaxis.set_major_formatter(_share)
  if axes.ticks:
    plane.set_xticks(range(len(axes.ticks)), axes.ticks)
  if axes.diagonal:
    plane.axline((0, 0), (100, 100), color=FAINT, linewidth=1.2, zorder=0)
    plane.set(xlim=(0, 100), ylim=(0, 100))
  if axes.y_from_zero:
    plane.set_ylim(bottom=0)


def _share(value: float, _=None) -> str:
  """A power of two as 1, 1/2, 1/4 ..."""
  return f'1/{round(1 / value)}' if 0 < value < 0.9 else f'{value:g}'


def thin(dims: Sequence[float], apart: float = 0.07) -> list[float]:
  """Dims to label, `apart` of the axis or more between them, widest first."""
  kept = []
  every = sorted(set(dims), reverse=True)
  for dim in every:
    room = math.log(every[0] / every[-1]) * apart
    if not kept or math.log(kept[-1] / dim) >= room:
      kept.append(dim)
  return kept[::-1]


def _direct(lines: Sequence[Line], axes: Axes) -> bool:
  """Whether the lines are few and their names short: no key is needed."""
  return (
    2 <= len(lines) <= 4
    and not axes.bars
    and len({line.x[-1] for line in lines}) == 1
    and all(line.style and len(line.label) <= 14 for line in lines)
  )


def _name_ends(plane, lines: Sequence[Line]) -> None:
  """Names right of the axes at the heights of the ends, pushed apart.

  Each behind its marker: letters in the colour would be too pale to read.
  """
  low, high = plane.get_ylim()
  lines = sorted(lines, key=lambda line: line.y[-1])
  gap, heights = 0.075, []
  for line in lines:
    height = (line.y[-1] - low) / (high - low)
    heights.append(max(height, heights[-1] + gap) if heights else height)
  over = max(0, heights[-1] - 1)
  for line, height in zip(lines, heights):
    plane.plot(
      [1.035],
      [height - over],
      line.marker or '_',
      color=_slot(line.colour),
      markersize=5 if line.marker else 9,
      transform=plane.transAxes,
      clip_on=False,
    )
    plane.annotate(
      blocks.visible(line.label),
      (1.06, height - over),
      xycoords='axes fraction',
      va='center',
    )


def _short_numbers(tag: str) -> str:
  return re.sub(r'(\d+\.\d{2})\d+', r'\1', tag)


def _clean(svg: str, title: str) -> str:
  """The drawing alone: no ids, links, fonts; two decimals; page colours."""
  svg = svg[svg.index('<svg') :]
  svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', svg, flags=re.S)
  box = re.search(r'viewBox="[^"]*"', svg)[0]
  body = svg[svg.index('>') + 1 :]
  body = re.sub(r'<g id="[^"]*"', '<g', body).replace('xlink:href', 'href')
  body = re.sub(r'font: ([\d.]+)px [^;"]*', r'font-size: \1px', body)
  body = re.sub(r'font-family: [^;\"]*;? ?', '', body)
  # Of places, not of the words between tags.
  body = re.sub(r'<[^>]*>', lambda tag: _short_numbers(tag[0]), body)
  body = re.sub(r'\s*\n\s*', '\n', body)
  for colour, variable in (SLOTS | SHARED).items():
    body = body.replace(colour, variable)
  name = re.sub(r'[<>&"]', ' ', blocks.visible(title))
  return f'<svg {box} role="img" aria-label="{name}">{body}'
