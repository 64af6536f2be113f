"""Shortlists, funnels and their costs against full sorts in numpy."""

import numpy as np
import pytest

from mrl_jax.embed import schedules, shortlist
from mrl_jax.embed.schedules import Schedule
from tests.samples.shortlists import WIDTH, exact_of, naive, same, vectors
from tests.samples.vectors import cosines


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
  scores, rows = shortlist.adaptive_top_k(ready, queries, schedule, 10)
  last = schedule.dims[-1] if schedule.dims else schedule.dim
  same(rows, naive(queries, database, schedule, 10), queries, database, last)
  expected = np.take_along_axis(cosines(queries, database, last), rows, 1)
  np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize('dim', [1, 4, WIDTH])
def test_a_shortlist_of_the_whole_database_is_exact_search(dim):
  queries, database = vectors()
  ready = shortlist.Database(database)
  whole = schedules.adaptive(dim, len(database), WIDTH)
  _, rows = shortlist.adaptive_top_k(ready, queries, whole, 10)
  exact = naive(queries, database, Schedule(WIDTH), 10)
  same(rows, exact, queries, database, WIDTH)


def test_a_funnel_of_one_stage_is_adaptive_retrieval():
  ready = shortlist.Database(vectors()[1])
  one = Schedule(4, (60,), (WIDTH,))
  assert one == schedules.adaptive(4, 60, WIDTH)
  queries = vectors()[0]
  twice = Schedule(4, (60, 60), (WIDTH, WIDTH))  # the same rerank again
  np.testing.assert_array_equal(
    shortlist.adaptive_top_k(ready, queries, one, 9)[1],
    shortlist.adaptive_top_k(ready, queries, twice, 9)[1],
  )


def test_the_papers_funnel():
  found = schedules.funnel(16, 2048)
  assert found.keeps == (200, 100, 50, 25, 10)
  assert found.dims == (32, 64, 128, 256, 2048)
  assert schedules.funnel(8, 64).dims == (16, 32, 64, 64, 64)


def test_batches_equal_single_queries(monkeypatch):
  queries, database = vectors()
  ready, schedule = shortlist.Database(database), Schedule(4, (50,), (WIDTH,))
  together = shortlist.adaptive_top_k(ready, queries, schedule, 10)
  monkeypatch.setattr(shortlist, 'SCORES_AT_ONCE', 2000)
  monkeypatch.setattr(shortlist, 'GATHERED_AT_ONCE', 4000)
  apart = [shortlist.adaptive_top_k(ready, q, schedule, 10) for q in queries]
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
    found = shortlist.largest(scores, k)
    np.testing.assert_array_equal(found[1], expected)
    np.testing.assert_array_equal(found[0], scores[expected])


def test_nothing_given_is_reordered():
  queries, database = vectors()
  before = database.copy(), queries.copy()
  ready = shortlist.Database(database)
  rows = np.tile(np.arange(50)[::-1], (len(queries), 1))
  kept = rows.copy()
  shortlist.rerank(ready, queries, rows, 8)
  shortlist.adaptive_top_k(ready, queries, Schedule(4, (50,), (8,)), 5)
  np.testing.assert_array_equal(rows, kept)
  np.testing.assert_array_equal(database, before[0])
  np.testing.assert_array_equal(queries, before[1])


def test_mapped_half_precision_and_zero_rows(tmp_path):
  queries, database = vectors()
  database[7] = 0
  np.save(tmp_path / 'x.npy', database.astype(np.float16))
  mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
  schedule = Schedule(4, (len(database),), (WIDTH,))
  scores, rows = shortlist.adaptive_top_k(
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


def test_what_does_not_fit_is_refused():
  queries, database = vectors()
  ready = shortlist.Database(database)
  with pytest.raises(ValueError, match='k=21 must be from 1 to the 20 rows'):
    shortlist.adaptive_top_k(ready, queries, Schedule(4, (20,), (8,)), 21)
  with pytest.raises(ValueError, match='must not increase'):
    Schedule(4, (20, 30), (8, 16))
  with pytest.raises(ValueError, match='equally many'):
    Schedule(4, (20,), ())
  with pytest.raises(ValueError, match='above 0'):
    Schedule(0)
  with pytest.raises(ValueError, match='dim=64 must be from 1 to the width 32'):
    shortlist.adaptive_top_k(ready, queries, Schedule(64), 1)
