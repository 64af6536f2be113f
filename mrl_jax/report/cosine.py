"""cosine: similarity of images of one class and of two."""

from mrl_jax.report import charts, curves

# Metric -> label and colour.
PAIRS = {'positive': ('same class', 2), 'negative': ('two classes', 1)}
METRICS = PAIRS | {'separation': ('told apart (AUC)', 0)}


def cosines(evaluation):
  """The mean cosines and how well they separate, against the dimension."""
  yield from curves.against_dimension(
    'How alike pairs are (cosine)',
    'mean cosine; share told apart',
    curves.metric_lines(evaluation, 'cosine', METRICS, scale=1),
    'Told apart: how often a pair of one class is more alike than one of two.',
  )


def spans(evaluation):
  """How cosines are spread, at the smallest dimension and at the full width."""
  dims = evaluation.detail('cosine', 'dims')
  edges = evaluation.detail('cosine', 'edges')
  histograms = evaluation.detail('cosine', 'histograms', {})
  lines = []
  for name, (label, colour) in PAIRS.items():
    counts_by_dim = histograms.get(name) or []
    ends = {0: '--', len(counts_by_dim) - 1: '-'} if counts_by_dim else {}
    for index, style in ends.items():
      counts = counts_by_dim[index]
      lines.append(
        charts.Line(
          f'{label}, {dims[index]} dimensions',
          [(low + high) / 2 for low, high in zip(edges, edges[1:])],
          [100 * count / max(1, sum(counts)) for count in counts],
          colour=colour,
          style=style,
          marker='',
        )
      )
  if lines:
    yield charts.draw(
      'How cosines are spread',
      charts.Axes('cosine', '% of pairs', y_from_zero=True),
      lines,
    )
