"""Clustered vectors and naive shortlists of them, for tests."""

import numpy as np

from tests.samples.vectors import cosines

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


def exact_of(queries, database, k):
  scores = cosines(queries, database, WIDTH)
  rows = np.argsort(-scores, kind='stable')[:, :k]
  return np.take_along_axis(scores, rows, 1).astype(np.float32), rows
