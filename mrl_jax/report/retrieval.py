"""retrieval: the usual measures against the dimension."""

from mrl_jax.report import blocks, curves, tables

# Metric -> label and colour.
METRICS = {
  'top1': ('first row right', 0),
  'map@10': ('mAP@10', 4),
  'map_min@10': ('mAP@10, of those there are', 1),
  'ndcg@10': ('nDCG@10', 2),
  'mrr@10': ('MRR@10', 3),
  'p@10': ('P@10', 5),
}
# The same of judgements and pairs.
JUDGED = {
  'top1': ('first row right', 0),
  'ndcg@10': ('nDCG@10', 2),
  'mrr@10': ('MRR@10', 3),
  'ap@10': ('MAP@10', 4),
  'p@10': ('P@10', 5),
  'r@100': ('recall@100', 6),
}


def retrieval(evaluation):
  """Each measure as a curve."""
  judged = curves.judged(evaluation.rows)
  note = (
    "mAP@10 is the paper's, divided by ten; the other is divided by the "
    'number of right rows, if there are fewer.'
  )
  if judged:
    note = (
      'MAP@10 is divided by the number of relevant rows, as trec_eval does. '
      'Recall@100 is the share of them among the first hundred.'
    )
  yield from curves.against_dimension(
    'Ranking by dimension',
    '%',
    curves.metric_lines(evaluation, 'retrieval', JUDGED if judged else METRICS),
    'P@10 is the share of right rows among the first ten; the others say how '
    f'early those stand. {note}',
  )


def to_full(evaluation):
  """nDCG@10 of each dimension, and its difference to all on the same queries.

  Where rows tie, also what the usual order of ties gives.
  """
  points = curves.deepest(evaluation.curve(curves.JUDGED))
  if not curves.judged(evaluation.rows) or len(points) < 2:
    return
  by_id = {
    row['dim']: row for row in evaluation.curve(f'{curves.JUDGED}.by_id')
  }
  columns = {
    'dims': [f'{row["dim"]:g}' for row in points],
    'nDCG@10, %': [blocks.interval(row) for row in points],
    'difference to all, points': [blocks.apart(row) for row in points],
  }
  note = 'Differences are of the same queries, with 95% intervals.'
  if by_id:
    columns['tied rows by id, %'] = [
      blocks.interval(by_id.get(row['dim'])) for row in points
    ]
    note += (
      ' At some dimensions rows tie. nDCG is then the mean over all orders of '
      'tied rows; the last column is the one order that trec_eval takes, the '
      'larger id first.'
    )
  if missing := points[-1].get('without_relevant'):
    note += (
      f' {missing:,} of {points[-1]["n"]:,} queries have no relevant row and '
      'count as 0.'
    )
  lines = list(zip(*columns.values()))
  fold = tables.folded(lines, 'dimensions')
  yield blocks.Table(list(columns), lines, note, fold=fold)
