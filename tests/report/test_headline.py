"""The recommendation in words."""

import pytest

from mrl_jax.report import headline, results
from tests.samples.report import (
  DECISION,
  DIMS,
  all_details,
  few_rows,
  row,
)


def test_the_headline():
  evaluation = results.Evaluation('a', few_rows())
  words = headline.words(evaluation)[0]
  assert words.startswith('No dimension below 64 is surely within one point')
  close = [row('linear', 'top1', d, v, 0.002) for d, v in zip(DIMS, (
    0.891, 0.893, 0.893, 0.9, 0.9
  ))]  # fmt: skip
  words = headline.smallest(close)
  assert words.startswith('12 of 64 dimensions are enough')
  assert '89.3% (89.1 to 89.5) against 90.0% with all' in words
  assert headline.smallest([]) == ''
  told = results.Evaluation('a', few_rows(), all_details())
  assert headline.words(told)[0] == DECISION
  odd = results.Evaluation('a', few_rows(), {'stores': {
    'decision': None
  }})  # fmt: skip
  assert headline.words(odd)[0] == headline.smallest(few_rows())


def level(values, half=0.02):
  """Linear head and 1-NN of these values; a recommendation stands by."""
  points = [
    row(name, 'top1', dim, value, half)
    for name in ('linear', 'knn')
    for dim, value in zip(DIMS, values)
  ]
  return results.Evaluation('a', points, all_details())


@pytest.mark.parametrize(
  'values',
  [(1, 1, 1, 1, 1), (0.1, 0.09, 0.11, 0.1, 0.1), (0.97, 0.98, 0.99, 0.99, 1)],
)
def test_where_dimensions_are_alike_none_is_recommended(values):
  first, second, *_ = headline.words(level(values))
  assert first.startswith('This evaluation cannot tell dimensions apart')
  assert 'from 8 to 64 overlap in linear head, 1-NN. So none is' in first
  assert second.startswith('linear head, top-1')
  without = results.Evaluation('a', level(values).rows)
  assert headline.words(without)[0] == first


def test_one_curve_that_bends_is_enough_for_a_recommendation():
  flat, bent = level((1, 1, 1, 1, 1)), level((0.8, 0.9, 0.95, 1, 1))
  assert headline.words(bent)[0] == DECISION
  mixed = results.Evaluation('a', flat.rows[:5] + bent.rows[5:], all_details())
  assert headline.words(mixed)[0] == DECISION
  one = [r for r in flat.rows if r['dim'] == 64]
  assert headline.undecided(one) == headline.undecided([]) == ''


def test_depths_are_not_taken_for_dimensions():
  points = [
    row('knn', 'top1', dim, 0.5 + depth / 20, depth=depth)
    for dim in DIMS
    for depth in (4, 8)
  ]
  assert headline.undecided(points)
