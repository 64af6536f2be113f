"""`lost` against a loop over queries in float64."""

import json

import numpy as np
import pytest

from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import lost
from tests.samples.vectors import (
  cosines,
  evidence_of,
  judged_evidence,
  naive_top_k,
)

DIMS = (2, 4, 8, 16)
NAMES = ('ant', 'bee', 'cat')


def sides(rows=120, queries=60, ids=True):
  """Classes that more dims tell better, and a name for each row."""
  rng = np.random.default_rng(0)
  made = []
  for n, side in ((rows, 'r'), (queries, 'q')):
    labels = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 16))
    x[:, 3:] += 1.5 * np.eye(13)[labels * 4]
    names = np.array([f'{side}{i}' for i in range(n)])
    made.append(Vectors(x.astype(np.float32), labels, names if ids else None))
  return made


def test_lost_queries_are_those_of_a_loop():
  database, queries = sides()
  seen = evidence_of(database, queries, DIMS, names=NAMES)
  results, details = lost.Lost().run(seen)
  assert results == [] and json.loads(json.dumps(details)) == details
  nearest = {
    m: naive_top_k(queries.embeddings, database.embeddings, m, 1)[1][:, 0]
    for m in DIMS
  }
  expected, gained = [], 0
  for q in range(60):
    right = [database.labels[nearest[m][q]] == queries.labels[q] for m in DIMS]
    gained += right[0] and not right[-1]
    if right[-1] and not right[0]:
      turn = next(g for g in range(4) if all(right[g:]))
      row = nearest[2][q]
      expected.append(
        {
          'id': f'q{q}',
          'class': NAMES[queries.labels[q]],
          'right_from': DIMS[turn],
          'found': {'id': f'r{row}', 'class': NAMES[database.labels[row]]},
        }
      )
  expected.sort(key=lambda one: -one['right_from'])
  assert len(expected) > 20 and len({e['right_from'] for e in expected}) == 3
  assert details['shown'] == expected[:20]
  assert details['lost'] == len(expected) and details['gained'] == gained > 0
  assert details['queries'] == 60 and details['dims'] == [*DIMS]


def test_drawn_queries_keep_their_ids_and_rows_without_have_numbers():
  database, queries = sides(ids=False)
  seen = evidence_of(database, queries, DIMS)
  _, every = lost.Lost(shown=100).run(seen)
  _, some = lost.Lost(shown=100, queries=30).run(seen)
  assert some['queries'] == 30 and 0 < some['lost'] < every['lost']
  assert all(one in every['shown'] for one in some['shown'])
  assert all(isinstance(one['id'], int) for one in every['shown'])


def test_what_is_found_instead_is_of_another_class_where_rows_tie():
  """The nearest rows tie, a third of them right: the query counts as wrong."""
  x = np.array([[1, 5], [1, -1], [1, -2]], np.float32)
  database = Vectors(x, np.array([0, 1, 1]))
  queries = Vectors(x[:1], np.array([0]))
  _, details = lost.Lost().run(evidence_of(database, queries, (1, 2)))
  (line,) = details['shown']
  assert line['found'] == {'id': 1, 'class': '1'} and line['right_from'] == 2


def test_one_dim_loses_nothing():
  database, queries = sides()
  assert lost.Lost().run(evidence_of(database, queries, (16,))) == ([], {})
  for options in ({'shown': 0}, {'shown': 101}, {'queries': 0}):
    with pytest.raises(ValueError, match='must be at'):
      lost.Lost(**options)


def naive_ndcg(scores, grades):
  """nDCG@10 of one query, from all its scores and grades."""
  best = np.argsort(-scores, kind='stable')[:10]
  discounts = 1 / np.log2(np.arange(2, 12))
  ideal = np.sort(grades)[::-1][:10] @ discounts
  return grades[best] @ discounts / ideal if ideal else 0.0


def test_judged_queries_that_fall_most_are_those_of_a_loop():
  texts = {'q3': 'a <b>query</b>', 'd0': 'x' * 900}
  qrels, seen = judged_evidence(texts=texts)
  results, details = lost.Lost(shown=100).run(seen)
  assert results == [] and json.loads(json.dumps(details)) == details
  queries, database = seen.queries, seen.database
  few, full = (
    cosines(queries.embeddings, database.embeddings, m) for m in (2, 16)
  )
  expected, gained = {}, 0
  for q, name in enumerate(queries.ids):
    grades = np.array([qrels[name].get(r, 0) for r in database.ids])
    values = [naive_ndcg(scores[q], grades) for scores in (few, full)]
    gained += values[0] > values[1]
    if values[0] < values[1]:
      wrong = next(r for r in np.argsort(-few[q]) if not grades[r])
      best = max(
        np.flatnonzero(grades == grades.max()), key=lambda r: full[q, r]
      )
      ranks = [1 + np.sum(of[q] > of[q, best]) for of in (few, full)]
      expected[name] = values, database.ids[wrong], database.ids[best], ranks
  assert details['lost'] == len(expected) > 20
  assert details['gained'] == gained > 0
  assert details['queries'] == 40 and details['dims'] == [2, 16]
  falls = [one['full'] - one['few'] for one in details['shown']]
  assert falls == sorted(falls, reverse=True)
  for one in details['shown']:
    values, wrong, best, ranks = expected.pop(one['id'])
    assert [one['few'], one['full']] == pytest.approx(values, abs=1e-6)
    assert one['found']['id'] == wrong and one['best']['id'] == best
    assert [one['best']['few'], one['best']['full']] == ranks
    assert one['text'] == texts.get(one['id'], '')
    for row in (one['found'], one['best']):
      assert row['text'] == texts.get(row['id'], '')[:400]
  assert not expected


def test_judged_queries_without_texts_have_ids_also_when_drawn():
  _, seen = judged_evidence()
  _, details = lost.Lost(queries=25).run(seen)
  assert details['queries'] == 25 and len(details['shown']) <= 20
  assert not any('text' in one for one in details['shown'])
  assert all(one['id'].startswith('q') for one in details['shown'])


def test_a_best_row_that_the_database_lacks_is_not_named():
  """Its grade counts in nDCG; only rows that are there have a rank."""
  qrels, seen = judged_evidence()
  qrels['q0'] = {'gone': 3}
  qrels['q1'] |= {'gone': 3}
  _, details = lost.Lost(shown=100).run(seen)
  named = {one['id']: one for one in details['shown']}
  assert 'q0' not in named and named.get('q1', {}).get('best', 1)
