"""retrieval: the usual measures against the dimension."""

from mrl_jax.report import curves

# Metric -> label and colour.
METRICS = {
  'top1': ('first row right', 0),
  'map@10': ('mAP@10', 4),
  'map_min@10': ('mAP@10, of those there are', 1),
  'ndcg@10': ('nDCG@10', 2),
  'mrr@10': ('MRR@10', 3),
  'p@10': ('P@10', 5),
}


def retrieval(evaluation):
  """Each measure as a curve."""
  yield from curves.against_dimension(
    'Ranking by dimension',
    '%',
    curves.metric_lines(evaluation, 'retrieval', METRICS),
    'P@10 is the share of right rows among the first ten; the others say how '
    "early those stand. mAP@10 is the paper's, divided by ten; the other is "
    'divided by the number of right rows, if there are fewer.',
  )
