"""Indexes of faiss, reranked, against full sorts in numpy."""

import sys

import numpy as np
import pytest

from mrl_jax.embed import indexes, shortlist
from mrl_jax.embed.schedules import Schedule
from tests.samples.shortlists import WIDTH, exact_of, naive, same, vectors
from tests.samples.vectors import cosines


@pytest.mark.parametrize('kind', indexes.KINDS)
def test_indexes_find_and_rerank(kind):
  queries, database = vectors()
  ready = shortlist.Database(database)
  index = indexes.build(ready, 8, kind, indexes.Effort(probes=4))
  again = indexes.build(ready, 8, kind, indexes.Effort(probes=4))
  scores, rows = indexes.reranked_top_k(index, ready, queries, 100, 10)
  np.testing.assert_array_equal(
    rows, indexes.reranked_top_k(again, ready, queries, 100, 10)[1]
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
  effort = indexes.Effort(cells=17, probes=1)
  index = indexes.build(ready, 8, 'ivf', effort)
  scores, rows = indexes.reranked_top_k(index, ready, queries, 600, 500)
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
  monkeypatch.setitem(sys.modules, 'faiss', None)
  with pytest.raises(ValueError, match='pip install faiss-cpu'):
    indexes.build(ready, 8, 'flat')
