"""What a query should find: rows of its class, judged rows, or its partner.

A relevance is a value about q queries and r database rows. Rankings, searches
and stores are measured by it, and none of them asks where it comes from.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Float, Int

RowNumbers = Int[np.ndarray, 'n']


class Relevance(Protocol):
  """How relevant each database row is to each query: a grade, 0 for not."""

  @property
  def totals(self) -> Int[np.ndarray, 'q']:
    """How many rows have a grade above 0, per query."""

  def grades(
    self, rows: Int[np.ndarray, '*g q k']
  ) -> Float[np.ndarray, '*g q k']:
    """The grades of some rows for their query; row -1 stands for no row."""

  def ideal(self, k: int) -> Float[np.ndarray, 'q k']:
    """The grades of a perfect ranking, best first; 0 where it has ended."""

  def tally(
    self,
    chosen: Bool[np.ndarray, 'u c'],
    start: int,
    which: Int[np.ndarray, 'q'],
  ) -> tuple[Float[np.ndarray, 'q'], Float[np.ndarray, 'q']]:
    """(how many are relevant, the sum of grades) of the rows chosen.

    `which` line of `chosen` is each query's; its column j stands for row
    `start + j`.
    """

  def at(
    self, queries: RowNumbers, rows: RowNumbers | None = None
  ) -> 'Relevance':
    """The relevance of these queries to these rows, renumbered in order.

    Neither repeats; `rows=None` keeps the whole database. Rows left out cannot
    be missed; a judged row that the database never had stays missed.
    """


@dataclasses.dataclass(frozen=True)
class ByClass:
  """A row is relevant, with grade 1, if it has the query's class.

  Attributes:
    asked: the class of each query.
    labels: the class of each row.
  """

  asked: Int[np.ndarray, 'q']
  labels: Int[np.ndarray, 'r']

  @functools.cached_property
  def totals(self) -> Int[np.ndarray, 'q']:
    classes, counts = np.unique(self.labels, return_counts=True)
    place = np.searchsorted(classes, self.asked).clip(max=len(classes) - 1)
    return np.where(classes[place] == self.asked, counts[place], 0)

  def grades(self, rows) -> Bool[np.ndarray, '*g q k']:
    same = self.labels[np.maximum(rows, 0)] == self.asked[:, None]
    return same & (rows >= 0)

  def ideal(self, k: int) -> Bool[np.ndarray, 'q k']:
    return np.arange(k) < self.totals[:, None]

  @functools.cached_property
  def _classes(self) -> tuple[RowNumbers, RowNumbers, int]:
    """(place of a query's class, of a row's, places): the last for others."""
    asked, place = np.unique(self.asked, return_inverse=True)
    of_row = np.searchsorted(asked, self.labels).clip(max=len(asked) - 1)
    other = asked[of_row] != self.labels
    return place, np.where(other, len(asked), of_row), len(asked) + 1

  def tally(self, chosen, start, which) -> tuple:
    place, of_row, total = self._classes
    hits = class_counts(chosen, start, of_row, total)[which, place]
    return hits, hits

  def at(self, queries, rows=None) -> 'ByClass':
    labels = self.labels if rows is None else self.labels[rows]
    return ByClass(self.asked[queries], labels)


@dataclasses.dataclass(frozen=True)
class Judged:
  """Pairs of a query and a row with a grade above 0; all others have grade 0.

  Attributes:
    shape: (queries, rows of the database).
    queries, rows, values: of each pair, sorted by query, then by row. Row -1
      is a judged row that the database lacks: no ranking can have it, and a
      perfect one would.
  """

  shape: tuple[int, int]
  queries: Int[np.ndarray, 'j']
  rows: Int[np.ndarray, 'j']
  values: Float[np.ndarray, 'j']

  @functools.cached_property
  def totals(self) -> Int[np.ndarray, 'q']:
    return np.bincount(self.queries, minlength=self.shape[0])

  def grades(self, rows) -> Float[np.ndarray, '*g q k']:
    if not len(self.values):
      return np.zeros(rows.shape)
    width = self.shape[1] + 1  # a key for row -1 too
    judged = self.queries * width + self.rows
    wanted = np.arange(self.shape[0])[:, None] * width + rows
    place = np.searchsorted(judged, wanted).clip(max=len(judged) - 1)
    known = (judged[place] == wanted) & (rows >= 0)
    return np.where(known, self.values[place], 0.0)

  def ideal(self, k: int) -> Float[np.ndarray, 'q k']:
    order = np.lexsort((-self.values, self.queries))
    starts = np.cumsum(self.totals) - self.totals
    place = np.arange(len(order)) - starts[self.queries]
    first = place < k  # queries stay sorted, so places are theirs
    best = np.zeros((self.shape[0], k))
    best[self.queries[first], place[first]] = self.values[order][first]
    return best

  def tally(self, chosen, start, which) -> tuple:
    row = self.rows - start
    inside = (self.rows >= 0) & (row >= 0) & (row < chosen.shape[1])
    query = self.queries[inside]
    hits = chosen[which[query], row[inside]]
    grades = hits * self.values[inside]
    count = self.shape[0]
    return np.bincount(query, hits, count), np.bincount(query, grades, count)

  def at(self, queries, rows=None) -> 'Judged':
    query = np.full(self.shape[0], -1)
    query[queries] = np.arange(len(queries))
    query, row, size = query[self.queries], self.rows, self.shape[1]
    kept = query >= 0
    if rows is not None:
      place = np.full(size + 1, -1)  # the last is that of row -1
      place[rows] = np.arange(len(rows))
      kept &= (row < 0) | (place[row] >= 0)
      row, size = place[row], len(rows)
    shape = len(queries), size
    return _judged(shape, query[kept], row[kept], self.values[kept])


def class_counts(
  chosen: Bool[np.ndarray, 'u c'],
  start: int,
  classes: Int[np.ndarray, 'r'],
  total: int,
) -> Int[np.ndarray, 'u v']:
  """Of the rows chosen in each line, from `start` on, how many of a class."""
  classes = classes[start : start + chosen.shape[1]]
  return np.stack(
    [np.bincount(classes[line], minlength=total) for line in chosen]
  )


def by_class(queries: Vectors, database: Vectors) -> ByClass | None:
  """Relevance by class; None where a side has no labels."""
  if queries.labels is None or database.labels is None:
    return None
  return ByClass(queries.labels, database.labels)


def by_judgement(
  qrels: Mapping[Any, Mapping[Any, float]],
  queries: Vectors,
  database: Vectors,
) -> Judged:
  """Relevance of judged rows, from {query id: {row id: grade}}.

  Ids are those of the vectors, or row numbers where they have none. Grades of
  0 and below are not relevant. As trec_eval does, judged rows that the
  database lacks count among those a query should find.

  Raises:
    ValueError: if ids repeat, or no judgement is about one of the queries.
  """
  asked, known = _places(queries, 'queries'), _places(database, 'database')
  pairs = [
    (asked[query], known.get(row, -1), grade)
    for query, judged in qrels.items()
    if query in asked
    for row, grade in judged.items()
    if grade > 0
  ]
  if not pairs:
    raise ValueError(
      f'none of the judgements of {len(qrels):,} queries has a grade above 0 '
      f'and is about one of the {len(asked):,} queries; their ids must be the '
      'same, and of one type'
    )
  query, row, grade = (np.asarray(column) for column in zip(*pairs))
  return _judged((len(queries), len(database)), query, row, grade)


def by_pair(queries: Vectors, database: Vectors) -> Judged:
  """Relevance of partners: query i should find row i, and no other.

  Raises:
    ValueError: unless there are as many rows as queries.
  """
  count = len(queries)
  if len(database) != count:
    raise ValueError(
      f'{count:,} queries and {len(database):,} rows cannot be pairs; give '
      'one row per query'
    )
  pairs = np.arange(count)
  return _judged((count, count), pairs, pairs, np.ones(count))


def by_rows(
  rows: Int[np.ndarray, 'q n'], wanted: Bool[np.ndarray, 'q n'], total: int
) -> Judged:
  """Relevance of the rows wanted of a list per query, with grade 1."""
  query, place = np.nonzero(wanted)
  shape = len(rows), total
  return _judged(shape, query, rows[query, place], np.ones(len(query)))


def _judged(shape, queries, rows, values) -> Judged:
  order = np.lexsort((rows, queries))
  return Judged(shape, queries[order], rows[order], values[order])


def _places(vectors: Vectors, side: str) -> dict:
  ids = range(len(vectors)) if vectors.ids is None else vectors.ids.tolist()
  places = {name: place for place, name in enumerate(ids)}
  if len(places) < len(vectors):
    raise ValueError(
      f'the ids of the {side} repeat: {len(vectors):,} rows have '
      f'{len(places):,} ids; give each row one of its own'
    )
  return places
