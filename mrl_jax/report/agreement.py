"""agreement: the smallest dimension at which a query is answered right."""

from mrl_jax import rows
from mrl_jax.report import blocks, charts, curves


def first_right(evaluation):
  """The share of queries per dimension, and of those never right, as bars."""
  points = evaluation.curve('agreement/first_right')
  if not points:
    return
  shares = [100 * row['value'] for row in points]
  never = max(0, 100 - sum(shares))
  yield from blocks.sentences(evaluation, 'agreement')
  ticks = [*(blocks.size(rows.granularity(row)) for row in points), 'none']
  yield charts.draw(
    'Smallest dimension that is right',
    charts.Axes(curves.DIMENSIONS, '% of queries', bars=True, ticks=ticks),
    [
      charts.Line(
        'share of queries', range(len(ticks)), [*shares, never], colour=2
      )
    ],
  )
