"""Exact search over slabs, chunks, blocks and groups; the `search` rows."""

import json
import sys
import tracemalloc
import types

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mrl_jax import chips, costs, errors, rows, sharding
from mrl_jax.embed import evidence, schedules, search, selection, shortlist
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import search as timing
from mrl_jax.evaluators.search import Search

DIMS = (4, 6, 16)


@pytest.fixture
def small(monkeypatch):
  """Every level of the search in use at a few hundred rows."""
  for name, value in {
    'ROWS_AT_ONCE': 200,
    'QUERIES_AT_ONCE': 8,
    'SCORES_AT_ONCE': 8 * 3 * 100,
    'LENGTHS_AT_ONCE': 64,
  }.items():
    monkeypatch.setattr(search, name, value)
  monkeypatch.setattr(selection, 'GROUP', 4)
  search.program.cache_clear()
  search.measuring.cache_clear()


@pytest.fixture
def one():
  return sharding.make_mesh(devices=jax.devices()[:1])


def whole_numbers(rows, queries=19, seed=0, width=16):
  """Vectors whose scores are exact in float32 and tie in plenty.

  Entries are -1 or 1, so that all prefixes of a width are equally long.
  """
  rng = np.random.default_rng(seed)
  made = rng.choice([-1.0, 1.0], (queries + rows, width))
  return made[:queries].astype(np.float32), made[queries:].astype(np.float32)


def sorted_rows(queries, database, m, k):
  """Rows by exact integer products; equal ones by row."""
  products = queries[:, :m].astype(int) @ database[:, :m].astype(int).T
  return np.argsort(-products, axis=1, kind='stable')[:, :k]


@pytest.mark.parametrize('size', [1e-8, 1e-10])
def test_prefixes_much_smaller_than_their_row(one, size):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((330, 24))
  x[:, :8] *= size * 10.0 ** rng.uniform(-1, 1, (330, 1))
  x = x.astype(np.float32)
  queries, database = x[:30], x[30:]
  ready = shortlist.Database(database)
  scores, rows = search.nested_top_k(queries, database, (8, 24), 5, one)
  for g, m in enumerate((8, 24)):
    a, b = (
      z[:, :m].astype(float)
      / np.linalg.norm(z[:, :m].astype(float), axis=1, keepdims=True)
      for z in (queries, database)
    )
    order = np.argsort(-(a @ b.T), axis=1)[:, :5]
    np.testing.assert_array_equal(rows[g], order)
    best = np.take_along_axis(a @ b.T, order, 1)
    np.testing.assert_allclose(scores[g], best, atol=1e-6)
    plan = schedules.Schedule(m)
    found = shortlist.search(ready, queries, plan, 5)[1]
    np.testing.assert_array_equal(found, order)


@pytest.mark.parametrize(
  ('devices', 'rows', 'k'),
  [(1, 1003, 1), (1, 430, 60), (8, 1003, 7), (8, 27, 27)],
)
def test_ties_keep_the_smaller_row_everywhere(small, devices, rows, k):
  queries, database = whole_numbers(rows)
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  scores, found = search.nested_top_k(queries, database, DIMS, k, mesh)
  for g, m in enumerate(DIMS):
    expected = sorted_rows(queries, database, m, k)
    np.testing.assert_array_equal(found[g], expected)
    products = np.einsum(
      'qm,qkm->qk', queries[:, :m], database[expected][..., :m]
    )
    np.testing.assert_allclose(scores[g], products / m, atol=1e-6)


@pytest.mark.parametrize('kind', ['float16', 'mapped'])
def test_any_float_type_in_memory_or_mapped(small, one, tmp_path, kind):
  queries, database = whole_numbers(500)
  if kind == 'mapped':
    np.save(tmp_path / 'x.npy', database)
    given = np.load(tmp_path / 'x.npy', mmap_mode='r')
  else:
    given, queries = database.astype(kind), queries.astype(kind)
  _, found = search.nested_top_k(queries, given, DIMS, 9, one)
  for g, m in enumerate(DIMS):
    expected = sorted_rows(queries, database, m, 9)
    np.testing.assert_array_equal(found[g], expected)


def test_a_mapped_database_is_never_copied_whole(one, tmp_path, monkeypatch):
  monkeypatch.setattr(search, 'ROWS_AT_ONCE', 2048)
  database = np.random.default_rng(0).normal(size=(40_000, 64))
  np.save(tmp_path / 'x.npy', database.astype(np.float32))
  mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
  queries = database[:3].astype(np.float32)
  search.nested_top_k(queries, mapped, (64,), 5, one)
  tracemalloc.start()
  _, found = search.nested_top_k(queries, mapped, (64,), 5, one)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert (np.asarray(found)[0, :, 0] == [0, 1, 2]).all()
  assert peak < mapped.nbytes / 4


def test_a_search_is_compiled_once(small, one):
  queries, database = whole_numbers(530)
  search.nested_top_k(queries, database, DIMS, 3, one)
  before = search.program.cache_info().misses
  compiled = search.program(one, DIMS, 3, False)
  assert search.program.cache_info().misses == before
  search.nested_top_k(queries, database[::-1], DIMS, 3, one)
  assert compiled._cache_size() == 1  # three slabs, two searches


@pytest.mark.parametrize('devices', [1, 8])
def test_resident_rows_are_read_once(small, monkeypatch, devices):
  queries, database = whole_numbers(530)
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  resident = search.Resident(database, DIMS, mesh)
  assert len(resident.slabs) == 3 and len(resident) == 530
  monkeypatch.setattr(search, 'stream', None)
  monkeypatch.setattr(search, 'measuring', None)
  for count, k in ((19, 7), (1, 60), (3, 530)):
    scores, found = resident.top_k(queries[:count], k)
    for g, m in enumerate(DIMS):
      expected = sorted_rows(queries[:count], database, m, k)
      np.testing.assert_array_equal(found[g], expected)
      best = np.einsum(
        'qm,qkm->qk', queries[:count, :m], database[expected][..., :m]
      )
      np.testing.assert_allclose(scores[g], best / m, atol=1e-6)
  with pytest.raises(ValueError, match='k=531 must be from 1 to the 530 rows'):
    resident.top_k(queries, 531)
  with pytest.raises(ValueError, match='queries are 15 wide, the database 16'):
    resident.top_k(queries[:, :15], 3)


def struct(shape, dtype, mesh, *axes):
  where = NamedSharding(mesh, PartitionSpec(*axes))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=where)


@pytest.mark.parametrize('approximate', [False, True])
def test_compiles_for_tpu_and_sends_the_best_only(approximate):
  pytest.importorskip('libtpu')
  mesh = sharding.make_mesh(devices=chips.devices('v5e:2x2'))
  dims, k, queries, split = (8, 64, 256), 10, 256, mesh.axis_names
  slab = search.slab_rows(500_000, mesh.size)
  chunk = search.chunk_rows(slab // mesh.size, queries, len(dims))
  best = 2, len(dims), queries, k
  program = search.program(mesh, dims, k, approximate)
  compiled = program.lower(
    struct((2, 256, queries), np.float32, mesh),
    search.Slab(
      struct((3,), np.int32, mesh),
      struct((slab, 256), np.float32, mesh, split),
      struct((len(dims), slab), np.float32, mesh, None, split),
    ),
    struct(best, np.float32, mesh),
    struct(best, np.int32, mesh),
  ).compile()
  text = compiled.as_text()
  assert ('PartialReduce' in text) == approximate
  sent = {kind: m for kind, m in costs.collectives(text).items() if m['count']}
  one = len(dims) * queries * k * 8  # scores and rows
  assert sent == {'all-gather': {'count': 2, 'bytes': mesh.size * one}}
  scores, memory = 4 * len(dims) * queries * chunk, compiled.memory_analysis()
  # One chunk's scores, and none at all where each is looked at only once.
  most = scores / 4 if approximate else 1.5 * scores
  assert memory.temp_size_in_bytes < most


def test_zero_rows_and_zero_queries_score_zero(small, one):
  queries, database = whole_numbers(300)
  database[5], queries[2] = 0, 0
  scores, found = search.nested_top_k(queries, database, DIMS, 300, one)
  scores, found = np.asarray(scores), np.asarray(found)
  assert np.isfinite(scores).all()
  assert (scores[found == 5] == 0).all()
  assert (found[:, 2] == np.arange(300)).all()
  assert (np.sort(found, axis=-1) == np.arange(300)).all()


@pytest.mark.parametrize('total', [1, 5, 13, 199, 200, 70_000, 10**6])
@pytest.mark.parametrize('devices', [1, 3, 8])
@pytest.mark.parametrize(('tile', 'prefixes'), [(1, 1), (256, 9)])
def test_slabs_and_chunks_cover_all_and_little_twice(
  total, devices, tile, prefixes
):
  slab = search.slab_rows(total, devices)
  share = slab // devices
  chunk = search.chunk_rows(share, tile, prefixes)
  assert slab % devices == 0 and 0 < chunk <= share
  assert chunk % selection.GROUP == 0 or share < 2 * selection.GROUP
  assert chunk * tile * prefixes <= 1.1 * search.SCORES_AT_ONCE
  assert slab <= min(search.ROWS_AT_ONCE, total) + devices
  slabs, chunks = -(-total // slab), -(-share // chunk)
  assert slabs * slab - total < slabs * devices
  assert chunks * chunk - share < chunks * 2 * selection.GROUP


def plain(rows, columns=5):
  ones = jax.numpy.ones
  return selection.Scale(ones(rows, bool), ones(rows), ones(columns))


@pytest.mark.parametrize('rows', [1, 7, 8, 9, 63, 1000])
@pytest.mark.parametrize('k', [1, 3, 60])
def test_groups_of_groups_hold_the_best(rows, k):
  rng = np.random.default_rng(rows)
  # The largest are rare, so that groups of equal scores have other maxima.
  scores = rng.geometric(0.3, (rows, 5)).astype(np.float32)
  naive = [
    scores[start : start + selection.GROUP].max(axis=0)
    for start in range(0, rows, selection.GROUP)
  ]
  np.testing.assert_array_equal(selection.group_maxima(scores), naive)
  best, found = selection.exactly(jax.numpy.array(scores), plain(rows), k)
  expected = np.argsort(-scores.T, axis=1, kind='stable')[:, :k]
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(best, np.take_along_axis(scores.T, expected, 1))


def test_approximate_search_finds_most(small, one):
  rng = np.random.default_rng(0)
  database = rng.normal(size=(900, 16)).astype(np.float32)
  exact, near = (
    np.asarray(
      search.nested_top_k(database[:30], database, DIMS, 9, one, how)[1]
    )
    for how in (False, True)
  )
  shared = [len(set(a) & set(b)) for a, b in zip(exact[-1], near[-1])]
  assert np.mean(shared) > 0.95 * 9
  assert (near[-1][:, 0] == np.arange(30)).all()


def test_what_does_not_fit_is_refused(one):
  queries, database = whole_numbers(30)
  with pytest.raises(ValueError, match='k=31 must be from 1 to the 30 rows'):
    search.nested_top_k(queries, database, DIMS, 31, one)
  with pytest.raises(ValueError, match='the database 8, dims end at 16'):
    search.nested_top_k(queries, database[:, :8], DIMS, 3, one)
  with pytest.raises(ValueError, match='no queries'):
    search.nested_top_k(queries[:0], database, DIMS, 3, one)


def material(rows=600, queries=80, labels=True, dims=(4, 8, 32)):
  rng = np.random.default_rng(1)
  spread = np.arange(1, 33) ** -0.8
  centres = rng.normal(size=(30, 32)) * spread
  classes = rng.integers(0, 30, rows + queries) + 70_000
  noise = 0.5 * rng.normal(size=(rows + queries, 32)) * spread
  x = (centres[classes - 70_000] + noise).astype(np.float32)
  x[3] = x[9] = x[0]
  splits = {
    'train': Vectors(x[:rows], classes[:rows] if labels else None),
    'validation': Vectors(x[rows:], classes[rows:] if labels else None),
  }
  return evidence.Evidence(
    dims=dims,
    trained=dims,
    mesh=sharding.make_mesh(devices=jax.devices()[:1]),
    embed=splits.get,
  )


def cosines(queries, database, m):
  q, r = queries[:, :m].astype(np.float64), database[:, :m].astype(np.float64)
  q /= np.linalg.norm(q, axis=1, keepdims=True)
  return q @ (r / np.linalg.norm(r, axis=1, keepdims=True)).T


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
    'prefix', 'ar', 'funnel', 'funnel_auto', 'device', 'flat', 'hnsw', 'ivf'
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
  rows, details = Search(shortlist=500, k=12, faiss=False).run(seen)
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
  choose = shortlist.choose_schedule

  def spy(ready, queries, exact, *rest):
    given.extend([queries, exact])
    return choose(ready, queries, exact, *rest)

  monkeypatch.setattr(shortlist, 'choose_schedule', spy)
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
  monkeypatch.setattr(timing.time, 'perf_counter', lambda: next(now))
  assert timing.timed(lambda: None) == pytest.approx(0.1)
  now = iter(range(0, 100, 10))
  assert timing.timed(lambda: None) == 10 and next(now) == 20


def test_what_is_compiled_first_is_not_in_a_time(monkeypatch):
  clock, seen_before = [0.0], set()

  def find(queries):
    clock[0] += 0.01 if queries.shape in seen_before else 30.0
    seen_before.add(queries.shape)
    return np.zeros((len(queries), 5), int)

  monkeypatch.setattr(timing.time, 'perf_counter', lambda: clock[0])
  seen = timing.gather(material(), 80, 5)
  method = timing.Method('any', 32, find, 1.0, 1.0, 1)
  _, described = timing.measured(method, seen, 5)
  assert described['milliseconds_single'] == pytest.approx(10)
  assert described['milliseconds_batch'] == pytest.approx(10 / 40)


@pytest.mark.parametrize(('dtype', 'size'), [('f2', 2), ('f4', 4), ('f8', 4)])
def test_bytes_are_those_that_a_device_keeps(one, dtype, size):
  ready = shortlist.Database(np.ones((24, 32), dtype))
  rows = search.Resident(ready.embeddings, (32,), one)
  kept = sum(slab.rows.nbytes for slab in rows.slabs)
  assert timing.device_bytes(ready) == kept == 24 * 32 * size


def test_without_faiss_its_indexes_are_left_out(monkeypatch):
  monkeypatch.setitem(sys.modules, 'faiss', None)
  rows, details = Search(k=5).run(material())
  assert not {'flat', 'hnsw', 'ivf'} & {r['variant'] for r in rows}
  assert 'not installed: pip install' in details['left_out']['faiss']


def test_on_a_tpu_the_approximate_search_runs_too(monkeypatch):
  asked = []
  top_k = search.Resident.top_k

  def spy(self, queries, k, approximate=False):
    asked.append(approximate)
    return top_k(self, queries, k, approximate)

  monkeypatch.setattr(search.Resident, 'top_k', spy)
  monkeypatch.setattr(timing.sharding, 'platform', lambda mesh: 'tpu')
  rows, details = Search(k=5, faiss=False).run(material())
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
  assert not timing.crowded(ready, mesh(None))
  assert not timing.crowded(ready, mesh(2 * needed))
  assert not timing.crowded(ready, mesh(needed, devices=2))
  assert 'exceed 50% of its memory' in timing.crowded(ready, mesh(needed))
  seen = material()
  monkeypatch.setattr(timing.jax, 'process_count', lambda: 2)
  rows, details = Search(k=5, faiss=False).run(seen)
  assert 'device' not in {r['variant'] for r in rows}
  assert 'wait for each other' in details['left_out']['device']
