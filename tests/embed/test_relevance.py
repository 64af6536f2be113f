"""Relevance by class, by judgement and by pair, made by hand."""

import numpy as np
import pytest

from mrl_jax.embed import relevance
from mrl_jax.embed.vectors import Vectors


def side(count, labels=None, ids=None):
  return Vectors(np.ones((count, 2), np.float32), labels, ids)


QUERIES = side(4, ids=np.array(['q0', 'q1', 'q2', 'q3']))
DATABASE = side(5, ids=np.array(['a', 'b', 'c', 'd', 'e']))
QRELS = {
  'q0': {'c': 2, 'a': 1, 'e': 3},
  'q1': {'b': 0, 'd': -1},  # judged, and not relevant
  'q3': {'e': 1, 'gone': 4},
  'other': {'a': 1},
}
GRADES = np.array(
  [[1, 0, 2, 0, 3], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
)


def every(made, rows=5):
  """The grades of all rows in order, [q r]."""
  return made.grades(np.tile(np.arange(rows), (len(made.totals), 1)))


def test_by_class():
  labels = np.array([7, 70_000, 7, 2**40, 7])
  made = relevance.by_class(side(3, np.array([7, 2**40, 5])), side(5, labels))
  np.testing.assert_array_equal(
    every(made), [[1, 0, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
  )
  assert made.totals.tolist() == [3, 1, 0]
  np.testing.assert_array_equal(made.ideal(2), [[1, 1], [1, 0], [0, 0]])
  np.testing.assert_array_equal(
    made.grades(np.array([[-1, 0], [3, -1], [-1, -1]])),
    [[0, 1], [1, 0], [0, 0]],
  )
  part = made.at(np.array([1, 0]), np.array([0, 3, 4]))
  np.testing.assert_array_equal(every(part, 3), [[0, 1, 0], [1, 0, 1]])
  assert part.totals.tolist() == [1, 2]
  assert relevance.by_class(side(3), side(5, labels)) is None


def test_by_judgement():
  made = relevance.by_judgement(QRELS, QUERIES, DATABASE)
  np.testing.assert_array_equal(every(made), GRADES)
  assert made.totals.tolist() == [3, 0, 0, 2]  # 'gone' would be relevant
  np.testing.assert_array_equal(
    made.ideal(3), [[3, 2, 1], [0, 0, 0], [0, 0, 0], [4, 1, 0]]
  )
  np.testing.assert_array_equal(
    made.grades(np.full((4, 2), -1)), np.zeros((4, 2))
  )
  # Any number of prefixes at once.
  rows = np.random.default_rng(0).integers(-1, 5, (3, 4, 6))
  expected = np.where(
    rows >= 0, GRADES[np.arange(4)[:, None], np.maximum(rows, 0)], 0
  )
  np.testing.assert_array_equal(made.grades(rows), expected)


def test_some_queries_and_rows_of_judgements():
  made = relevance.by_judgement(QRELS, QUERIES, DATABASE)
  part = made.at(np.array([3, 0, 1]), np.array([4, 0, 1]))
  np.testing.assert_array_equal(every(part, 3), GRADES[[3, 0, 1]][:, [4, 0, 1]])
  # What was not drawn cannot be missed; what nobody can find still is.
  assert part.totals.tolist() == [2, 2, 0]
  np.testing.assert_array_equal(part.ideal(2), [[4, 1], [3, 1], [0, 0]])
  alone = made.at(np.array([3]))
  assert alone.totals.tolist() == [2]
  np.testing.assert_array_equal(every(alone), GRADES[[3]])
  nothing = made.at(np.array([1, 2]))
  np.testing.assert_array_equal(every(nothing), np.zeros((2, 5)))
  np.testing.assert_array_equal(nothing.ideal(2), np.zeros((2, 2)))


def test_rows_without_ids_are_known_by_number():
  made = relevance.by_judgement({1: {4: 2.5}}, side(3), side(5))
  assert every(made)[1].tolist() == [0, 0, 0, 0, 2.5]
  assert made.totals.tolist() == [0, 1, 0]


def test_by_pair():
  made = relevance.by_pair(side(3), side(3))
  np.testing.assert_array_equal(every(made, 3), np.eye(3))
  assert made.totals.tolist() == [1, 1, 1]
  np.testing.assert_array_equal(made.ideal(2), [[1, 0]] * 3)
  part = made.at(np.array([2, 0]), np.array([0, 1]))
  np.testing.assert_array_equal(every(part, 2), [[0, 0], [1, 0]])


def test_judgements_that_do_not_fit():
  with pytest.raises(ValueError, match='3 queries and 5 rows cannot be pairs'):
    relevance.by_pair(side(3), side(5))
  with pytest.raises(ValueError, match='none of the judgements of 1 queries'):
    relevance.by_judgement({'q9': {'a': 1}}, QUERIES, DATABASE)
  twice = side(2, ids=np.array(['q0', 'q0']))
  with pytest.raises(ValueError, match='ids of the queries repeat: 2 rows'):
    relevance.by_judgement(QRELS, twice, DATABASE)
