"""Retrieval measures against ir-measures (trec_eval) and against loops."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, nDCG

from mrl_jax import rows, sharding
from mrl_jax.embed import evidence
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import retrieval

DIMS = (4, 6, 8)


def material(database, queries, dims=DIMS):
  splits = {'train': Vectors(*database), 'validation': Vectors(*queries)}
  return evidence.Evidence(
    dims=dims, trained=dims, mesh=sharding.make_mesh(), embed=splits.get
  )


def random_vectors(seed=0, rows=160, queries=23, classes=7):
  rng = np.random.default_rng(seed)
  made = []
  for n in (rows, queries):
    labels = rng.integers(0, classes, n)
    made.append((rng.normal(size=(n, 8)).astype(np.float32), labels))
  return made


def adversarial():
  """Duplicates and ties, huge class ids, queries without a relevant row."""
  (database, labels), (queries, asked) = random_vectors(1)
  database[10:60] = database[10]
  database[60:80] = database[60]
  queries[:4] = database[10]
  names = np.array([3, 65_536, 65_537, 131_072, 2**40, 2**40 + 1, 9])
  asked = names[asked]
  asked[5:8] = 77  # no such class in the database
  return (database, names[labels]), (queries, asked)


def oracle(database, queries, m, ks):
  """trec_eval's values, fed with a ranking sorted in float64."""
  (x, labels), (z, asked) = database, queries

  def unit(v):
    v = v[:, :m].astype(np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)

  # Not a matrix product: equal rows must score equally, to the last bit.
  scores = np.sum(unit(z)[:, None] * unit(x)[None], axis=-1)
  ranking = np.argsort(-scores, axis=1, kind='stable')
  qrels, run = [], []
  for q in range(len(z)):
    for r in range(len(x)):
      same = int(labels[r] == asked[q])
      qrels.append(ir_measures.Qrel(str(q), str(r), same))
    for place, r in enumerate(ranking[q]):
      run.append(ir_measures.ScoredDoc(str(q), str(r), -float(place)))
  wanted = [measure @ k for measure in (P, R, AP, nDCG, RR) for k in ks]
  found = {}
  for value in ir_measures.iter_calc(wanted, qrels, run):
    found[str(value.measure), int(value.query_id)] = value.value
  return found


@pytest.mark.parametrize('make', [random_vectors, adversarial])
def test_every_measure_equals_trec_eval(make):
  database, queries = make()
  ks = (5, 40)
  results, _ = retrieval.Retrieval(k=ks).run(material(database, queries))
  values = {rows.flat_name(row): row['value'] for row in results}
  total = retrieval.count_relevant(database[1], queries[1])
  count = len(queries[1])
  for m in DIMS:
    found = oracle(database, queries, m, ks)
    for k in ks:

      def mean(name, scale=1.0, k=k, found=found):
        each = [found[f'{name}@{k}', q] for q in range(count)]
        return np.mean(np.array(each) * scale)

      # trec_eval divides average precision by R; ours by k, or by min(k, R).
      scale = total / np.maximum(np.minimum(k, total), 1)
      expected = {
        'p': mean('P'),
        'r': mean('R'),
        'ndcg': mean('nDCG'),
        'mrr': mean('RR'),
        'map': mean('AP', total / k),
        'map_min': mean('AP', scale),
      }
      for name, value in expected.items():
        got = values[f'retrieval/{name}@{k}/d{m}']
        assert abs(got - value) < 1e-6, (name, k, m)
  without = {row['without_relevant'] for row in results}
  assert without == ({3} if make is adversarial else {0})


def test_average_precision_by_hand():
  relevant = np.array([[True, False, True, False]])
  found = retrieval.measures(relevant, np.array([2]))
  assert found['map'][0] == pytest.approx((1 + 2 / 3) / 4)
  assert found['map_min'][0] == pytest.approx((1 + 2 / 3) / 2)
  assert found['p'][0] == 0.5 and found['r'][0] == 1 and found['mrr'][0] == 1
  ideal = 1 + 1 / np.log2(3)
  assert found['ndcg'][0] == pytest.approx((1 + 1 / 2) / ideal)
  nothing = retrieval.measures(np.zeros((1, 4), bool), np.array([0]))
  assert all(value[0] == 0 for value in nothing.values())


def test_recall_is_of_all_relevant_rows_and_top1_of_the_first():
  database, queries = random_vectors(2)
  results, _ = retrieval.Retrieval(k=(160,)).run(material(database, queries))
  values = {rows.flat_name(row): row['value'] for row in results}
  for m in DIMS:
    assert values[f'retrieval/r@160/d{m}'] == 1  # the whole database
  x, z = database[0], queries[0]
  unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (z, x)]
  nearest = database[1][(unit[0] @ unit[1].T).argmax(1)]
  assert values['retrieval/top1/d8'] == np.mean(nearest == queries[1])


def test_depths_that_do_not_fit():
  database, queries = random_vectors(rows=30)
  seen = material(database, queries)
  rows, _ = retrieval.Retrieval().run(seen)
  assert {row.get('k', 10) for row in rows} == {10, 25}
  with pytest.raises(ValueError, match='k=40 exceeds the 30 database rows'):
    retrieval.Retrieval(k=(10, 40)).run(seen)
  with pytest.raises(ValueError, match='that increase'):
    retrieval.Retrieval(k=(25, 10))
