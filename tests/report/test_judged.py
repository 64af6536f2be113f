"""The page of judged retrieval: nDCG@10, differences, margins; no classes."""

import dataclasses

import numpy as np
import pytest

from mrl_jax.report import (
  answers,
  blocks,
  compare,
  curves,
  first,
  headline,
  margin,
  results,
  retrieval,
  tables,
)
from tests.samples.report import DIMS, grown, made, row

MEASURES = ('top1', 'ndcg', 'mrr', 'map', 'map_min', 'ap', 'p')


def judged_rows(low=-0.02, high=0.01, step=0.1):
  """Rows of retrieval; prefixes differ by a step each from the full width."""
  points = []
  for metric in MEASURES:
    for i, dim in enumerate(DIMS):
      more = {} if metric == 'top1' else {'k': 10}
      if dim != DIMS[-1]:
        apart = -step * (len(DIMS) - 2 - i)
        more |= {
          'difference': apart,
          'difference_low': apart + low,
          'difference_high': apart + high,
        }
      points.append(
        row(
          'retrieval', metric, dim, grown(dim, 0.4, 0.3), n=225,
          without_relevant=3, **more,
        )
      )  # fmt: skip
  return points


def by_id(dim=8):
  return row('retrieval', 'ndcg', dim, 0.123, k=10, variant='by_id', n=225)


def margin_rows(**changed):
  known = dict(
    variant='budget32', budget=32, first=8, then=64, cumulative=30.5,
    expected_dim=20.1, fixed=0.3, k=10,
    to_fixed=0.03, to_fixed_low=0.01, to_fixed_high=0.05,
    to_full=-0.002, to_full_low=-0.009, to_full_high=0.004,
  )  # fmt: skip
  return [row('margin', 'ndcg', 64, 0.33, n=113, **known | changed)]


def of(points, details=None):
  return results.Evaluation('a', points, details or {})


def test_ndcg_is_the_main_curve_where_nothing_is_measured_by_class():
  points = judged_rows()
  assert list(curves.main(points)) == ['retrieval/ndcg@10']
  assert curves.judged(points)
  by_class = [*points, *(row('knn', 'top1', dim, 0.5) for dim in DIMS)]
  assert list(curves.main(by_class)) == ['knn/top1', 'retrieval/map@10']
  assert not curves.judged(by_class)
  assert 'nDCG@10' in tables.text(points) and 'mAP' not in tables.text(points)


def test_a_page_of_judgements_speaks_of_ndcg_and_not_of_classes(tmp_path):
  fixed = [{'dim': d, 'value': 0.3, 'low': 0.2, 'high': 0.4} for d in DIMS]
  details = {'margin': {'fixed': fixed}}
  points = [*judged_rows(), by_id(), *margin_rows()]
  _, text = made(tmp_path, points, details)
  body = text[: text.index('All numbers</h2>')]
  assert 'left out' not in text and 'class' not in body.split('<body>')[
    1
  ].replace('class="', '')
  assert 'Relevant rows near the top (nDCG@10), by dimension' in body
  assert 'mAP@10' not in body and 'MAP@10 is divided by the number' in body
  assert '12.30 (11.3 to 13.3)' in body and 'trec_eval' in body
  assert '3 of 225 queries have no relevant row' in body
  assert 'nDCG@10, against the dimensions searched' in body


def test_differences_to_all_are_a_table():
  (table,) = retrieval.to_full(of(judged_rows()))
  assert list(table.header) == [
    'dims', 'nDCG@10, %', 'difference to all, points',
  ]  # fmt: skip
  assert [line[2] for line in table.lines][-2:] == ['+0.0 (-2.0 to 1.0)', '-']
  assert table.lines[0][2] == '-30.0 (-32.0 to -29.0)'
  assert 'tie' not in table.note
  (table,) = retrieval.to_full(of([*judged_rows(), by_id(12)]))
  assert [line[3] for line in table.lines][:2] == ['-', '12.30 (11.3 to 13.3)']
  by_class = [row('knn', 'top1', dim, 0.5) for dim in DIMS]
  assert not list(retrieval.to_full(of([*judged_rows(), *by_class])))


def test_dims_are_told_apart_by_the_same_queries():
  """The intervals of all overlap; the paired differences do not reach 0."""
  flat = [{**r, 'ci_low': 0.0, 'ci_high': 0.9} for r in judged_rows()]
  assert headline.undecided(flat) == ''
  level = judged_rows(step=0.0)
  level = [{**r, 'ci_low': 0.0, 'ci_high': 0.9} for r in level]
  words = headline.undecided(level)
  assert words.endswith('none is recommended; more queries may tell.')
  assert 'classes' not in words


def test_the_smallest_dim_is_surely_within_a_point_on_the_same_queries():
  points = judged_rows(low=-0.009, step=0.1)
  words = headline.smallest(points)
  assert words.startswith('32 of 64 dimensions are enough: retrieval nDCG@10')
  assert headline.smallest(judged_rows()).startswith('No dimension below 64')


def test_where_none_is_surely_worse():
  words = answers.how_accurate(of(judged_rows()))
  assert words.startswith('nDCG@10 is ')
  assert words.endswith(
    'From 32 dimensions on, none is surely worse than all on the same queries.'
  )


def test_the_curve_of_the_screen_is_that_of_the_decision():
  details = {'stores': {'measures': ['ndcg@10']}}
  (picture,) = first.main_curve(of(judged_rows(), details))
  assert 'nDCG@10' in picture.title
  assert first.extent(of(judged_rows())) == '225 queries'


@pytest.mark.parametrize(
  ('changed', 'start'),
  [
    ({}, 'Yes: with 30.5 of 64 dimensions searched on average, first 8, then'),
    ({'to_fixed_low': -0.01}, 'Not shown: with 30.5 of 64'),
    ({'to_full_low': -0.02}, 'Not proven: on'),
    ({'then': 8}, 'Not shown: within 32 dimensions the best rule found is 8'),
  ],
)
def test_what_a_rule_by_margins_saves(changed, start):
  evaluation = of(margin_rows(**changed))
  assert answers.cheap_queries(evaluation).startswith(start)
  (_, table) = margin.margin(evaluation)
  assert isinstance(table, blocks.Table) and table.lines[0][0] == '32'
  assert '+3.0 (' in table.lines[0][4]


def test_a_rule_that_is_the_dim_itself_does_not_differ_from_it():
  (_, table) = margin.margin(of(margin_rows(first=32, then=32)))
  assert table.lines[0][1] == '32 for all' and table.lines[0][4] == '-'


def test_two_models_on_one_judged_set_are_compared_query_by_query(tmp_path):
  rng = np.random.default_rng(0)
  runs = []
  for name, shift in (('a', 0.1), ('b', 0.0)):
    values = {d: np.clip(rng.random(225) * 0.5 + shift, 0, 1) for d in (8, 64)}
    points = [
      row('retrieval', metric, d, float(x.mean()), n=225, k=10)
      for metric in ('ndcg', 'map')
      for d, x in values.items()
    ]
    folder = tmp_path / name / 'eval' / '0'
    results.write(folder, points, {'evaluation': {'data': 'set'}})
    (folder / 'parts').mkdir()
    arrays = {f'retrieval/ndcg@10/d{d}': x for d, x in values.items()}
    np.savez(folder / 'parts' / 'retrieval.npz', **arrays)
    runs.append(tmp_path / name)
  page = compare.write(list(map(str, runs)), tmp_path / 'out')
  words = page.read_text()
  assert 'a is better than b by retrieval nDCG@10 at all 2 dims' in words
  assert 'Not paired by query' not in words and 'mAP' not in words
  (folder / 'parts' / 'retrieval.npz').unlink()
  page = compare.write(list(map(str, runs)), tmp_path / 'out')
  assert 'Not paired by query' in page.read_text()


def test_rows_of_another_version_have_no_differences(tmp_path):
  plain = [
    {k: v for k, v in r.items() if not k.startswith('difference')}
    for r in judged_rows()
  ]
  _, text = made(tmp_path, plain)
  assert 'left out' not in text
  broken = dataclasses.replace(of(margin_rows()), details={})
  assert margin.saved_by_margins(broken)
