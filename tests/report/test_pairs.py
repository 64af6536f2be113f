"""Scored pairs in the report: correlations x 100, paired, never percent."""

import re

import numpy as np
import pytest
from scipy import stats

from mrl_jax import correlation
from mrl_jax.report import (
  answers,
  blocks,
  compare,
  differences,
  headline,
  page,
  pairs,
  results,
  tables,
)
from tests.samples.compared import write_run
from tests.samples.report import DIMS, made, pairs_rows, point

TEXT = 'Deploy 32 leading dims, int8: 32 bytes a text.'


def stored(dim, kind, value, **more):
  measured = {
    'value': value,
    'ci_low': value - 0.02,
    'ci_high': value + 0.02,
    'kept': value / 0.8,
    'kept_low': value / 0.8 - 0.01,
    'kept_high': value / 0.8 + 0.01,
  }
  one = point(dim, kind, 0.5, **more) | {'milliseconds': None}
  return one | {'measures': {'spearman': measured}}


def details():
  return {
    'pairs': {
      'pairs': 1500,
      'texts': 2700,
      'measures': ['spearman'],
      'keep': 0.95,
      'width': 64,
      'rows': 100_000,
      'decision': {'text': TEXT, 'why': ['Chosen on 750 pairs.']},
      'table': [
        stored(32, 'int8', 0.78, chosen=True),
        stored(64, 'float32', 0.8),
      ],
      'front': [stored(m, 'int8', v) for m, v in ((8, -0.1), (32, 0.78))],
      'nested': {
        'metric': 'spearman',
        'width': 64,
        'by': {
          rival: [{'dim': 8, 'value': 0.05, 'low': 0.03, 'high': 0.07}]
          for rival in ('random_rotation', 'random_subset', 'pca')
        },
      },
    }
  }


WHOLE = results.Evaluation('a', pairs_rows(), details())


def test_the_first_screen():
  decision, why, nested, curve, table = [
    block for part in page.SCREEN for block in part(WHOLE)
  ]
  assert decision.strong and decision.words == TEXT
  assert why.words == 'Chosen on 750 pairs.'
  assert 'Yes: by Spearman x 100, the first 8 of 64' in nested.words
  assert '+5.0 points (3.0 to 7.0) from a random rotation' in nested.words
  assert curve.title.endswith('(Spearman), by dimension')
  assert '>Spearman x 100<' in curve.svg
  values = re.findall(r'<text[^>]*>(-?\d+\.\d)</text>', curve.svg)
  assert values == ['-5.0', '40.0', '70.0', '79.8', '80.0']
  assert list(table.header) == [
    'how the texts are kept', 'Spearman x 100', 'bytes in memory',
  ]  # fmt: skip
  assert table.lines[0][1].replace('\xa0', ' ') == '78.0 (76.0 to 80.0)'
  assert table.chosen == 0
  assert 'on 1,500 pairs' in table.note and 'among 100,000' in table.note


def test_the_page_names_no_percent(tmp_path):
  folder, text = made(tmp_path, pairs_rows(), details())
  body = re.sub(r'<style.*?</style>|<svg.*?</svg>', '', text, flags=re.S)
  assert 'was left out' not in body
  assert 'Correlations x 100; in brackets' in body
  assert '1,500 pairs, 2,700 texts' in body
  said = re.findall(r'[^<>]*%[^<>]*', body.split('How was this measured')[0])
  assert all(re.search('95%|Spearman&#x27;s correlation', it) for it in said)
  assert not re.search(
    '(?<!9[57])%', ''.join(re.findall('<svg.*?</svg>', text))
  )
  written = (folder / 'report.md').read_text()
  assert '\n## Do cosines follow the scores of the pairs?\n\n**Spea' in written
  assert '![Correlation by dimension]' in written
  assert 'How accurate' not in written


def test_the_chapter_against_the_rows():
  *pictures, table = [*pairs.beside(WHOLE), *pairs.by_dim(WHOLE)]
  assert [it.title.split()[0] for it in pictures] == ['Spearman', 'Pearson']
  for picture in pictures:
    assert [key.label for key in picture.keys] == [
      'first dims', 'PCA', 'random rotation', 'random dims',
    ]  # fmt: skip
  first = dict(zip(table.header, table.lines[0]))
  assert first == {
    'dims': '8',
    'Spearman x 100': '-5.00 (-7.0 to -3.0)',
    'less all dims, points': '-85.0 (-85.5 to -84.5)',
    'with PCA': '-5.00 (-7.0 to -3.0)',
    'Pearson x 100': '-7.00 (-9.0 to -5.0)',
  }
  assert [line[0] for line in table.lines] == list(map(str, DIMS))
  assert table.lines[-1][2] == '-'


def test_the_answer_names_what_is_lost_at_most():
  words = answers.follows_scores(WHOLE)
  assert words == (
    'Spearman x 100 is 80.0 (78.0 to 82.0) with all 64 dimensions, -5.0 (-7.0 '
    'to -3.0) with 8. With 32 dimensions it differs by -0.2 points from all '
    '(at most 0.7 lost), over the same pairs.'
  )
  steep = [row for row in pairs_rows() if row['dim'] != 32]
  words = answers.follows_scores(results.Evaluation('a', steep))
  assert words.endswith('with 8.')
  kept = answers.store_cost(WHOLE)
  assert kept.startswith('32 prefix int8 , keep 97.5% (96.5 to 98.5) of')


def test_paired_differences_tell_dimensions_apart():
  """Where the intervals of all overlap, the same pairs may yet tell."""
  points = [
    row | {'ci_low': -1.0, 'ci_high': 1.0, 'variant': ''}
    for row in pairs_rows()
    if 'variant' not in row
  ]
  for row in points:
    del row['variant']
  evaluation = results.Evaluation('a', points, details())
  assert headline.words(evaluation)[0] == TEXT
  for row in points:
    if 'difference' in row:
      row |= {'difference_low': -0.9, 'difference_high': 0.1}
  words = headline.words(evaluation)[0]
  assert words.startswith('This evaluation cannot tell dimensions apart')
  assert words.endswith('none is recommended; more pairs may tell.')


def test_words_and_tables_of_the_terminal():
  words = headline.words(WHOLE)
  assert words[1:] == [
    'Spearman x 100: -5.0 with 8 of 64 dimensions, 80.0 with all.',
    'Pearson x 100: -7.0 with 8 of 64 dimensions, 78.0 with all.',
  ]
  text = tables.text(pairs_rows(), TEXT)
  assert 'Spearman x 100' in text and '%' not in text
  assert '-5.00 (-7.0 to -3.0)' in text
  undecided = results.Evaluation('a', pairs_rows())
  assert headline.words(undecided)[0].startswith('No dimension below 64')


def test_stores_decide_before_pairs():
  said = {'decision': {'text': 'by neighbours'}, 'table': [{'chosen': True}]}
  both = results.Evaluation('a', [], {'stores': said, **details()})
  assert both.decision == {'text': 'by neighbours'} and both.chosen
  assert both.decider == 'stores' and WHOLE.decider == 'pairs'
  assert WHOLE.chosen['label'].startswith('32 prefix int8')
  assert results.Evaluation('a', []).decision == {}


def models(rng, n=600):
  """Grades from 0 to 5, and the cosines of two models of unlike worth."""
  scores = rng.normal(size=n)
  common = rng.normal(size=n)
  guesses = [
    scores + noise * (common + rng.normal(size=n)) for noise in (0.5, 0.8)
  ]
  return np.clip(np.round(2 * scores + 2), 0, 5), guesses


def test_two_models_over_the_same_pairs(tmp_path):
  """The interval is that of a bootstrap of pairs, at the level of two."""
  rng = np.random.default_rng(0)
  scores, guesses = models(rng)
  for name, guess in zip('ab', guesses):
    values = {16: correlation.spearman(guess, scores)}
    write_run(tmp_path / name, {
      ('pairs', 'spearman'): values,
      ('pairs', 'pearson'): {16: correlation.pearson(guess, scores)},
    })  # fmt: skip
  runs = [differences.read_newest(tmp_path / name) for name in 'ab']
  ((pair,),) = differences.compare_pairs([runs])
  found = pair.differences[0]
  assert found.paired and found.curve == 'pairs/spearman'
  rhos = [stats.spearmanr(guess, scores)[0] for guess in guesses]
  assert found.value == pytest.approx(rhos[0] - rhos[1], abs=1e-6)
  again = [
    np.subtract(*(stats.spearmanr(g[at], scores[at])[0] for g in guesses))
    for at in rng.integers(len(scores), size=(1000, len(scores)))
  ]
  ends = np.quantile(again, (0.0125, 0.9875))  # Bonferroni: two intervals
  np.testing.assert_allclose((found.low, found.high), ends, atol=0.015)
  text = compare.write([tmp_path / 'a', tmp_path / 'b'], tmp_path).read_text()
  assert 'a is better than b by Spearman x 100 at 16 dims' in text
  assert 'in points (correlation x 100)' in text and 'Not paired' not in text
  assert 'Percent' not in text and 'Correlations x 100' in text


def test_opposite_models_differ_by_more_than_1(tmp_path):
  order = np.arange(300.0)
  for name, sign in (('a', 1), ('b', -1)):
    values = correlation.spearman(sign * (order + 9 * np.sin(order)), order)
    write_run(tmp_path / name, {('pairs', 'spearman'): {16: values}})
  runs = [differences.read_newest(tmp_path / name) for name in 'ab']
  ((pair,),) = differences.compare_pairs([runs])
  (found,) = pair.differences
  assert found.paired and 1.9 < found.low <= found.value <= found.high <= 2


def test_data_of_pairs_are_named(tmp_path):
  rng = np.random.default_rng(0)
  scores, guesses = models(rng)
  for name, guess, data in zip('abc', [*guesses, guesses[0]], 'xxy'):
    values = {16: correlation.spearman(guess, scores)}
    write_run(tmp_path / name, {('pairs', 'spearman'): values}, data=data)
  text = compare.write([tmp_path / it for it in 'abc'], tmp_path).read_text()
  assert '600 pairs, data x' in text and '600 queries' not in text


def test_a_curve_without_intervals_of_rivals():
  picture = next(iter(pairs.beside(WHOLE)))
  assert isinstance(picture, blocks.Picture)
  assert list(pairs.by_dim(results.Evaluation('a', []))) == []
  assert list(pairs.beside(results.Evaluation('a', []))) == []
