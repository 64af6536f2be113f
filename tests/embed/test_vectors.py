"""Rows drawn and held out."""

import numpy as np
import pytest

from mrl_jax.embed import vectors

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


@pytest.mark.parametrize(
  ('rows', 'queries'), [(50, 5), (2, 1), (9, 1), (20_000, 1000)]
)
def test_held_out_rows(rows, queries):
  x = np.arange(rows, dtype=np.float32)[:, None] + 1
  whole = vectors.Vectors(x, np.arange(rows) * 3)
  database, asked = vectors.hold_out(whole, seed=3)
  assert len(asked) == queries and len(database) == rows - queries
  ids = np.concatenate([database.ids, asked.ids])
  assert sorted(ids.tolist()) == list(range(rows))
  for side in (database, asked):
    np.testing.assert_array_equal(side.embeddings[:, 0], side.ids + 1)
    np.testing.assert_array_equal(side.labels, side.ids * 3)
    assert (np.diff(side.ids) > 0).all()
  again = vectors.hold_out(whole, seed=3)[1]
  np.testing.assert_array_equal(asked.ids, again.ids)
  if rows == 50:
    other = vectors.hold_out(whole, seed=4)[1]
    assert asked.ids.tolist() != other.ids.tolist()


def test_held_out_rows_keep_own_ids_and_no_labels():
  whole = vectors.Vectors(X, ids=np.array([f'n{i}' for i in range(50)]))
  database, asked = vectors.hold_out(whole)
  assert asked.labels is None and database.labels is None
  for name, row in zip(asked.ids, asked.embeddings):
    np.testing.assert_array_equal(row, X[int(name[1:])])


def test_drawn_rows_keep_their_order_and_labels():
  x = np.arange(20, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
  rows = vectors.draw_rows(np.random.default_rng(0), 20, 8)
  assert len(set(rows)) == 8 and (np.diff(rows) > 0).all()
  got = vectors.Vectors(x, np.arange(20) * 7).at(rows)
  np.testing.assert_array_equal(got.embeddings[:, 0] * 7, got.labels)
  np.testing.assert_array_equal(got.ids, rows)
  assert vectors.draw_rows(np.random.default_rng(0), 20, 20).tolist() == [
    *range(20)
  ]
  bare = vectors.Vectors(x).at(rows)
  assert bare.labels is None
  np.testing.assert_array_equal(bare.embeddings, got.embeddings)


def test_one_row_cannot_be_split():
  with pytest.raises(
    ValueError, match='one row cannot be both searched and a query'
  ):
    vectors.hold_out(vectors.Vectors(X[:1]))
