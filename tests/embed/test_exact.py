"""Exact search over slabs, chunks, blocks and groups against naive sorts."""

import tracemalloc

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mrl_jax import chips, costs, nested, sharding
from mrl_jax.embed import exact, schedules, selection, shortlist, slabs
from tests.samples.vectors import naive_top_k

DIMS = (4, 6, 16)


def vectors(rows=333, queries=41, seed=0):
  rng = np.random.default_rng(seed)
  return (
    rng.normal(size=(queries, 16)).astype(np.float32),
    rng.normal(size=(rows, 16)).astype(np.float32),
  )


@pytest.fixture
def small(monkeypatch):
  """Every level of the search in use at a few hundred rows."""
  monkeypatch.setattr(slabs, 'ROWS_AT_ONCE', 200)
  monkeypatch.setattr(slabs, 'LENGTHS_AT_ONCE', 64)
  monkeypatch.setattr(exact, 'QUERIES_AT_ONCE', 8)
  monkeypatch.setattr(exact, 'SCORES_AT_ONCE', 8 * 3 * 100)
  monkeypatch.setattr(selection, 'GROUP', 4)
  exact.program.cache_clear()
  slabs.measuring.cache_clear()


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


@pytest.mark.parametrize('shape', [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
@pytest.mark.parametrize(('rows', 'k'), [(333, 20), (20, 20), (9, 1)])
def test_top_k_equals_sorting_at_every_prefix(monkeypatch, shape, rows, k):
  monkeypatch.setattr(slabs, 'ROWS_AT_ONCE', 16)
  monkeypatch.setattr(exact, 'QUERIES_AT_ONCE', 16)
  queries, database = vectors(rows)
  scores, found = exact.nested_top_k(
    queries, database, DIMS, k, sharding.make_mesh(*shape)
  )
  for g, m in enumerate(DIMS):
    expected, order = naive_top_k(queries, database, m, k)
    # Running sums of float32 blocks.
    np.testing.assert_allclose(scores[g], expected, atol=2e-6)
    np.testing.assert_array_equal(found[g], order)


def test_equal_scores_keep_the_smaller_row_across_devices():
  queries = np.ones((3, 16), np.float32)
  database = np.ones((40, 16), np.float32)  # all tie, on eight devices
  _, found = exact.nested_top_k(
    queries, database, DIMS, 5, sharding.make_mesh(8)
  )
  assert (np.asarray(found) == np.arange(5)).all()


def test_prefixes_cost_the_products_of_the_widest():
  queries, database = vectors()
  text = (
    jax.jit(lambda q, r: nested.prefix_products(q, r.T, DIMS))
    .lower(queries, database)
    .as_text()
  )
  products = [line for line in text.splitlines() if 'dot_general' in line]
  assert len(products) == len(DIMS)  # a block each, 16 columns together


@pytest.mark.parametrize('size', [1e-8, 1e-10])
def test_prefixes_much_smaller_than_their_row(one, size):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((330, 24))
  x[:, :8] *= size * 10.0 ** rng.uniform(-1, 1, (330, 1))
  x = x.astype(np.float32)
  queries, database = x[:30], x[30:]
  ready = shortlist.Database(database)
  scores, rows = exact.nested_top_k(queries, database, (8, 24), 5, one)
  for g, m in enumerate((8, 24)):
    best, order = naive_top_k(queries, database, m, 5)
    np.testing.assert_array_equal(rows[g], order)
    np.testing.assert_allclose(scores[g], best, atol=1e-6)
    plan = schedules.Schedule(m)
    found = shortlist.adaptive_top_k(ready, queries, plan, 5)[1]
    np.testing.assert_array_equal(found, order)


@pytest.mark.parametrize(
  ('devices', 'rows', 'k'),
  [(1, 1003, 1), (1, 430, 60), (8, 1003, 7), (8, 27, 27)],
)
def test_ties_keep_the_smaller_row_everywhere(small, devices, rows, k):
  queries, database = whole_numbers(rows)
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  scores, found = exact.nested_top_k(queries, database, DIMS, k, mesh)
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
  _, found = exact.nested_top_k(queries, given, DIMS, 9, one)
  for g, m in enumerate(DIMS):
    expected = sorted_rows(queries, database, m, 9)
    np.testing.assert_array_equal(found[g], expected)


def test_a_mapped_database_is_never_copied_whole(one, tmp_path, monkeypatch):
  monkeypatch.setattr(slabs, 'ROWS_AT_ONCE', 2048)
  database = np.random.default_rng(0).normal(size=(40_000, 64))
  np.save(tmp_path / 'x.npy', database.astype(np.float32))
  mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
  queries = database[:3].astype(np.float32)
  exact.nested_top_k(queries, mapped, (64,), 5, one)
  tracemalloc.start()
  _, found = exact.nested_top_k(queries, mapped, (64,), 5, one)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert (np.asarray(found)[0, :, 0] == [0, 1, 2]).all()
  assert peak < mapped.nbytes / 4


def test_a_search_is_compiled_once(small, one):
  queries, database = whole_numbers(530)
  exact.nested_top_k(queries, database, DIMS, 3, one)
  before = exact.program.cache_info().misses
  compiled = exact.program(one, DIMS, 3, False)
  assert exact.program.cache_info().misses == before
  exact.nested_top_k(queries, database[::-1], DIMS, 3, one)
  assert compiled._cache_size() == 1  # three slabs, two searches


@pytest.mark.parametrize('devices', [1, 8])
def test_resident_rows_are_read_once(small, monkeypatch, devices):
  queries, database = whole_numbers(530)
  mesh = sharding.make_mesh(devices=jax.devices()[:devices])
  resident = exact.Resident(database, DIMS, mesh)
  assert len(resident.slabs) == 3
  monkeypatch.setattr(slabs, 'stream', None)
  monkeypatch.setattr(slabs, 'measuring', None)
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
  slab = slabs.slab_rows(500_000, mesh.size)
  chunk = exact.chunk_rows(slab // mesh.size, queries, len(dims))
  best = 2, len(dims), queries, k
  program = exact.program(mesh, dims, k, approximate)
  compiled = program.lower(
    struct((2, 256, queries), np.float32, mesh),
    slabs.Slab(
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
  scores, found = exact.nested_top_k(queries, database, DIMS, 300, one)
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
  slab = slabs.slab_rows(total, devices)
  share = slab // devices
  chunk = exact.chunk_rows(share, tile, prefixes)
  assert slab % devices == 0 and 0 < chunk <= share
  assert chunk % selection.GROUP == 0 or share < 2 * selection.GROUP
  assert chunk * tile * prefixes <= 1.1 * exact.SCORES_AT_ONCE
  assert slab <= min(slabs.ROWS_AT_ONCE, total) + devices
  count, chunks = -(-total // slab), -(-share // chunk)
  assert count * slab - total < count * devices
  assert chunks * chunk - share < chunks * 2 * selection.GROUP


def test_approximate_search_finds_most(small, one):
  rng = np.random.default_rng(0)
  database = rng.normal(size=(900, 16)).astype(np.float32)
  resident = exact.Resident(database, DIMS, one)
  best, near = (
    resident.top_k(database[:30], 9, approximate)[1]
    for approximate in (False, True)
  )
  shared = [len(set(a) & set(b)) for a, b in zip(best[-1], near[-1])]
  assert np.mean(shared) > 0.95 * 9
  assert (near[-1][:, 0] == np.arange(30)).all()


def test_what_does_not_fit_is_refused(one):
  queries, database = whole_numbers(30)
  with pytest.raises(ValueError, match='k=31 must be from 1 to the 30 rows'):
    exact.nested_top_k(queries, database, DIMS, 31, one)
  with pytest.raises(ValueError, match='the database 8, dims end at 16'):
    exact.nested_top_k(queries, database[:, :8], DIMS, 3, one)
  with pytest.raises(ValueError, match='no queries'):
    exact.nested_top_k(queries[:0], database, DIMS, 3, one)


def test_k_and_widths_that_do_not_fit():
  queries, database = vectors()
  mesh = sharding.make_mesh()
  with pytest.raises(ValueError, match='k=334 must be from 1 to the 333 rows'):
    exact.nested_top_k(queries, database, DIMS, 334, mesh)
  with pytest.raises(ValueError, match='the database 8'):
    exact.nested_top_k(queries, database[:, :8], DIMS, 3, mesh)
