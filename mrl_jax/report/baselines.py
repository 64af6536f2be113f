"""baselines: the prefix beside other ways to the same size."""

from mrl_jax.report import answers, blocks, curves, published

# Variant -> label and colour.
WAYS = {
  'prefix': ('first dimensions', 0),
  'pca': ('PCA', 1),
  'pca_queries': ('PCA of the queries', 6),
  'svd': ('SVD', 3),
  'random_subset': ('random dimensions', 2),
  'random_projection': ('random projection', 4),
  'random_rotation': ('random rotation', 5),
  'ff': ('trained at that size (FF)', 7),
}
# Metric -> what the page calls it, and our curve of published baselines.
METRICS = {
  'ndcg': ('nDCG@10', 'retrieval/ndcg@10'),
  'knn_top1': ('1-NN', 'knn/top1'),
  'probe_top1': ('linear probe', 'linear/top1'),
  'linear_top1': ('linear head', 'linear/top1'),
}

QUERIES = (
  ' PCA of the queries is fitted on half of them and measured on the others, '
  'both ways.'
)


def baselines(evaluation):
  """A chart per metric; all ways reduce the same embedding but for FF."""
  for metric, (word, beside) in METRICS.items():
    lines = []
    ways = evaluation.by('variant', 'baselines', metric)
    for way, points in ways.items():
      label, colour = WAYS.get(way, (way, len(lines)))
      style = '-' if way in ('prefix', 'ff') else '--'
      lines += curves.lines(label, points, colour, style=style)
    if lines and published.comparable(evaluation.config):
      lines += published.lines(beside, published.BASELINES)
    yield from curves.against_dimension(
      f'Other ways to the same size, {word}',
      '%' if metric == 'ndcg' else 'right, %',
      lines,
      'PCA and SVD keep the directions that vary most.'
      + QUERIES * ('pca_queries' in ways),
    )


# Rival of the prefix -> what a header calls it.
RIVALS = {
  'random_rotation': 'against a random rotation',
  'random_subset': 'against random dimensions',
  'pca': 'against PCA',
}


def leads(evaluation):
  """By how much the first dimensions lead each rival, a line per dimension."""
  by = answers.nesting(evaluation).get('by', {})
  known = {rival: by[rival] for rival in RIVALS if rival in by}
  if known:
    yield blocks.Table(
      ['first dimensions', *(RIVALS[rival] for rival in known)],
      [
        [f'{line[0]["dim"]:g}', *map(_in_points, line)]
        for line in zip(*known.values())
      ],
      'Points over the same queries or pairs, with 95% intervals.',
    )


def _in_points(lead) -> str:
  value, low, high = (100 * lead[key] for key in ('value', 'low', 'high'))
  return f'{value:+.1f} ({low:.1f} to {high:.1f})'
