"""Retrieval measures against ir-measures (trec_eval) and against loops."""

import functools

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, nDCG

from mrl_jax import intervals, rows
from mrl_jax.embed import relevance
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import retrieval
from tests.samples.vectors import evidence_of, judged_evidence, unit

DIMS = (4, 6, 8)


def material(database, queries, **changed):
  return evidence_of(Vectors(*database), Vectors(*queries), DIMS, **changed)


def random_vectors(seed=0, rows=160, queries=23, classes=7):
  rng = np.random.default_rng(seed)
  made = []
  for n in (rows, queries):
    labels = rng.integers(0, classes, n)
    made.append((rng.normal(size=(n, 8)).astype(np.float32), labels))
  return made


def adversarial():
  """Duplicates of a class, huge class ids, queries without a relevant row.

  Ties between classes: tests/embed/test_ties.py.
  """
  (database, labels), (queries, asked) = random_vectors(6)
  database[10:60], labels[10:60] = database[10], labels[10]
  database[60:80], labels[60:80] = database[60], labels[60]
  queries[:4] = database[10]
  names = np.array([3, 65_536, 65_537, 131_072, 2**40, 2**40 + 1, 9])
  asked = names[asked]
  asked[5:8] = 77  # no such class in the database
  return (database, names[labels]), (queries, asked)


def rankings(queries, database, m):
  """All rows for each query, sorted in float64.

  Not by a matrix product: equal rows must score equally, to the last bit.
  """
  scores = np.sum(unit(queries, m)[:, None] * unit(database, m)[None], axis=-1)
  return np.argsort(-scores, axis=1, kind='stable')


def oracle(ranked, qrels, ks):
  """trec_eval's value of each measure, [q], 0 for queries without judgement."""
  run = [
    ir_measures.ScoredDoc(str(q), str(r), -float(place))
    for q, rows in enumerate(ranked)
    for place, r in enumerate(rows)
  ]
  wanted = [measure @ k for measure in (P, R, AP, nDCG, RR) for k in ks]
  values = {str(measure): np.zeros(len(ranked)) for measure in wanted}
  for value in ir_measures.iter_calc(wanted, qrels, run):
    values[str(value.measure)][int(value.query_id)] = value.value
  return values


def check_measures(results, ranked, qrels, totals, ks):
  """Every row of `retrieval` against trec_eval on the same judgements."""
  values = {rows.flat_name(row): row['value'] for row in results}
  for m in DIMS:
    expected = oracle(ranked[m], qrels, ks)
    for k in ks:
      # trec_eval divides average precision by R, two of ours by another.
      scales = {
        'map': totals / k,
        'map_min': totals / np.maximum(np.minimum(k, totals), 1),
      }
      for name, theirs in (
        ('p', 'P'),
        ('r', 'R'),
        ('ndcg', 'nDCG'),
        ('mrr', 'RR'),
        ('map', 'AP'),
        ('map_min', 'AP'),
        ('ap', 'AP'),
      ):
        value = np.mean(expected[f'{theirs}@{k}'] * scales.get(name, 1.0))
        got = values[f'retrieval/{name}@{k}/d{m}']
        assert abs(got - value) < 1e-9, (name, k, m)


@pytest.mark.parametrize('make', [random_vectors, adversarial])
def test_every_measure_equals_trec_eval(make):
  database, queries = make()
  ks = (5, 40)
  results, _ = retrieval.Retrieval(k=ks).run(material(database, queries))
  same = database[1] == queries[1][:, None]
  qrels = [
    ir_measures.Qrel(str(q), str(r), int(same[q, r]))
    for q, r in np.ndindex(*same.shape)
  ]
  ranked = {m: rankings(queries[0], database[0], m) for m in DIMS}
  check_measures(results, ranked, qrels, same.sum(axis=1), ks)
  without = {row['without_relevant'] for row in results}
  assert without == ({3} if make is adversarial else {0})


def test_graded_judgements_equal_trec_eval():
  """Grades 0 to 3, a query without any, and a judged row that is not there."""
  (database, _), (queries, _) = random_vectors(3)
  rng = np.random.default_rng(0)
  judged = {
    q: {r: int(rng.integers(0, 4)) for r in rng.choice(160, 30, replace=False)}
    for q in range(22)
  }
  judged[4][999] = 3
  judged[5] = dict.fromkeys(judged[5], 0)
  seen = material(
    (database,),
    (queries,),
    relate=functools.partial(relevance.by_judgement, judged),
  )
  ks = (5, 40)
  results, _ = retrieval.Retrieval(k=ks).run(seen)
  qrels = [
    ir_measures.Qrel(str(q), str(r), grade)
    for q, grades in judged.items()
    for r, grade in grades.items()
  ]
  ranked = {m: rankings(queries, database, m) for m in DIMS}
  totals = [
    sum(g > 0 for g in judged.get(q, {}).values()) for q in range(len(queries))
  ]
  check_measures(results, ranked, qrels, np.array(totals), ks)
  assert {row['without_relevant'] for row in results} == {2}


def test_pairs_are_found_by_rank():
  """A query's partner at rank i: 1 / i, 1 / log2(i + 1), and 1 of 1."""
  queries = np.eye(4, 8, dtype=np.float32)
  database = queries.copy()
  database[2, 1] = database[3, 2] = 2  # query 2 is nearer to row 3
  seen = evidence_of(
    Vectors(database), Vectors(queries), (8,), relate=relevance.by_pair
  )
  results, _ = retrieval.Retrieval(k=(3,)).run(seen)
  ranks = np.array([1, 1, 2, 1])
  values = {row['metric']: row['value'] for row in results}
  assert values['top1'] == 0.75 and values['r'] == 1
  assert values['mrr'] == pytest.approx(np.mean(1 / ranks))
  assert values['ndcg'] == pytest.approx(np.mean(1 / np.log2(ranks + 1)))
  assert values['map_min'] == values['mrr']


def test_recall_is_of_all_relevant_rows_and_top1_of_the_first():
  database, queries = random_vectors(2)
  results, _ = retrieval.Retrieval(k=(160,)).run(material(database, queries))
  values = {rows.flat_name(row): row['value'] for row in results}
  for m in DIMS:
    assert values[f'retrieval/r@160/d{m}'] == 1  # the whole database
  x, z = database[0], queries[0]
  nearest = database[1][(unit(z) @ unit(x).T).argmax(1)]
  assert values['retrieval/top1/d8'] == np.mean(nearest == queries[1])


def test_the_order_of_the_database_changes_nothing():
  """Signs, one dim and duplicates of several classes."""
  (database, labels), (queries, asked) = random_vectors(4, classes=3)
  database, queries = np.sign(database), np.sign(queries)
  database[20:60] = queries[0]
  found = []
  for seed in range(3):
    order = np.random.default_rng(seed).permutation(160)
    seen = evidence_of(
      Vectors(database[order], labels[order]),
      Vectors(queries, asked),
      (1, 3, 8),
    )
    results, _ = retrieval.Retrieval(k=(1, 7, 50)).run(seen)
    found.append([row['value'] for row in results])
  np.testing.assert_allclose(found[1:], found[:1] * 2, rtol=1e-12)


def test_depths_that_do_not_fit():
  database, queries = random_vectors(rows=30)
  seen = material(database, queries)
  rows, _ = retrieval.Retrieval().run(seen)
  assert {row.get('k', 10) for row in rows} == {10, 25}
  with pytest.raises(ValueError, match='k=40 exceeds the 30 database rows'):
    retrieval.Retrieval(k=(10, 40)).run(seen)
  with pytest.raises(ValueError, match='that increase'):
    retrieval.Retrieval(k=(25, 10))


def tied():
  """Signs of few values: ties of any size, also beyond the list; graded."""
  rng = np.random.default_rng(8)
  database = np.sign(rng.normal(size=(90, 8))).astype(np.float32)
  database[:20] = database[20]
  queries = np.sign(rng.normal(size=(12, 8))).astype(np.float32)
  ids = np.array([f'{i * 37 % 90}é'[: 2 + i % 2] + f'{i}' for i in range(90)])
  names = np.array([f'q{i}' for i in range(12)])
  judged = {
    f'q{q}': {
      ids[r]: int(rng.integers(0, 4)) for r in rng.choice(90, 25, False)
    }
    for q in range(12)
  }
  judged['q3'] = dict.fromkeys(judged['q3'], 0)
  sides = Vectors(database, None, ids), Vectors(queries, None, names)
  relate = functools.partial(relevance.by_judgement, judged)
  return judged, evidence_of(*sides, (1, 3, 8), relate=relate)


def test_where_rows_tie_the_usual_order_is_that_of_trec_eval():
  judged, seen = tied()
  ks = (5, 40)
  results, _ = retrieval.Retrieval(k=ks).run(seen)
  values = {rows.flat_name(row): row['value'] for row in results}
  qrels = [
    ir_measures.Qrel(q, r, grade)
    for q, grades in judged.items()
    for r, grade in grades.items()
  ]
  wanted = {
    f'{name}@{k}': theirs @ k
    for name, theirs in (('ndcg', nDCG), ('ap', AP), ('p', P), ('r', R))
    for k in ks
  }
  for m in seen.dims:
    scores = (
      unit(seen.queries.embeddings, m) @ unit(seen.database.embeddings, m).T
    )
    run = [
      ir_measures.ScoredDoc(
        f'q{q}', seen.database.ids[r], scores[q, r].round(6)
      )
      for q, r in np.ndindex(*scores.shape)
    ]
    theirs = ir_measures.calc_aggregate(list(wanted.values()), qrels, run)
    for name, measure in wanted.items():
      got = values[f'retrieval/{name}.by_id/d{m}']
      assert got == pytest.approx(theirs[measure], abs=1e-9), (name, m)
      assert got != pytest.approx(values[f'retrieval/{name}/d{m}'], abs=1e-6)


def test_the_expectation_is_the_mean_over_names_of_the_rows():
  """Other ids give other usual orders, whose mean is what is reported."""
  judged, seen = tied()
  rng = np.random.default_rng(0)
  got = []
  for _ in range(120):
    order = rng.permutation(90)
    ids = np.array([f'{place:02}' for place in order])
    database = Vectors(seen.database.embeddings, None, ids)
    renamed = {
      q: {
        ids[np.flatnonzero(seen.database.ids == r)[0]]: g for r, g in of.items()
      }
      for q, of in judged.items()
    }
    relate = functools.partial(relevance.by_judgement, renamed)
    other = evidence_of(database, seen.queries, (3, 8), relate=relate)
    results, _ = retrieval.Retrieval(k=(5,)).run(other)
    values = {rows.flat_name(row): row['value'] for row in results}
    got.append(values['retrieval/ndcg@5.by_id/d3'])
  error = np.std(got) / np.sqrt(len(got))
  assert abs(np.mean(got) - values['retrieval/ndcg@5/d3']) < 3 * error
  assert error < 0.01


def test_without_ties_and_by_class_there_is_one_order():
  (database, _), (queries, _) = random_vectors(3)
  judged = {q: {q: 1, q + 1: 2} for q in range(23)}
  relate = functools.partial(relevance.by_judgement, judged)
  results, _ = retrieval.Retrieval().run(
    material((database,), (queries,), relate=relate)
  )
  assert not [row for row in results if 'variant' in row]
  results, _ = retrieval.Retrieval().run(material(*adversarial()))
  assert not [row for row in results if 'variant' in row]


def test_each_dim_stands_beside_the_full_width_on_the_same_queries():
  _, seen = judged_evidence(DIMS)
  results, _ = retrieval.Retrieval(k=(10,)).run(seen)
  points = {row['dim']: row for row in results if row['metric'] == 'ndcg'}
  apart = points[4]['per_query'] - points[8]['per_query']
  low, high = intervals.paired_difference(apart)
  assert points[4]['difference'] == pytest.approx(apart.mean())
  assert (points[4]['difference_low'], points[4]['difference_high']) == (
    low,
    high,
  )
  assert points[4]['value'] - points[8]['value'] == pytest.approx(apart.mean())
  assert 'difference' not in points[8]
