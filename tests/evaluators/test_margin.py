"""`margin` against a loop; no query chooses the rule that reports it."""

import functools
import json

import numpy as np
import pytest

from mrl_jax import intervals
from mrl_jax.embed import relevance
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import margin, retrieval
from tests.samples.vectors import cosines, evidence_of, judged_evidence

DIMS = (8, 32, 64)


def halves(count):
  order = np.random.default_rng(0).permutation(count)
  return order[: count // 2], order[count // 2 :]


def material(count=120):
  """Queries that 8 dims answer for sure, and as many that need all 64."""
  rng = np.random.default_rng(0)
  database = rng.normal(size=(90, 64)).astype(np.float32)
  wanted = rng.integers(0, 90, count)
  asked = database[wanted] + 0.05 * rng.normal(size=(count, 64))
  asked[::2, :32] = rng.normal(size=(count, 64))[::2, :32]
  asked[::2, 32:] *= 2
  qrels = {q: {int(row): 1} for q, row in enumerate(wanted)}
  relate = functools.partial(relevance.by_judgement, qrels)
  sides = Vectors(database), Vectors(asked.astype(np.float32))
  return evidence_of(*sides, DIMS, relate=relate)


def evaluated(count=120, **options):
  seen = material(count)
  results, details = margin.Margin(**options).run(seen)
  assert json.loads(json.dumps(details)) == details
  return seen, {row['budget']: row for row in results}, details


def test_rows_are_what_a_loop_over_the_other_half_finds():
  seen, found, details = evaluated()
  _, reported = halves(120)
  values = {
    row['dim']: row['per_query']
    for row in retrieval.Retrieval(k=(10,)).run(seen)[0]
    if row['metric'] == 'ndcg'
  }
  assert set(found) == {32, 64}
  for budget, row in found.items():
    rule = details['rules'][str(budget)]
    first, then = rule['first'], rule['then']
    scores = np.sort(
      cosines(seen.queries.embeddings, seen.database.embeddings, first), axis=1
    )
    got, cost, last = [], [], []
    for q in reported:
      sure = first == then or (
        scores[q, -1] - scores[q, -rule['rank']] > rule['cut'] + 1e-7
      )
      got.append(values[first if sure else then][q])
      cost.append(first if sure else first + then)
      last.append(first if sure else then)
    assert row['value'] == pytest.approx(np.mean(got), abs=1e-9)
    assert row['cumulative'] == pytest.approx(np.mean(cost))
    assert row['expected_dim'] == pytest.approx(np.mean(last), abs=0.01)
    assert (row['n'], row['dim'], row['k']) == (60, 64, 10)
    for name, m in (('to_fixed', budget), ('to_full', 64)):
      apart = np.array(got) - values[m][reported]
      low, high = intervals.paired_difference(apart)
      ours = [row[name], row[f'{name}_low'], row[f'{name}_high']]
      assert ours == pytest.approx([apart.mean(), low, high], abs=1e-9)
    assert row['fixed'] == pytest.approx(values[budget][reported].mean())
  assert found[32]['first'] < found[32]['expected_dim'] < 64
  points = {point['dim']: point['value'] for point in details['fixed']}
  assert points[8] == pytest.approx(values[8][reported].mean())


def test_a_rule_keeps_its_budget_and_is_the_best_within_it():
  """By brute force over every pair of dims, rank and cut of the tuning half."""
  rng = np.random.default_rng(1)
  values = rng.random((3, 20)).round(2) * np.array([[0.6], [0.8], [1]])
  tables = margin.Tables(
    DIMS, 'ndcg', 10, (2, 10), values, rng.random((3, 2, 20))
  )
  rules = margin.chosen(tables)
  for budget in (32, 64):
    best = max(v.mean() for m, v in zip(DIMS, values) if m <= budget)
    for a in range(3):
      for b in range(a + 1, 3):
        for margins in tables.margins[a]:
          for cut in margins:
            stops = margins > cut
            cost = np.where(stops, DIMS[a], DIMS[a] + DIMS[b]).mean()
            if cost <= budget:
              best = max(best, np.where(stops, values[a], values[b]).mean())
    got, cost, _ = tables.outcome(rules[budget])
    assert got.mean() == pytest.approx(best) and cost.mean() <= budget


def test_queries_that_are_reported_choose_nothing():
  seen = material()
  tuned, reported = halves(120)
  turned = seen.queries.embeddings.copy()
  turned[reported] = turned[reported][:, ::-1]
  other = evidence_of(
    seen.database,
    Vectors(turned),
    DIMS,
    relate=seen.relate,
  )
  evaluator = margin.Margin()
  rules = [evaluator.run(it)[1]['rules'] for it in (seen, other)]
  assert rules[0] == rules[1]
  turned[tuned] = turned[tuned][:, ::-1]
  assert evaluator.run(other)[1]['rules'] != rules[0]


def test_by_class_the_measure_is_top1():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 90)
  x = rng.normal(size=(90, 64)).astype(np.float32)
  x[:, 3:6] += 2 * np.eye(3)[labels]
  sides = Vectors(x[:60], labels[:60]), Vectors(x[60:], labels[60:])
  results, details = margin.Margin().run(evidence_of(*sides, DIMS))
  assert {(row['metric'], row.get('k')) for row in results} == {('top1', None)}
  _, reported = halves(30)
  same = labels[:60] == labels[60:, None]
  first = cosines(x[60:], x[:60], 64).argmax(axis=1)[reported]
  assert details['fixed'][-1]['value'] == np.mean(same[reported, first])


def test_few_queries_one_dim_and_few_rows():
  _, seen = judged_evidence(DIMS, queries=5)
  assert 'needs 8 queries' in margin.Margin().run(seen)[1]['text']
  _, seen = judged_evidence((64,))
  assert margin.Margin().run(seen) == ([], {})
  _, seen = judged_evidence(DIMS, rows=3, queries=20)
  results, details = margin.Margin().run(seen)
  assert details['k'] == 3 and len(results) == 2
  with pytest.raises(ValueError, match='k=0 must be'):
    margin.Margin(k=0)
