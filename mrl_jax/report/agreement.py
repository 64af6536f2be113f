"""agreement: at which dimension examples are first answered right."""

from mrl_jax import rows
from mrl_jax.report import blocks, charts


def first_right(evaluation):
  """The share of examples per dimension, and of those never right, as bars."""
  points = evaluation.curve('agreement/first_right')
  if not points:
    return
  shares = [100 * row['value'] for row in points]
  never = max(0, 100 - sum(shares))
  yield from blocks.sentences(evaluation, 'agreement')
  ticks = [*(blocks.size(rows.granularity(row)) for row in points), 'never']
  yield charts.draw(
    'First right at',
    charts.Axes('dimension', '% of examples', bars=True, ticks=ticks),
    [
      charts.Line(
        'share of examples', range(len(ticks)), [*shares, never], colour=2
      )
    ],
  )
