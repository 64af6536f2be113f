"""What is said of vectors before their numbers are believed."""

import numpy as np
import pytest

from mrl_jax import remarks
from mrl_jax.embed.vectors import Vectors


def side(rows, seed, labels=None):
  x = np.random.default_rng(seed).normal(size=(rows, 12)).astype(np.float32)
  return Vectors(x, labels)


def test_nothing_is_said_of_ordinary_vectors():
  classes = np.arange(50) % 5
  assert remarks.of(side(50, 0, classes), side(10, 1, classes[:10]), (4,)) == ()
  assert remarks.of(side(50, 0), side(10, 1), (4,)) == ()


def test_unknown_classes_copies_and_zero_prefixes_are_counted():
  database, queries = side(50, 0, np.arange(50)), side(10, 1, np.arange(10))
  queries.labels[7:] += 1000
  queries.embeddings[:2] = database.embeddings[[30, 4]]
  queries.embeddings[5, :4] = 0
  database.embeddings[9:12, :4] = 0
  alone, twice, empty, asked = remarks.of(database, queries, (4, 12))
  assert alone.startswith('3 of 10 queries have a class that no row')
  assert twice.startswith('2 of 10 queries are also rows')
  assert empty.startswith('3 of 50 rows searched are zero in all of their fir')
  assert asked.startswith('1 of 10 queries are zero in all of their first 4 d')


def test_one_class_is_said():
  one, two = np.full(50, 2**40), np.arange(50) // 49
  (said,) = remarks.of(side(50, 0, one), side(10, 1, one[:10]), (4,))
  assert said.startswith('All rows searched have one class')
  assert remarks.of(side(50, 0, two), side(10, 1, two[:10]), (4,)) == ()


def test_repeated_rows_and_constant_coordinates_are_counted(monkeypatch):
  monkeypatch.setattr(remarks, 'ROWS_AT_ONCE', 7)
  database, queries = side(50, 0), side(10, 1)
  database.embeddings[3:9] = database.embeddings[40]
  database.embeddings[:, [2, 11]] = 0.3
  database.embeddings[49, 11] = 0.4
  repeated, constant = remarks.of(database, queries, (4,))
  assert repeated.startswith('6 of 50 rows searched repeat another row')
  assert constant.startswith('1 of 12 coordinates has one value')
  database.embeddings[:] = database.embeddings[0]
  (same,) = remarks.of(database, queries, (4,))
  assert same.startswith('All rows searched are the same')
  assert remarks.of(side(1, 0), queries, (4,)) == ()
  few = side(300, 0)
  few.embeddings[:2] = few.embeddings[2]
  assert remarks.of(few, queries, (4,)) == ()


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
def test_copies_are_found_across_chunks_but_not_among_permutations(
  monkeypatch, dtype
):
  monkeypatch.setattr(remarks, 'ROWS_AT_ONCE', 7)
  x = np.random.default_rng(0).integers(-3, 4, (400, 12))
  database = Vectors(x.astype(dtype))
  turned = Vectors(np.roll(x, 1, axis=1)[:, ::-1].astype(np.float32))
  same = {tuple(row) for row in x.tolist()}
  copies = sum(tuple(row) in same for row in turned.embeddings.tolist())
  assert copies < 10
  said = remarks.of(database, turned, (12,))
  assert len(said) == bool(copies)
  (found,) = remarks.of(database, Vectors(x.astype(np.float32)), (12,))
  assert found.startswith('400 of 400 queries are also rows')
