"""Rankings with ties against all orders of the tied rows, one by one."""

import itertools

import numpy as np
import pytest

from mrl_jax import sharding
from mrl_jax.embed import exact, relevance, ties
from mrl_jax.embed.vectors import Vectors
from tests.samples.vectors import unit

MEASURES = ('p', 'r', 'map', 'map_min', 'ndcg', 'mrr')


def naive_measures(grades, k, ideal, total):
  """One query's measures from the grades of all rows in one order."""
  hits, values = 0, dict.fromkeys(MEASURES, 0.0)
  for rank, grade in enumerate(grades[:k], start=1):
    values['ndcg'] += grade / np.log2(rank + 1)
    if grade > 0:
      hits += 1
      values['map'] += hits / rank
      values['mrr'] = values['mrr'] or 1 / rank
  values['p'], values['r'] = hits / k, hits / max(total, 1)
  values['map_min'] = values['map'] / max(min(k, total), 1)
  values['map'] /= k
  best = sum(g / np.log2(rank + 1) for rank, g in enumerate(ideal[:k], start=1))
  values['ndcg'] /= best or 1
  return values


def orders(scores):
  """All orders of rows by falling score, tied rows in every order."""
  groups = [np.flatnonzero(scores == s) for s in np.unique(scores)[::-1]]
  for parts in itertools.product(*map(itertools.permutations, groups)):
    yield [row for part in parts for row in part]


def tiny(seed):
  """Signs in two dims and a duplicate or two: groups of up to five rows."""
  rng = np.random.default_rng(seed)
  x = rng.choice([-1.0, 1.0], (9, 2)).astype(np.float32)
  x[:3] *= rng.uniform(0.5, 3, (3, 1))  # cosines do not see lengths
  return x, rng.choice([-1.0, 1.0], (4, 2)).astype(np.float32)


def judged(seed, x, q):
  rng = np.random.default_rng(seed)
  grades = rng.integers(-1, 3, (len(q), len(x))).clip(0)
  grades[1] = 0
  qrels = {i: dict(enumerate(row.tolist())) for i, row in enumerate(grades)}
  return grades, relevance.by_judgement(qrels, Vectors(q), Vectors(x))


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('k', [1, 3, 5, 9])
def test_measures_are_means_over_all_orders_of_tied_rows(seed, k):
  x, q = tiny(seed)
  grades, related = judged(seed, x, q)
  found = ties.rankings(
    Vectors(q), Vectors(x), (1, 2), k, related, sharding.make_mesh()
  )
  for m, ranking in zip((1, 2), found):
    values = ties.expected_measures(ranking, related.ideal(k), related.totals)
    scores = np.round(unit(q, m) @ unit(x, m).T, 6)
    for i, score in enumerate(scores):
      if sum(np.unique(score, return_counts=True)[1] > 6):
        continue  # more than 5,000 orders
      best, total = sorted(grades[i])[::-1], np.sum(grades[i] > 0)
      every = [
        naive_measures(grades[i][order], k, best, total)
        for order in orders(score)
      ]
      for name in MEASURES:
        expected = np.mean([one[name] for one in every])
        assert values[name][i] == pytest.approx(expected, abs=1e-12), (name, i)
      first = np.mean([grades[i][order[0]] > 0 for order in orders(score)])
      assert ranking.chance[i, 0] == pytest.approx(first)


def test_groups_are_counted_beyond_the_list_and_by_class():
  rng = np.random.default_rng(0)
  x = rng.choice([-1.0, 1.0], (700, 12)).astype(np.float32)
  q, dims, k = x[:30] * np.float32(3), (1, 3, 8, 12), 5
  labels = rng.integers(0, 4, 700)
  database, queries = Vectors(x, labels), Vectors(q, labels[:30])
  related = relevance.by_class(queries, database)
  found = ties.rankings(
    queries, database, dims, k, related, sharding.make_mesh()
  )
  for m, ranking in zip(dims, found):
    scores = q[:, :m] @ x[:, :m].T
    of_ranks = np.sort(scores, axis=1)[:, ::-1][:, :k]
    for i, rank in np.ndindex(30, k):
      tied = scores[i] == of_ranks[i, rank]
      assert ranking.size[i, rank] == tied.sum()
      same = np.sum(tied & (labels == labels[i]))
      assert ranking.relevant[i, rank] == same
      assert ranking.first[i, rank] == np.sum(scores[i] > of_ranks[i, rank])
    assert ranking.open.any() == (m < 12 or (ranking.size > 1).any())


def test_chunks_of_the_count_are_one_database(monkeypatch):
  monkeypatch.setattr(ties, 'SCORES_AT_ONCE', 40)
  monkeypatch.setattr(ties, 'LEAST_ROWS', 7)
  test_groups_are_counted_beyond_the_list_and_by_class()
  test_measures_are_means_over_all_orders_of_tied_rows(0, 3)


def test_rows_are_counted_only_where_a_list_ends_in_a_tie(monkeypatch):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(60, 8)).astype(np.float32)
  x[1] = x[0]
  queries, database = (
    Vectors(x[:1], np.zeros(1, int)),
    Vectors(x, np.arange(60)),
  )
  related = relevance.by_class(queries, database)
  asked = []

  class Counted(ties.Reaching):
    def __init__(self, queries, database, dim, bounds):
      asked.append(dim)
      super().__init__(queries, database, dim, bounds)

  monkeypatch.setattr(ties, 'Reaching', Counted)
  for k, dims in ((1, [2, 8]), (2, []), (5, []), (60, [])):
    asked.clear()
    mesh = sharding.make_mesh()
    list(ties.rankings(queries, database, (2, 8), k, related, mesh))
    assert asked == dims


def test_without_ties_a_ranking_is_the_list():
  rng = np.random.default_rng(0)
  x, q = (rng.normal(size=(n, 8)).astype(np.float32) for n in (90, 7))
  labels = rng.integers(0, 3, 97)
  database, queries = Vectors(x, labels[:90]), Vectors(q, labels[90:])
  related, mesh = relevance.by_class(queries, database), sharding.make_mesh()
  (ranking,) = ties.rankings(queries, database, (8,), 6, related, mesh)
  rows = exact.nested_top_k(q, x, (8,), 6, mesh)[1][0]
  np.testing.assert_array_equal(ranking.rows, rows)
  np.testing.assert_array_equal(ranking.chance, related.grades(rows))
  assert (ranking.size == 1).all() and not ranking.open.any()
  with pytest.raises(ValueError, match='k=91 must be from 1 to the 90 rows'):
    list(ties.rankings(queries, database, (8,), 91, related, mesh))


def test_groups_are_measured_from_their_best_row():
  scores = np.array([[1, 1 - 9e-7, 1 - 1.8e-6, 0.5], [1, 0.9, 0.8, 0.8]])
  assert ties.group_starts(scores).tolist() == [[0, 0, 2, 3], [0, 1, 2, 2]]


def test_average_precision_by_hand():
  def ranking(relevant):
    relevant = np.array(relevant)
    one, rank = np.ones(relevant.shape), np.arange(4)[None]
    return ties.Ranking(one, one, rank, one, relevant, relevant)

  best = np.array([[1, 1, 0, 0]])
  found = ties.expected_measures(ranking([[1, 0, 1, 0]]), best, np.array([2]))
  assert found['map'][0] == pytest.approx((1 + 2 / 3) / 4)
  assert found['map_min'][0] == pytest.approx((1 + 2 / 3) / 2)
  assert found['p'][0] == 0.5 and found['r'][0] == 1 and found['mrr'][0] == 1
  ideal = 1 + 1 / np.log2(3)
  assert found['ndcg'][0] == pytest.approx((1 + 1 / 2) / ideal)
  nothing = ranking(np.zeros((1, 4)))
  values = ties.expected_measures(nothing, 0 * best, np.array([0]))
  assert all(value[0] == 0 for value in values.values())
