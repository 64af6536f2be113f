"""The `search` rows against naive recall, and the times beside them."""

import json
import types

import jax
import numpy as np
import pytest

from mrl_jax import errors, rows, sharding
from mrl_jax.embed import exact, relevance, schedules, shortlist
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import search
from mrl_jax.evaluators.search import Search, methods, tuning
from tests.samples.shortlists import WIDTH, exact_of, naive, vectors
from tests.samples.vectors import cosines, evidence_of


def material(rows=600, queries=80, labels=True, dims=(4, 8, 32)):
  rng = np.random.default_rng(1)
  spread = np.arange(1, 33) ** -0.8
  centres = rng.normal(size=(30, 32)) * spread
  classes = rng.integers(0, 30, rows + queries) + 70_000
  noise = 0.5 * rng.normal(size=(rows + queries, 32)) * spread
  x = (centres[classes - 70_000] + noise).astype(np.float32)
  x[3] = x[9] = x[0]
  database, asked = (
    Vectors(x[part], classes[part] if labels else None)
    for part in (slice(rows), slice(rows, None))
  )
  one = sharding.make_mesh(devices=jax.devices()[:1])
  return evidence_of(database, asked, dims, mesh=one)


def test_rows_equal_naive_recall_on_the_reported_half():
  seen = material()
  results, details = Search(shortlist=40, k=5).run(seen)
  half = np.random.default_rng(0).permutation(80)[40:]
  queries = seen.queries.embeddings[half]
  labels = seen.queries.labels[half]
  full = cosines(queries, seen.database.embeddings, 32)
  last = -np.sort(-full, axis=1)[:, 4:5]
  good = full >= last - 1e-6
  found = {(r['metric'], r['variant'], r['dim']): r for r in results}
  for m in (4, 8, 32):
    scores = cosines(queries, seen.database.embeddings, m).round(7)
    order = np.argsort(-scores, axis=1, kind='stable')
    hits = np.take_along_axis(good, order[:, :5], 1).mean()
    one = found['recall', 'prefix', m]
    assert abs(one['value'] - hits) < 1e-9
    assert one['n'] == 40 and one['k'] == 5
    assert one['mflops'] == one['mflops_shortlist'] == 600 * m / 1e6
    assert one['bytes'] == 4 * 600 * m
    top1 = (seen.database.labels[order[:, 0]] == labels).mean()
    assert found['top1', 'prefix', m]['value'] == top1
    if m < 32:
      kept = np.zeros_like(good)
      np.put_along_axis(kept, order[:, :40], True, axis=1)
      best = np.argsort(-np.where(kept, full, -2), axis=1)[:, :5]
      one = found['recall', 'ar', m]
      hits = np.take_along_axis(good, best, 1).mean()
      assert abs(one['value'] - hits) < 1e-9
      assert one['mflops'] == (600 * m + 40 * 32) / 1e6
  assert found['recall', 'prefix', 32]['value'] == 1
  assert found['recall', 'device', 32]['value'] == 1
  assert found['recall', 'device', 32]['mflops'] == 600 * 32 / 1e6
  chosen = [r for r in results if r['variant'] == 'funnel_auto']
  assert len(chosen) == 2 and chosen[0]['mflops'] <= 600 * 32 / 4e6
  variants = {r['variant'] for r in results}
  assert variants == {
    'prefix', 'ar', 'funnel', 'funnel_auto', 'device'
  }  # fmt: skip
  names = [rows.flat_name(r) for r in results]
  assert len(set(names)) == len(names)
  json.dumps(details)
  assert len(details['methods']) == len(results) / 2
  assert details['queries'] == details['tuning_queries'] == 40


def test_rows_repeat_exactly_and_hold_no_times():
  one, two = (Search(k=5).run(material())[0] for _ in range(2))
  assert one == two
  assert not any('seconds' in key for row in one for key in row)


def test_small_databases_single_queries_and_no_labels():
  seen = material(rows=12, queries=1, labels=False)
  rows, details = Search(shortlist=500, k=12).run(seen)
  assert details['shortlist'] == 12
  assert 'one query' in details['left_out']['funnel_auto']
  assert {r['metric'] for r in rows} == {'recall'}
  assert all(r['value'] == 1 for r in rows)  # all twelve are asked for
  with pytest.raises(
    errors.UsageError, match='eval.search.k=13 exceeds the 12'
  ):
    Search(k=13, shortlist=20).run(seen)
  with pytest.raises(errors.UsageError, match=r'dims=\(5,\): 5 is not'):
    Search(k=3, dims=(5,)).run(seen)
  with pytest.raises(ValueError, match='k=10 must be from 1 to shortlist=9'):
    Search(shortlist=9, k=10)
  assert Search(shortlist=9).run(seen)[1]['k'] == 9  # nothing was asked for
  only = material(rows=12, queries=4, dims=(32,))
  rows, details = Search(k=3).run(only)
  assert {r['variant'] for r in rows} == {'prefix', 'device'}


def test_reported_queries_are_not_those_that_choose(monkeypatch):
  seen, given = material(), []
  choose = tuning.best_schedule

  def spy(ready, queries, exact, *rest):
    given.extend([queries, exact])
    return choose(ready, queries, exact, *rest)

  monkeypatch.setattr(tuning, 'best_schedule', spy)
  Search(k=5).run(seen)
  chose, reported = np.split(np.random.default_rng(0).permutation(80), 2)
  assert not set(chose) & set(reported)
  np.testing.assert_array_equal(given[0], seen.queries.embeddings[chose])
  full = cosines(given[0], seen.database.embeddings, 32)
  np.testing.assert_allclose(
    given[1][0], -np.sort(-full, axis=1)[:, :5], atol=1e-6
  )


def test_a_time_is_the_least_of_what_fits_into_a_second(monkeypatch):
  now = iter([0.0, 0.3, 1.0, 1.1, 2.0, 2.9])
  monkeypatch.setattr(search.time, 'perf_counter', lambda: next(now))
  assert search.least_seconds(lambda: None) == pytest.approx(0.1)
  now = iter(range(0, 100, 10))
  assert search.least_seconds(lambda: None) == 10 and next(now) == 20


def test_what_is_compiled_first_is_not_in_a_time(monkeypatch):
  clock, seen_before = [0.0], set()

  def find(queries):
    clock[0] += 0.01 if queries.shape in seen_before else 30.0
    seen_before.add(queries.shape)
    return np.zeros((len(queries), 5), int)

  monkeypatch.setattr(search.time, 'perf_counter', lambda: clock[0])
  seen = search.make_trial(material(), 80, 5)
  method = methods.Method('any', 32, find, 1.0, 1.0, 1)
  _, described = search.measured(method, seen)
  assert described['milliseconds_single'] == pytest.approx(10)
  assert described['milliseconds_batch'] == pytest.approx(10 / 40)


@pytest.mark.parametrize(('dtype', 'size'), [('f2', 2), ('f4', 4), ('f8', 4)])
def test_bytes_are_those_that_a_device_keeps(dtype, size):
  ready = shortlist.Database(np.ones((24, 32), dtype))
  rows = exact.Resident(ready.embeddings, (32,), sharding.make_mesh())
  kept = sum(slab.rows.nbytes for slab in rows.slabs)
  assert methods.device_bytes(ready) == kept == 24 * 32 * size


def test_on_a_tpu_the_approximate_search_runs_too(monkeypatch):
  asked = []
  top_k = exact.Resident.top_k

  def spy(self, queries, k, approximate=False):
    asked.append(approximate)
    return top_k(self, queries, k, approximate)

  monkeypatch.setattr(exact.Resident, 'top_k', spy)
  monkeypatch.setattr(methods.sharding, 'platform', lambda mesh: 'tpu')
  rows, details = Search(k=5).run(material())
  found = {r['variant']: r for r in rows if r['metric'] == 'recall'}
  assert found['device']['value'] == 1
  assert found['device_approximate']['value'] > 0.95
  assert set(asked) == {False, True}
  assert [m['about'] for m in details['methods'][:2]] == [
    'all rows at 32, 1 x tpu'
  ] * 2


def test_rows_that_a_device_cannot_keep_are_left_out(monkeypatch):
  ready = shortlist.Database(np.ones((600, 32), np.float32))

  def mesh(limit, devices=1):
    stats = None if limit is None else {'bytes_limit': limit}
    device = types.SimpleNamespace(memory_stats=lambda: stats)
    return types.SimpleNamespace(
      devices=np.array([device] * devices), size=devices
    )

  needed = 600 * 32 * 4
  assert not methods.crowded(ready, mesh(None))
  assert not methods.crowded(ready, mesh(2 * needed))
  assert not methods.crowded(ready, mesh(needed, devices=2))
  assert 'exceed 50% of its memory' in methods.crowded(ready, mesh(needed))
  seen = material()
  monkeypatch.setattr(methods.jax, 'process_count', lambda: 2)
  rows, details = Search(k=5).run(seen)
  assert 'device' not in {r['variant'] for r in rows}
  assert 'wait for each other' in details['left_out']['device']


def test_the_best_schedule_within_a_budget_is_chosen():
  queries, database = vectors(queries=40)
  ready = shortlist.Database(database)
  exact = exact_of(queries, database, 10)
  tried = tuning.candidates((4, 8, 16, WIDTH), 10, len(database))
  budget = 0.009
  chosen = tuning.best_schedule(ready, queries, exact, tried, budget)
  recalls = {}
  for one in tried:
    if schedules.mflops(one, len(database)) <= budget:
      rows = naive(queries, database, one, 10)
      recalls[one] = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(rows, exact[1])]
      )
  assert len(recalls) > 5 and min(recalls.values()) < max(recalls.values())
  # Duplicates tie.
  assert abs(recalls[chosen] - max(recalls.values())) < 0.01
  rich = tuning.best_schedule(ready, queries, exact, tried)
  best, reached = (
    shortlist.recall(ready, queries, rows, exact).mean()
    for rows in (naive(queries, database, one, 10) for one in (rich, chosen))
  )
  assert best >= reached
  with pytest.raises(ValueError, match='no schedule is within 1e-09 MFLOPs'):
    tuning.best_schedule(ready, queries, exact, tried, 1e-9)
  with pytest.raises(ValueError, match='no dimension to shortlist by'):
    tuning.best_schedule(ready, queries, exact, [])


def test_partners_are_what_top1_counts():
  """Without labels: 30 of 40 queries are copies of their own row."""
  x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
  asked = np.concatenate([x[:30], np.roll(x[30:], 1, axis=0)])
  mesh = sharding.make_mesh(devices=jax.devices()[:1])
  seen = evidence_of(
    Vectors(x), Vectors(asked), (4, 8), mesh=mesh, relate=relevance.by_pair
  )
  results, _ = Search(k=5).run(seen)
  reported = np.random.default_rng(0).permutation(40)[20:]
  top1 = [row['value'] for row in results if row['metric'] == 'top1']
  assert set(top1) == {np.mean(reported < 30)} != {1.0}
