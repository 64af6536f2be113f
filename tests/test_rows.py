"""Names, curves and the front of result rows."""

import numpy as np

from mrl_jax import rows


def test_flat_names():
  row = rows.proportion('knn', 'weighted', 64, 3, 4, k=20)
  assert rows.flat_name(row) == 'knn/weighted@20/d64'
  assert row['value'] == 0.75 and row['n'] == 4


def test_names_tell_depth_variant_and_dimension():
  row = rows.mean('search', 'recall', 8, np.array([1, 0.5]), k=10, variant='ar')
  assert rows.flat_name(row) == 'search/recall@10.ar/d8'
  assert row['value'] == 0.75 and row['n'] == 2
  assert rows.make('a', 'b', 8.0, 0, (0, 1), 1)['dim'] == 8
  assert rows.make('a', 'b', 8.126, 0, (0, 1), 1)['dim'] == 8.13


def test_the_front_is_what_nothing_beats():
  points = [
    (4, 0.5),
    (2, 0.5),
    (8, 0.9),
    (8, 0.7),
    (16, 0.8),
    (1, 0.2),
    (8, 0.9),
  ]
  assert rows.front(points) == [5, 1, 2]
  assert rows.front([]) == []


def test_a_row_per_dim_is_each_row_alone():
  hits = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], bool)
  shares = rows.proportions('a', 'b', (4, 8), hits, variant='v')
  plain = rows.without_queries
  assert shares == [
    rows.proportion('a', 'b', 4, 3, 4, variant='v'),
    rows.proportion('a', 'b', 8, 1, 4, variant='v'),
  ]
  means = rows.means('a', 'b', (4, 8), hits, k=2)
  assert [plain(row) for row in means] == [
    plain(rows.mean('a', 'b', 4, hits[0], k=2)),
    plain(rows.mean('a', 'b', 8, hits[1], k=2)),
  ]


def test_rows_without_a_variant_keep_their_values_per_query():
  hits = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], bool)
  for row, right in zip(rows.proportions('a', 'b', (4, 8), hits), hits):
    np.testing.assert_array_equal(row['per_query'], right)
    assert row['per_query'].dtype == bool
    assert row['value'] == row['per_query'].mean()
  (row,) = rows.means('a', 'b', (4,), hits[:1] / 2, k=2)
  np.testing.assert_array_equal(row['per_query'], [0.5, 0, 0.5, 0.5])
  assert 'per_query' not in rows.without_queries(row)
  assert rows.without_queries(row)['value'] == row['value']
  assert 'per_query' not in rows.mean('a', 'b', 4, hits[0], variant='v')
  assert 'per_query' not in rows.proportion('a', 'b', 4, 3, 4)


def test_granularities_go_by_depth_then_dimension():
  points = [
    rows.make('a', 'b', dim, 0.5, (0, 1), 1, **extra)
    for dim, extra in (
      (8, {}),
      (64, {'depth': 4}),
      (16, {'depth': 4}),
      (8, {'depth': 12}),
    )
  ]
  sizes = [(4, 16), (4, 64), (12, 8), (None, 8)]
  granularities = rows.granularities(points + points)
  assert [(size.depth, size.dim) for size in granularities] == sizes
  (curve,) = rows.curves(points).values()
  assert [(row.get('depth'), row['dim']) for row in curve] == sizes
  assert rows.at(points, granularities[0]) is points[2]
  assert rows.at(points[:2], granularities[0]) is None


def test_rows_are_alike_if_their_intervals_have_a_value_in_common():
  def alike(*intervals):
    return rows.alike(
      rows.make('a', 'b', 8, 0.5, interval, 1) for interval in intervals
    )

  assert alike((0.2, 0.4), (0.3, 0.5), (0.35, 0.6))
  assert alike((0.2, 0.4), (0.4, 0.6))
  assert not alike((0.2, 0.4), (0.41, 0.6))
  # Neighbours overlap, the ends do not; nor where the middle stands out.
  assert not alike((0.2, 0.4), (0.35, 0.5), (0.45, 0.6))
  assert not alike((0.2, 0.4), (0.45, 0.6), (0.3, 0.5))
  assert not alike() and not alike((0.2, 0.4))
