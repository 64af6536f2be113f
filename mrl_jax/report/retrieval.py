"""retrieval: the usual measures against the dimension."""

from mrl_jax.report import curves

# Metric -> label and colour.
METRICS = {
  'top1': ('top-1', 0),
  'map@10': ('mAP@10', 4),
  'map_min@10': ('mAP@10 over min(k, R)', 1),
  'ndcg@10': ('nDCG@10', 2),
  'mrr@10': ('MRR@10', 3),
  'p@10': ('P@10', 5),
}


def retrieval(evaluation):
  """Each measure as a curve."""
  yield from curves.against_dimension(
    'Retrieval against dimension',
    '%',
    curves.metric_lines(evaluation, 'retrieval', METRICS),
    "mAP@10 is the paper's, divided by 10; the other by min(10, R).",
  )
