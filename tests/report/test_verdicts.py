"""The sentences of a comparison, from differences made up."""

import numpy as np
import pytest

from mrl_jax.granularity import Granularity
from mrl_jax.report import differences, verdicts
from tests.samples.report import row


def run(name, n=1000, data='x'):
  points = [{**row('knn', 'top1', 8, 0.5), 'n': n}]
  details = {'evaluation': {'data': data}} if data else {}
  return differences.Compared(name, points, details)


def pair(seeds=None, paired=True, names='ab', **by_curve):
  """`knn={8: (value, low, high)}` in points."""
  names_of = {'knn': 'knn/top1', 'linear': 'linear/top1', 'probe': 'probe/top1'}
  return differences.Pair(
    *map(run, names),
    [
      differences.Difference(
        names_of[curve],
        Granularity(dim),
        *(x / 100 for x in ends),
        paired,
        seeds,
      )
      for curve, points in by_curve.items()
      for dim, ends in points.items()
    ],
  )


UP, DOWN = (31.2, 29.0, 33.4), (-4.0, -6.04, -2.0)
EVEN, OPEN = (-0.3, -1.15, 0.6), (0.5, -4.0, 5.1)


@pytest.mark.parametrize(
  'points, words',
  [
    (
      {8: UP, 64: EVEN},
      'a is better than b by 1-NN at 8 dims: +31.2 points (29.0 to 33.4); '
      'level within 1.2 points at 64 dims: -0.3 points (-1.1 to 0.6).',
    ),
    (
      {8: OPEN, 16: DOWN, 32: (-2.0, -3.0, -1.0)},
      'a is worse than b by 1-NN at 16 and 32 dims, largest at 16: '
      '-4.0 points (-6.0 to -2.0); undecided at 8 dims: '
      '+0.5 points (-4.0 to 5.1).',
    ),
    (
      {8: EVEN, 16: (-0.01, -0.2, 0.1)},
      'a and b are level by 1-NN within 1.2 points at all 2 dims.',
    ),
    (
      {8: OPEN},
      'a against b is undecided by 1-NN at 8 dims: +0.5 points (-4.0 to 5.1).',
    ),
    (
      {8: UP, 12: UP, 16: UP, 32: UP, 64: DOWN},
      'a is better than b by 1-NN at 8 to 32 dims, largest at 8: +31.2 points '
      '(29.0 to 33.4); worse at 64 dims: -4.0 points (-6.0 to -2.0).',
    ),
    (
      {64: (0.9, 0.02, 1.81)},
      'a is better than b by 1-NN at 64 dims: +0.9 points (0.02 to 1.81).',
    ),
    (
      {64: (0.04, 0.012, 0.07)},
      'a is better than b by 1-NN at 64 dims: +0.0 points (0.01 to 0.07).',
    ),
  ],
)
def test_a_sentence_says_where_which_is_better(points, words):
  assert verdicts._sentence(pair(knn=points)) == words


def test_without_1_nn_the_first_curve_is_the_subject():
  words = verdicts._sentence(pair(linear={8: UP}, probe={8: DOWN}))
  assert words.startswith('a is better than b by linear head, top-1 at 8 dims')
  assert verdicts._sentence(pair()) == 'a and b share no main curve.'


def test_other_curves_are_named_where_they_say_something_else():
  it = pair(
    linear={8: UP, 64: EVEN}, probe={8: UP, 64: OPEN}, knn={8: UP, 64: EVEN}
  )
  assert verdicts._others(it) == (
    'By linear head: the same; by linear probe: better at 8 dims, '
    'undecided at 64 dims.'
  )
  assert verdicts._others(pair(knn={8: UP})) == ''


def test_a_page_says_what_it_does_not_compare():
  group = [run(f'r{i}') for i in range(7)]
  old = [run('old', 500, data='')]
  pairs = [[pair(knn={8: UP})], []]
  words = [it.words for it in verdicts.texts([group, old], pairs)]
  names = ', '.join(f'r{i}' for i in range(7))
  assert words[0] == (
    f'Different data, not compared: {names} (1,000 queries, data x); '
    'old (500 queries).'
  )
  assert '7 runs: each is compared with r0 only.' in words
  assert '(1 on this page) hold all at once with 95%' in words[-1]
  assert not any('Not paired' in it or 'nothing says' in it for it in words)


def test_a_page_says_what_is_not_paired_or_not_known():
  group = [run('a'), run('old', data='')]
  pairs = [[pair(knn={8: UP}, paired=False)]]
  words = ' '.join(it.words for it in verdicts.texts([group], pairs))
  assert 'old: nothing says which data this is' in words
  assert 'Not paired by query, so wider than need be: a and b.' in words


def test_a_page_says_how_many_seeds_are_compared():
  it = pair(seeds=3, knn={8: UP, 16: EVEN})
  words = ' '.join(b.words for b in verdicts.texts([[run('a')]], [[it]]))
  assert 'over the seeds that both have (3)' in words
  one = pair(seeds=1, knn={8: (2.0, -np.inf, np.inf)})
  assert verdicts._sentence(one) == (
    'a against b is undecided by 1-NN at 8 dims: '
    '+2.0 points (1 seed in common).'
  )


def test_a_table_has_a_line_per_size_and_a_column_per_pair():
  pairs = [pair(knn={8: UP, 64: EVEN}), pair(knn={16: OPEN}, names='ac')]
  table = verdicts.table('knn/top1', pairs)
  assert table.header == ['1-NN, dim', 'a - b', 'a - c']
  assert table.lines == [
    ['8', 'better: +31.2 points (29.0 to 33.4)', '-'],
    ['16', '-', 'undecided: +0.5 points (-4.0 to 5.1)'],
    ['64', 'level: -0.3 points (-1.1 to 0.6)', '-'],
  ]
