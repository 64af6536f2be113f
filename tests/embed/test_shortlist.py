"""Shortlists, funnels, their costs and choice, and indexes: naive numpy."""

import numpy as np
import pytest

from mrl_jax.embed import indexes, schedules, shortlist
from mrl_jax.embed.schedules import Schedule

WIDTH = 32


def vectors(rows=700, queries=23, seed=0):
  """Clustered rows whose coordinates matter less and less, and duplicates."""
  rng = np.random.default_rng(seed)
  spread = np.arange(1, WIDTH + 1) ** -0.7
  centres = rng.normal(size=(40, WIDTH)) * spread

  def draw(count):
    noise = 0.4 * rng.normal(size=(count, WIDTH)) * spread
    return (centres[rng.integers(0, 40, count)] + noise).astype(np.float32)

  asked, database = draw(queries), draw(rows)
  database[1::50] = database[::50]
  return asked, database


def cosines(queries, database, m):
  q, r = queries[:, :m].astype(np.float64), database[:, :m].astype(np.float64)
  q /= np.linalg.norm(q, axis=1, keepdims=True)
  return q @ (r / np.linalg.norm(r, axis=1, keepdims=True)).T


def naive(queries, database, schedule, k):
  """Stage by stage with full sorts, one query after another."""
  found = []
  for query in queries:
    scores = cosines(query[None], database, schedule.dim)[0]
    kept = np.argsort(-scores.round(7), kind='stable')
    for keep, m in zip(schedule.keeps, schedule.dims):
      some = np.sort(kept[:keep])
      scores = cosines(query[None], database[some], m)[0]
      kept = some[np.argsort(-scores.round(7), kind='stable')]
    found.append(kept[:k])
  return np.array(found)


def same(found, expected, queries, database, m):
  """Equal rows, or rows whose float64 cosines differ by a rounding."""
  scores = cosines(queries, database, m)
  got, want = (np.take_along_axis(scores, x, 1) for x in (found, expected))
  np.testing.assert_allclose(got, want, atol=3e-7)
  assert np.mean(found == expected) > 0.99


@pytest.mark.parametrize(
  'schedule',
  [
    Schedule(4),
    Schedule(4, (50,), (WIDTH,)),
    Schedule(2, (100,), (8,)),
    Schedule(4, (80, 40, 10), (8, 16, WIDTH)),
    Schedule(8, (700,), (WIDTH,)),
  ],
)
def test_every_stage_equals_full_sorts(schedule):
  queries, database = vectors()
  ready = shortlist.Database(database)
  scores, rows = shortlist.search(ready, queries, schedule, 10)
  last = schedule.dims[-1] if schedule.dims else schedule.dim
  same(rows, naive(queries, database, schedule, 10), queries, database, last)
  expected = np.take_along_axis(cosines(queries, database, last), rows, 1)
  np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize('dim', [1, 4, WIDTH])
def test_a_shortlist_of_the_whole_database_is_exact_search(dim):
  queries, database = vectors()
  ready = shortlist.Database(database)
  whole = schedules.adaptive(dim, len(database), WIDTH)
  _, rows = shortlist.search(ready, queries, whole, 10)
  exact = naive(queries, database, Schedule(WIDTH), 10)
  same(rows, exact, queries, database, WIDTH)


def test_a_funnel_of_one_stage_is_adaptive_retrieval():
  ready = shortlist.Database(vectors()[1])
  one = Schedule(4, (60,), (WIDTH,))
  assert one == schedules.adaptive(4, 60, WIDTH)
  queries = vectors()[0]
  twice = Schedule(4, (60, 60), (WIDTH, WIDTH))  # the same rerank again
  np.testing.assert_array_equal(
    shortlist.search(ready, queries, one, 9)[1],
    shortlist.search(ready, queries, twice, 9)[1],
  )


def test_the_papers_funnel():
  found = schedules.funnel(16, 2048)
  assert found.keeps == (200, 100, 50, 25, 10)
  assert found.dims == (32, 64, 128, 256, 2048)
  assert schedules.funnel(8, 64).dims == (16, 32, 64, 64, 64)


def test_batches_equal_single_queries(monkeypatch):
  queries, database = vectors()
  ready, schedule = shortlist.Database(database), Schedule(4, (50,), (WIDTH,))
  together = shortlist.search(ready, queries, schedule, 10)
  monkeypatch.setattr(shortlist, 'SCORES_AT_ONCE', 2000)
  monkeypatch.setattr(shortlist, 'GATHERED_AT_ONCE', 4000)
  apart = [shortlist.search(ready, q, schedule, 10) for q in queries]
  np.testing.assert_array_equal(
    together[1], np.concatenate([x for _, x in apart])
  )
  same(together[1], together[1], queries, database, WIDTH)


@pytest.mark.parametrize('rows', [5, 64, 129, 1000, 5000])
@pytest.mark.parametrize('values', [1, 3, 10**6])
def test_best_equals_sorting_with_ties(rows, values):
  scores = np.random.default_rng(rows).integers(0, values, rows)
  scores = scores.astype(np.float32)
  for k in (1, 5, min(77, rows), rows):
    expected = np.argsort(-scores, kind='stable')[:k]
    found = shortlist.best(scores, k)
    np.testing.assert_array_equal(found[1], expected)
    np.testing.assert_array_equal(found[0], scores[expected])


def test_nothing_given_is_reordered():
  queries, database = vectors()
  before = database.copy(), queries.copy()
  ready = shortlist.Database(database)
  rows = np.tile(np.arange(50)[::-1], (len(queries), 1))
  kept = rows.copy()
  shortlist.rerank(ready, queries, rows, 8)
  shortlist.search(ready, queries, Schedule(4, (50,), (8,)), 5)
  np.testing.assert_array_equal(rows, kept)
  np.testing.assert_array_equal(database, before[0])
  np.testing.assert_array_equal(queries, before[1])


def test_mapped_half_precision_and_zero_rows(tmp_path):
  queries, database = vectors()
  database[7] = 0
  np.save(tmp_path / 'x.npy', database.astype(np.float16))
  mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
  schedule = Schedule(4, (len(database),), (WIDTH,))
  scores, rows = shortlist.search(
    shortlist.Database(mapped), queries, schedule, len(database)
  )
  assert np.isfinite(scores).all()
  assert (scores[rows == 7] == 0).all()


def test_multiply_adds_by_the_papers_count():
  # Section 4.3.1: 1.28M rows at 16, then 200 at 2048, against 2048 alone.
  schedule = schedules.adaptive(16, 200, 2048)
  rows, exact = 1_281_167, Schedule(2048)
  whole = schedules.mflops(exact, rows)
  assert whole / schedules.mflops(schedule, rows, rerank=False) == 128
  assert round(whole / schedules.mflops(schedule, rows), 1) == 125.5
  funnel = Schedule(8, (200, 100), (16, 32))
  assert schedules.mflops(funnel, 1000) == (8000 + 3200 + 3200) / 1e6


def exact_of(queries, database, k):
  scores = cosines(queries, database, WIDTH)
  rows = np.argsort(-scores, kind='stable')[:, :k]
  return np.take_along_axis(scores, rows, 1).astype(np.float32), rows


def test_recall_counts_ties_with_the_last_as_found():
  queries, database = vectors()
  database = np.concatenate([database, database[:1]])
  ready = shortlist.Database(database)
  near = database[:1] + 1e-3
  exact = exact_of(near, database, 1)
  assert exact[1][0, 0] == 0
  assert shortlist.recall(ready, near, np.array([[700]]), exact) == [1]
  other = np.array([[13]])
  assert shortlist.recall(ready, near, other, exact) == [0]
  exact = exact_of(queries, database, 10)
  assert (shortlist.recall(ready, queries, exact[1], exact) == 1).all()
  half = np.concatenate(
    [exact[1][:, :5], exact_of(-queries, database, 5)[1]], 1
  )
  assert (shortlist.recall(ready, queries, half, exact) == 0.5).all()
  last = exact_of(database[:1], database, len(database))  # row 700 is found
  none = np.full((1, len(database)), -1)
  assert shortlist.recall(ready, database[:1], none, last) == [0]


def test_the_best_schedule_within_a_budget_is_chosen():
  queries, database = vectors(queries=40)
  ready = shortlist.Database(database)
  exact = exact_of(queries, database, 10)
  tried = schedules.candidates((4, 8, 16, WIDTH), 10, len(database))
  budget = 0.009
  chosen = shortlist.choose_schedule(ready, queries, exact, tried, budget)
  recalls = {}
  for one in tried:
    if schedules.mflops(one, len(database)) <= budget:
      rows = naive(queries, database, one, 10)
      recalls[one] = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(rows, exact[1])]
      )
  assert len(recalls) > 5 and min(recalls.values()) < max(recalls.values())
  assert chosen.schedule in recalls and chosen.mflops <= budget
  assert abs(chosen.recall - max(recalls.values())) < 0.01  # duplicates tie
  rich = shortlist.choose_schedule(ready, queries, exact, tried)
  assert rich.recall >= chosen.recall


def test_a_budget_of_time_leaves_slow_schedules_out():
  queries, database = vectors()
  ready = shortlist.Database(database)
  exact = exact_of(queries, database, 10)
  tried = [Schedule(4, (20,), (WIDTH,)), Schedule(16, (600,), (WIDTH,))]
  ticks = iter([0, 1, 10, 30])
  chosen = shortlist.choose_schedule(
    ready, queries, exact, tried, budget_seconds=1.5 / len(queries),
    clock=lambda: next(ticks),
  )  # fmt: skip
  assert chosen.schedule == tried[0]
  assert chosen.seconds == 1 / len(queries)


def test_what_does_not_fit_is_refused():
  queries, database = vectors()
  ready = shortlist.Database(database)
  with pytest.raises(ValueError, match='k=21 must be from 1 to the 20 rows'):
    shortlist.search(ready, queries, Schedule(4, (20,), (8,)), 21)
  with pytest.raises(ValueError, match='must not increase'):
    Schedule(4, (20, 30), (8, 16))
  with pytest.raises(ValueError, match='equally many'):
    Schedule(4, (20,), ())
  with pytest.raises(ValueError, match='above 0'):
    Schedule(0)
  with pytest.raises(ValueError, match='dim=64 must be from 1 to the width 32'):
    shortlist.search(ready, queries, Schedule(64), 1)
  with pytest.raises(ValueError, match='no schedule is within 1e-09 MFLOPs'):
    shortlist.choose_schedule(
      ready, queries, exact_of(queries, database, 5), [Schedule(4)], 1e-9
    )


@pytest.mark.parametrize('kind', indexes.KINDS)
def test_indexes_find_and_rerank(kind):
  queries, database = vectors()
  ready = shortlist.Database(database)
  index = indexes.build(ready, 8, kind, probes=4)
  again = indexes.build(ready, 8, kind, probes=4)
  scores, rows = indexes.search(index, ready, queries, 100, 10)
  np.testing.assert_array_equal(
    rows, indexes.search(again, ready, queries, 100, 10)[1]
  )
  assert index.bytes >= ready.index_bytes(8) and index.bytes == again.bytes
  expected = np.take_along_axis(cosines(queries, database, WIDTH), rows, 1)
  np.testing.assert_allclose(scores, expected, atol=1e-6)
  exact = exact_of(queries, database, 10)
  reached = shortlist.recall(ready, queries, rows, exact).mean()
  wanted = naive(queries, database, Schedule(8, (100,), (WIDTH,)), 10)
  most = shortlist.recall(ready, queries, wanted, exact).mean()
  if kind == 'flat':
    same(rows, wanted, queries, database, WIDTH)
  assert reached > most - 0.1


def test_rows_an_index_does_not_find_come_last():
  queries, database = vectors()
  ready = shortlist.Database(database)
  index = indexes.build(ready, 8, 'ivf', cells=17, probes=1)
  scores, rows = indexes.search(index, ready, queries, 600, 500)
  lacking = rows < 0
  assert lacking.any() and not lacking[:, 0].any()
  assert (np.diff(lacking.astype(int), axis=1) >= 0).all()
  assert np.isneginf(scores[lacking]).all()
  expected = np.take_along_axis(cosines(queries, database, WIDTH), rows, 1)
  np.testing.assert_allclose(scores[~lacking], expected[~lacking], atol=1e-6)
  assert all(len(set(r[r >= 0])) == sum(r >= 0) for r in rows)


def test_unknown_index_and_faiss_that_is_missing(monkeypatch):
  ready = shortlist.Database(vectors()[1])
  with pytest.raises(ValueError, match="kind='lsh' must be one of flat, hnsw"):
    indexes.build(ready, 8, 'lsh')
  monkeypatch.setitem(__import__('sys').modules, 'faiss', None)
  with pytest.raises(ValueError, match='pip install faiss-cpu'):
    indexes.build(ready, 8, 'flat')
