"""Published curves to draw beside ours, dotted; never mixed with rows.

ImageNet-1K, ResNet-50, percent. Each was read in the data that the authors
of arXiv:2205.13147 plot (github.com/RAIVNLab/MRL, commit 9ab343f, folder
`Visualization`); `source` names the table and that file.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mrl_jax.report import charts

DIMS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Curves(NamedTuple):
  """Published curves of one measure; the values are text, one per dim."""

  source: str
  values: Mapping[str, str]
  dims: tuple[float, ...] = DIMS


# The name of our curve -> the curves that stand beside it.
PUBLISHED = {
  'linear/top1': Curves(
    'table 1; Classification Performance Plots/PLOTS - Sheet2.csv',
    {
      'MRL': '66.63 73.53 75.03 75.82 76.30 76.47 76.65 76.76 76.80',
      'MRL-E': '56.66 71.94 74.48 75.35 75.80 76.22 76.36 76.48 76.51',
      'FF': '65.29 72.85 74.60 75.27 75.29 75.71 76.18 76.63 76.87',
      'random features': '4.56 11.29 27.21 49.47 65.70 72.43 74.94 76.10 76.87',
      'SVD': '2.34 7.17 20.46 48.10 67.24 74.59 76.78 76.87',  # not at 2048
      'slimmable': '0.42 0.96 2.27 5.59 14.15 38.42 69.80 74.61 76.26',
    },
  ),
  'knn/top1': Curves(
    'table 2; Classification KNN performance PLot/PLOTS - Sheet14.csv',
    {
      'MRL': '62.19 67.91 69.46 70.17 70.52 70.62 70.82 70.89 70.97',
      'MRL-E': '57.45 67.05 68.60 69.61 70.12 70.36 70.74 71.07 71.21',
      'FF': '58.93 66.77 68.84 69.41 69.35 69.72 70.18 70.34 71.19',
      'random features': '2.36 12.06 32.91 49.91 60.91 65.75 68.77 70.41 71.19',
      'SVD': '19.14 46.02 60.78 67.04 69.63 70.67 71.06 71.22 71.21',
      'slimmable': '1 5.12 16.952 35.602 51.16 60.608 65.818 67.186 66.098',
    },
  ),
  'retrieval/map@10': Curves(
    'retrieval tables; MAP@10/PLOTS - Sheet1.csv',
    {
      'MRL': '56.74 62.94 64.21 64.69 64.94 65.04 65.14 65.16 65.20',
      'MRL-E': '51.80 61.60 63.34 63.84 64.15 64.35 64.69 64.85 64.99',
      'FF': '53.42 61.63 63.35 63.26 62.30 61.47 61.37 61.13 62.90',
    },
  ),
  'cascade/top1.paper': Curves(
    'adaptive classification; Cascades/plots.csv',
    {'cascade': '73.79 75.23 76.06 76.29 76.44 76.53 76.56'},
    (13.57, 18.86, 26.18, 37.19, 47.21, 64.79, 94.32),
  ),
}

# How published curves are drawn: colour and marker.
REFERENCES = {'MRL': (6, 'o'), 'FF': (7, '^'), 'MRL-E': (5, 's')}
BASELINES = {
  'SVD': (3, '^'),
  'random features': (2, 'D'),
  'slimmable': (6, 'X'),
}


def comparable(config: Mapping) -> bool:
  """Whether a run's percent may stand beside them: its data is ImageNet-1K."""
  source = (config.get('data') or {}).get('source') or {}
  names = (source.get('dataset'), source.get('name'))
  return any(str(name or '').startswith('imagenet2012') for name in names)


def source(beside: str) -> str:
  """Where the curves beside one of ours come from."""
  return f'arXiv:2205.13147, {PUBLISHED[beside].source}'


def points(beside: str, name: str) -> tuple[list[float], list[float]]:
  """(dims, percent) of a published curve; shorter ones end earlier."""
  curves = PUBLISHED[beside]
  values = [float(value) for value in curves.values[name].split()]
  return list(curves.dims[: len(values)]), values


def lines(
  beside: str, looks: Mapping[str, tuple[int, str]] = REFERENCES
) -> list[charts.Line]:
  """The published curves beside one of ours, of those in `looks`, dotted."""
  known = PUBLISHED[beside].values if beside in PUBLISHED else ()
  return [
    charts.Line(
      f'{name}, published',
      *points(beside, name),
      colour=colour,
      style=':',
      marker=marker,
    )
    for name, (colour, marker) in looks.items()
    if name in known
  ]
