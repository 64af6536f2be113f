"""pairs: correlations with the scores of people, against the dimension."""

import dataclasses

from mrl_jax import rows
from mrl_jax.report import blocks, curves, tables

# Variant -> label and colour, beside the embedding itself.
WAYS = {
  'pca': ('PCA', 1),
  'random_rotation': ('random rotation', 5),
  'random_subset': ('random dims', 2),
}
MEASURES = {'spearman': 'Spearman', 'pearson': 'Pearson'}


def beside(evaluation):
  """A chart per measure: the prefix beside other ways to the same size."""
  for metric, word in MEASURES.items():
    ways = evaluation.by('variant', 'pairs', metric)
    colour = curves.colour(f'pairs/{metric}')
    lines = curves.lines('first dims', ways.get('', ()), colour)
    for way, (label, slot) in WAYS.items():
      rivals = curves.lines(label, ways.get(way, ()), slot, style='--')
      lines += [dataclasses.replace(it, low=(), high=()) for it in rivals]
    yield from curves.against_dimension(
      f'{word} of cosines and scores',
      f'{word} {curves.HUNDREDTHS}',
      lines,
      'The band is the 95% interval. PCA is fitted on these texts. Random ones '
      'are means over draws.',
    )


def by_dim(evaluation):
  """Each dim: its correlations, the loss against all dims, PCA."""
  points = curves.deepest(evaluation.curve('pairs/spearman'))
  if not points:
    return
  columns = {
    'dims': [f'{row["dim"]:g}' for row in points],
    'Spearman x 100': [blocks.interval(row) for row in points],
    'less all dims, points': [blocks.apart(row) for row in points],
    'with PCA': _beside(evaluation, 'pairs/spearman.pca', points),
    'Pearson x 100': _beside(evaluation, 'pairs/pearson', points),
  }
  lines = list(zip(*columns.values()))
  yield blocks.Table(
    list(columns),
    lines,
    'Differences are over the same pairs. Equal cosines have the mean of '
    'their ranks. Pairs are taken as independent.',
    fold=tables.folded(lines, 'dimensions'),
  )


def _beside(evaluation, name: str, points) -> list[str]:
  """The values of another curve at the sizes of these rows."""
  curve = evaluation.curve(name)
  return [blocks.interval(rows.at(curve, rows.granularity(p))) for p in points]
