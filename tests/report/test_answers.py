"""Each chapter's first sentence, against rows that are looked up naively."""

import pytest

from mrl_jax.report import answers, page, results
from tests.samples.report import (
  DIMS,
  all_details,
  all_rows,
  nested_details,
  row,
)

WHOLE = results.Evaluation('a', all_rows(), all_details())


def told(evaluator, metric, dim, unit='%', **extra):
  """`91.2% (90.0 to 92.3)` of the one row with these keys."""
  (one,) = [
    r
    for r in all_rows()
    if (r['evaluator'], r['metric'], r['dim']) == (evaluator, metric, dim)
    and all(r.get(key) == value for key, value in extra.items())
  ]
  value, low, high = (100 * one[k] for k in ('value', 'ci_low', 'ci_high'))
  return f'{value:.1f}{unit} ({low:.1f} to {high:.1f})'


def test_accuracy_at_both_ends_and_where_it_stops_to_rise():
  words = answers.how_accurate(WHOLE)
  full, small = (told('linear', 'top1', d) for d in (64, 8))
  assert words.startswith(
    f'The linear head is right on {full} with all 64 dimensions, {small} with 8'
  )
  values = {
    r['dim']: r
    for r in all_rows()
    if (r['evaluator'], r['metric']) == ('linear', 'top1')
  }
  level = 64
  for dim in (32, 16, 12, 8):
    if values[dim]['ci_high'] < values[64]['ci_low']:
      break
    level = dim
  assert f'From {level} dimensions on' in words and level < 64


@pytest.mark.parametrize(
  'rotation,pca,verdict',
  [
    (0.02, 0.01, 'Yes: '),
    (0.02, -0.004, 'Yes: '),
    (0.02, -0.02, 'In part, PCA keeps more: '),
    (0.006, 0.1, 'Not for sure: '),  # at one dim, not of four
    (0.004, 0.1, 'Not shown: '),
    (-0.1, 0.5, 'No: '),
  ],
)
def test_nested_or_not(rotation, pca, verdict):
  details = {'baselines': {'nested': nested_details(rotation, pca)}}
  words = answers.is_nested(results.Evaluation('a', [], details))
  assert words.startswith(verdict)
  assert 'the first 8 of 64 dimensions' in words
  for value, rival in (
    (rotation, 'from a random rotation'),
    (0.2, 'from random dimensions'),
    (pca, 'from PCA'),
  ):
    low, high = 100 * (value - 0.005), 100 * (value + 0.005)
    told = f'{100 * value:+.1f} points ({low:.1f} to {high:.1f}) {rival}'
    assert told in words


def test_nested_is_said_of_the_dim_that_leads_most():
  said = nested_details(0.0)
  said['by']['random_rotation'][2] |= {'value': 0.1, 'low': 0.09, 'high': 0.11}
  evaluation = results.Evaluation('a', [], {'baselines': {'nested': said}})
  dim = said['by']['random_rotation'][2]['dim']
  words = answers.is_nested(evaluation)
  assert words.startswith('In part') and f'first {dim} of 64' in words


def test_where_pca_leads_most_is_said():
  said = nested_details(0.02, 0.01)
  evaluation = results.Evaluation('a', [], {'baselines': {'nested': said}})
  assert 'PCA leads' not in answers.is_nested(evaluation)
  dim = said['by']['pca'][2]['dim']
  said['by']['pca'][2] |= {'value': -0.1, 'low': -0.12, 'high': -0.07}
  words = answers.is_nested(evaluation)
  assert words.endswith(
    f'PCA leads most at {dim}, by 10.0 points (7.0 to 12.0).'
  )
  said['by']['pca'][2] |= {'high': 0.01}
  assert 'PCA leads' not in answers.is_nested(evaluation)


def test_cheap_queries():
  words = answers.cheap_queries(WHOLE)
  risky = told('cascade', 'top1', 64, variant='risk0.005')
  assert words.startswith(
    f'Yes, with 27.5 of 64 dimensions on average: {risky}'
  )
  by = {'cascade': all_details()['cascade'] | {'by': 'linear probe'}}
  for order in (1, -1):
    told_by = results.Evaluation('a', all_rows()[::order], by)
    words = answers.cheap_queries(told_by)
    assert f': {risky} are right by the linear probe, ' in words
  fixed = all_details()['cascade']['fixed'][-1]
  assert f'{100 * fixed["accuracy"]:.1f}% ({100 * fixed["low"]:.1f}' in words
  paper = [r for r in all_rows() if r.get('variant') == 'paper']
  words = answers.cheap_queries(results.Evaluation('a', paper))
  assert words.startswith('With 11.5 of 64') and 'with all' not in words
  late = [
    {**r, 'expected_dim': 64}
    for r in all_rows()
    if r.get('variant', '').startswith('risk')
  ]
  words = answers.cheap_queries(results.Evaluation('a', late))
  assert words.startswith('Not shown: ') and risky in words


def test_ranking():
  full, small = (told('retrieval', 'top1', d) for d in (64, 8))
  assert answers.right_first(WHOLE) == (
    f'The first row is right for {full} with all 64 dimensions, {small} with 8.'
  )
  rest = [r for r in all_rows() if r['metric'] != 'top1']
  words = answers.right_first(results.Evaluation('a', rest))
  assert words.startswith('nDCG@10 is ' + told('retrieval', 'ndcg', 64, k=10))


def methods(*entries):
  """An evaluation of timed methods: (name, dim, recall, milliseconds)."""
  keys = ('method', 'dim', 'recall', 'milliseconds_batch')
  timed = [dict(zip(keys, entry)) for entry in entries]
  points = [
    row('search', 'recall', dim, recall, variant=name, k=10)
    for name, dim, recall, _ in entries
  ]
  return results.Evaluation('a', points, {'search': {'methods': timed}})


def test_the_fastest_search_that_finds_nearly_all():
  words = answers.how_fast(
    methods(
      ('prefix', 8, 0.7, 0.1),
      ('prefix', 64, 1.0, 0.8),
      ('device', 64, 1.0, 0.5),
      ('funnel', 8, 0.985, 0.01),
      ('ar', 8, 0.992, 0.2),
    )
  )
  assert words == (
    'In 0.2 ms a query, shortlist, then rerank finds 99.2% (98.2 to 100.0) of '
    'the true neighbours; comparing with every row in all 64 dimensions takes '
    '0.5 ms a query.'
  )
  words = answers.how_fast(methods(('prefix', 64, 1.0, 0.8), ('ar', 8, 1.0, 1)))
  assert '0.8 ms a query; nothing that finds 99%' in words
  assert answers.how_fast(methods(('ar', 8, 1.0, 1))) == ''


def test_formats_keep_at_most_everything():
  kept = {'float16': 1.004, 'int8': 0.995, 'binary': 0.62}
  points = [
    row(
      'stores', 'top1', 64, 0.8, variant=f'prefix.{name}', held=256 // share,
      kept=kept[name], kept_low=kept[name] - 0.01, kept_high=kept[name] + 0.01,
    )
    for name, share in (('float16', 2), ('int8', 4), ('binary', 32))
  ]  # fmt: skip
  assert answers.store_cost(results.Evaluation('a', points)) == (
    'Of the right answers by 1-NN that float32 gives with all 64 dimensions, '
    'float16 loses none that can be seen (at most 0.6%) at 1/2 of the bytes; '
    'int8 keeps 99.5% (98.5 to 100.0) at 1/4 of the bytes; '
    'binary keeps 62.0% (61.0 to 63.0) at 1/32 of the bytes.'
  )


def test_trust_images_and_distances():
  full, small = (told('calibration', 'ece', d, ' points') for d in (64, 8))
  assert answers.trusted(WHOLE) == (
    f'The stated confidence is off by {full} with all 64 dimensions, {small} '
    'with 8.'
  )
  clean, bad = (
    told('robustness', 'top1', 64, variant=v) for v in ('clean', 'mean')
  )
  words = answers.bad_images(WHOLE)
  assert f'{bad} of corrupted' in words and f'{clean} of clean' in words
  words = answers.how_far_apart(WHOLE)
  assert told('cosine', 'separation', 64) in words
  assert told('cosine', 'separation', 8) in words


@pytest.mark.parametrize(
  'rare,verdict',
  [
    (0.5, 'The rare ones: '),
    (0.9, 'Neither rare nor frequent ones for sure: '),
    (0.95, 'The frequent ones: '),
  ],
)
def test_classes_that_suffer(rare, verdict):
  points = [
    row('classes', name, dim, value - (64 - dim) / 1000)
    for name, value in (('tail', rare), ('head', 0.91))
    for dim in DIMS
  ]
  words = answers.which_classes(results.Evaluation('a', points))
  assert words.startswith(
    verdict + f'rare classes are right on {100 * rare:.1f}'
  )
  assert f'{100 * rare - 5.6:.1f}%' in words and '85.4%' in words
  points = [
    row('classes', 'per_class', 8, 0.4),
    row('classes', 'per_class', 64, 0.5),
  ]
  words = answers.which_classes(results.Evaluation('a', points))
  assert words.startswith('The mean class is right on 50.0% (49.0 to 51.0)')


def test_examples_are_counted():
  assert answers.in_examples(WHOLE) == (
    'Neighbours of the right class, of 6 images: 24 of 30 with 8 dimensions, '
    '24 of 30 with 64 dimensions.'
  )


@pytest.mark.parametrize('chapter', page.CHAPTERS, ids=lambda c: c.link)
def test_without_its_material_a_chapter_has_no_answer(chapter):
  assert chapter.answer(WHOLE).endswith('.')
  assert chapter.answer(results.Evaluation('a', [])) == ''
  for name in {r['evaluator'] for r in all_rows()}:
    rest = [r for r in all_rows() if r['evaluator'] != name]
    kept = {k: v for k, v in all_details().items() if k != name}
    words = chapter.answer(results.Evaluation('a', rest, kept))
    assert words == '' or words.endswith('.')


def test_all_layers_are_spoken_of():
  points = [
    row('linear', 'top1', dim, value + dim / 1000, **depth)
    for value, depth in ((0.54, {'depth': 4}), (0.59, {}))
    for dim in (8, 64)
  ]
  words = answers.how_accurate(results.Evaluation('a', points))
  assert words.startswith('The linear head is right on 65.4%')
  assert '59.8% (58.8 to 60.8) with 8' in words
