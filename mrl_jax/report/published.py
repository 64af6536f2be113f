"""Published curves to draw beside ours, dotted; never mixed with rows.

ImageNet-1K, ResNet-50, percent. Each was read in the data that the authors
of arXiv:2205.13147 plot (github.com/RAIVNLab/MRL, commit 9ab343f, folder
`Visualization`); `source` names the table and that file.
"""

DIMS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
LINEAR = 'table 1; Classification Performance Plots/PLOTS - Sheet2.csv'
KNN = 'table 2; Classification KNN performance PLot/PLOTS - Sheet14.csv'
MAP = 'retrieval tables; MAP@10/PLOTS - Sheet1.csv'
CASCADE = 'adaptive classification; Cascades/plots.csv'


def curve(name: str, beside: str, values: str, source: str, dims=DIMS) -> dict:
  """A published curve; `beside` is the name of our curve it stands by."""
  return {
    'name': name,
    'beside': beside,
    'dims': dims,
    'values': tuple(float(value) for value in values.split()),
    'source': f'arXiv:2205.13147, {source}',
  }


CURVES = (
  curve(
    'MRL',
    'linear/top1',
    '66.63 73.53 75.03 75.82 76.30 76.47 76.65 76.76 76.80',
    LINEAR,
  ),
  curve(
    'MRL-E',
    'linear/top1',
    '56.66 71.94 74.48 75.35 75.80 76.22 76.36 76.48 76.51',
    LINEAR,
  ),
  curve(
    'FF',
    'linear/top1',
    '65.29 72.85 74.60 75.27 75.29 75.71 76.18 76.63 76.87',
    LINEAR,
  ),
  curve(
    'random features',
    'linear/top1',
    '4.56 11.29 27.21 49.47 65.70 72.43 74.94 76.10 76.87',
    LINEAR,
  ),
  curve(
    'SVD',
    'linear/top1',
    '2.34 7.17 20.46 48.10 67.24 74.59 76.78 76.87',
    LINEAR,
    DIMS[:-1],
  ),
  curve(
    'slimmable',
    'linear/top1',
    '0.42 0.96 2.27 5.59 14.15 38.42 69.80 74.61 76.26',
    LINEAR,
  ),
  curve(
    'MRL',
    'knn/top1',
    '62.19 67.91 69.46 70.17 70.52 70.62 70.82 70.89 70.97',
    KNN,
  ),
  curve(
    'MRL-E',
    'knn/top1',
    '57.45 67.05 68.60 69.61 70.12 70.36 70.74 71.07 71.21',
    KNN,
  ),
  curve(
    'FF',
    'knn/top1',
    '58.93 66.77 68.84 69.41 69.35 69.72 70.18 70.34 71.19',
    KNN,
  ),
  curve(
    'random features',
    'knn/top1',
    '2.36 12.06 32.91 49.91 60.91 65.75 68.77 70.41 71.19',
    KNN,
  ),
  curve(
    'SVD',
    'knn/top1',
    '19.14 46.02 60.78 67.04 69.63 70.67 71.06 71.22 71.21',
    KNN,
  ),
  curve(
    'slimmable',
    'knn/top1',
    '1 5.12 16.952 35.602 51.16 60.608 65.818 67.186 66.098',
    KNN,
  ),
  curve(
    'MRL',
    'retrieval/map@10',
    '56.74 62.94 64.21 64.69 64.94 65.04 65.14 65.16 65.20',
    MAP,
  ),
  curve(
    'MRL-E',
    'retrieval/map@10',
    '51.80 61.60 63.34 63.84 64.15 64.35 64.69 64.85 64.99',
    MAP,
  ),
  curve(
    'FF',
    'retrieval/map@10',
    '53.42 61.63 63.35 63.26 62.30 61.47 61.37 61.13 62.90',
    MAP,
  ),
  curve(
    'MRL, cascade',
    'cascade/top1.paper',
    '73.79 75.23 76.06 76.29 76.44 76.53 76.56',
    CASCADE,
    (13.57, 18.86, 26.18, 37.19, 47.21, 64.79, 94.32),
  ),
)


def beside(name: str) -> list[dict]:
  """The published curves that stand by one of ours."""
  return [found for found in CURVES if found['beside'] == name]


def comparable(config) -> bool:
  """Whether a run's percent may stand beside them: its data is ImageNet-1K."""
  source = (config.get('data') or {}).get('source') or {}
  names = (source.get('dataset'), source.get('name'))
  return any(str(name or '').startswith('imagenet2012') for name in names)
