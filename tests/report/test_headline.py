"""The recommendation in words."""

from mrl_jax.report import headline, results
from tests.samples.report import (
  DIMS,
  RECOMMENDATION,
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
  assert headline.words(told)[0] == RECOMMENDATION
  odd = results.Evaluation('a', few_rows(), {'precision': {
    'recommendation': None
  }})  # fmt: skip
  assert headline.words(odd)[0] == headline.smallest(few_rows())
