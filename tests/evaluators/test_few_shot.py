"""Nearest class means and cosines of pairs against loops and scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mrl_jax import sharding
from mrl_jax.embed import evidence
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import cosine, few_shot

DIMS = (2, 6, 10)
CLASSES = np.array([-3, 5, 70_000, 2**40])


def shown(counts=(40, 30, 20, 2), asked=60, noise=1.0):
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(4, 10))
  sides = []
  for n in (np.array(counts), np.full(len(counts), asked // len(counts))):
    index = rng.permutation(np.repeat(np.arange(len(n)), n))
    x = centres[index] + noise * rng.normal(size=(len(index), 10))
    lengths = rng.uniform(0.1, 10, (len(index), 1))
    sides.append(Vectors((x * lengths).astype(np.float16), CLASSES[index]))
  return evidence.Evidence(
    dims=DIMS,
    trained=DIMS,
    mesh=sharding.make_mesh(),
    embed=dict(zip(('train', 'validation'), sides)).__getitem__,
  )


def unit(z):
  z = np.asarray(z, np.float64)
  return z / max(np.linalg.norm(z), 1e-12)


def test_nearest_means_are_a_loop(monkeypatch):
  monkeypatch.setattr(few_shot, 'QUERIES_AT_ONCE', 7)
  seen = shown()
  database, queries = seen.database, seen.queries
  classes, support = few_shot.supports(
    np.random.default_rng(1), database.labels, 3
  )
  found = few_shot.nearest_means(
    queries.embeddings.astype(np.float32),
    database.embeddings,
    support,
    DIMS,
    (1, 3),
  )
  np.testing.assert_array_equal(classes, CLASSES)
  for s, shots in enumerate((1, 3)):
    for g, m in enumerate(DIMS):
      means = [
        np.mean(
          [unit(database.embeddings[r, :m]) for r in rows if r >= 0], axis=0
        )
        for rows in support[:shots].T
      ]
      for q, z in enumerate(queries.embeddings):
        scores = [unit(z[:m]) @ unit(mean) for mean in means]
        assert found[s, g, q] == int(np.argmax(scores))


def test_support_is_of_its_class_without_repeats_and_uniform():
  labels = np.repeat(CLASSES, (40, 30, 20, 2))
  seen = np.zeros(len(labels))
  for seed in range(300):
    classes, rows = few_shot.supports(np.random.default_rng(seed), labels, 5)
    for label, column in zip(classes, rows.T):
      there = column[column >= 0]
      assert len(there) == len(set(there)) == min(5, np.sum(labels == label))
      assert (labels[there] == label).all()
    seen[rows[0]] += 1
  assert np.abs(seen[:40] / 300 - 1 / 40).max() < 0.06
  assert np.abs(seen[-2:] / 300 - 1 / 2).max() < 0.1


def test_few_shot_rows():
  evaluator = few_shot.FewShot(shots=(5, 1), draws=4)
  rows, details = evaluator.run(shown())
  assert [(r['k'], r['dim']) for r in rows] == [
    (k, m) for k in (1, 5) for m in DIMS
  ]
  values = np.array([r['value'] for r in rows])
  assert values[-1] > 0.6 > values[0] > 0.25
  assert all(r['ci_low'] < r['value'] < r['ci_high'] for r in rows)
  assert details['classes_with_fewer_rows'] == {'1': 0, '5': 1}
  assert evaluator.run(shown())[0] == rows
  assert evaluator.metrics == ('top1@1', 'top1@5')
  json.dumps((rows, details))
  one, _ = few_shot.FewShot(shots=(1,), draws=1, queries=1).run(shown())
  assert {r['n'] for r in one} == {1}


def test_shots_that_no_class_has_are_left_out_and_said():
  rows, details = few_shot.FewShot(shots=(1, 5, 900), draws=2).run(shown())
  assert {row['k'] for row in rows} == {1, 5}
  alone, fewer = details['text']
  assert 'no class has 900 rows' in alone and '1 of ' in fewer
  same, _ = few_shot.FewShot(shots=(1, 5), draws=2).run(shown())
  assert rows == same
  assert few_shot.FewShot(shots=(900,)).run(shown())[0] == []


def test_separable_classes_are_all_found_and_one_class_too():
  for seen in (shown(noise=0.0), shown(counts=(6,))):
    rows, _ = few_shot.FewShot(shots=(2,), draws=2).run(seen)
    assert rows[-1]['value'] == 1 and rows[-1]['ci_low'] < 1


@pytest.mark.parametrize('between', [0.0, 0.5, 1.0])
def test_the_interval_covers_draws_and_queries(between):
  """Chances are logistic in a query's, a draw's and their own effect."""
  rng = np.random.default_rng(int(between * 10))

  def hits(draws, queries):
    effect = (
      1.0
      + between * rng.normal(size=(draws, 1))
      + rng.normal(size=(1, queries))
    )
    return rng.random((draws, queries)) < 1 / (1 + np.exp(-effect))

  truth = np.mean([hits(200, 200).mean() for _ in range(200)])
  covered = 0
  for _ in range(600):
    low, high = few_shot.crossed_interval(hits(20, 150))
    covered += low <= truth <= high
  assert covered / 600 >= 0.93


def test_few_shot_options():
  with pytest.raises(ValueError, match=r'shots=\(0,\) must be whole'):
    few_shot.FewShot(shots=(0,))
  with pytest.raises(ValueError, match='draws=0 and'):
    few_shot.FewShot(draws=0)


def test_pairs_are_of_their_kind_and_uniform():
  labels = np.repeat(CLASSES, (4, 3, 2, 1))[[3, 7, 0, 9, 5, 1, 2, 8, 4, 6]]
  asked = np.append(CLASSES, 12345)
  pairs = cosine.draw_pairs(np.random.default_rng(0), asked, labels, 40000)
  for kind, (query, row) in pairs.items():
    same = asked[query] == labels[row]
    assert same.all() if kind == 'positive' else not same.any()
    share = np.zeros((5, 10))
    np.add.at(share, (query, row), 1 / 40000)
    allowed = (asked[:, None] == labels) == (kind == 'positive')
    able = allowed.any(axis=1)
    expected = allowed / np.maximum(allowed.sum(1), 1)[:, None] / able.sum()
    np.testing.assert_allclose(share, expected, atol=0.006)


def test_cosines_are_cut_then_normalised():
  seen = shown()
  pairs = np.arange(20), np.arange(20)[::-1]
  found = cosine.prefix_cosines(seen.queries, seen.database, pairs, DIMS)
  for g, m in enumerate(DIMS):
    for p, (q, r) in enumerate(zip(*pairs)):
      one, two = seen.queries.embeddings[q], seen.database.embeddings[r]
      assert found[g, p] == pytest.approx(
        unit(one[:m]) @ unit(two[:m]), abs=1e-9
      )


def apart(one, two):
  """Pairs that share neither queries nor rows."""
  i, j = len(one), len(two)
  return (np.arange(i),) * 2, (np.arange(i, i + j),) * 2


@pytest.mark.parametrize('ties', [False, True])
def test_separation_is_scikit_learns(ties):
  rng = np.random.default_rng(0)
  one, two = rng.normal(0.5, 1, 70), rng.normal(0, 1, 90)
  if ties:
    one, two = np.round(one), np.round(two)
  value, (low, high) = cosine.separation(one, two, *apart(one, two))
  truth = np.repeat((1, 0), (70, 90))
  assert value == pytest.approx(
    roc_auc_score(truth, np.concatenate([one, two])), abs=1e-12
  )
  assert low < value < high
  value, (low, high) = cosine.separation(two + 99, one, *apart(two, one))
  assert value == high == 1 and 0.9 < low < 1


@pytest.mark.parametrize('shift', [0.0, 1.0, 2.5])
def test_the_interval_of_separation_covers(shift):
  from scipy import stats

  rng = np.random.default_rng(0)
  truth = stats.norm.cdf(shift / np.sqrt(2))
  covered = 0
  for _ in range(500):
    one, two = rng.normal(shift, 1, 300), rng.normal(0, 1, 40)
    low, high = cosine.separation(one, two, *apart(one, two))[1]
    covered += low <= truth <= high
  assert 0.93 <= covered / 500 <= 0.999


def test_intervals_cover_although_pairs_share_queries():
  """Other queries, the same database: 2,000 pairs of only 60 queries."""
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(4, 8))

  def some(n):
    labels = rng.integers(0, 4, n)
    z = centres[labels] + 1.5 * rng.normal(size=(n, 8))
    return Vectors(z.astype(np.float32), labels)

  def material(queries):
    splits = {'train': database, 'validation': queries}
    return evidence.Evidence(
      dims=(8,), trained=(8,), mesh=None, embed=splits.get
    )

  database = some(400)
  every = cosine.Cosine(pairs=60000).run(material(some(6000)))[0]
  truth = {row['metric']: row['value'] for row in every}
  covered = dict.fromkeys(truth, 0)
  for _ in range(150):
    for row in cosine.Cosine(pairs=2000).run(material(some(60)))[0]:
      inside = row['ci_low'] <= truth[row['metric']] <= row['ci_high']
      covered[row['metric']] += inside
  assert all(count / 150 >= 0.9 for count in covered.values()), covered


def test_cosine_rows():
  rows, details = cosine.Cosine(pairs=500).run(shown())
  by = {(r['metric'], r['dim']): r for r in rows}
  assert len(by) == len(rows) == 9
  for m in DIMS:
    gap = by['positive', m]['value'] - by['negative', m]['value']
    assert gap > 0.05 and by['separation', m]['value'] > 0.52
  low, high = by['positive', 10]['ci_low'], by['positive', 10]['ci_high']
  assert low < by['positive', 10]['value'] < high
  for counts in details['histograms']['positive']:
    assert sum(counts) == 500 and len(counts) == len(details['edges']) - 1
  json.dumps((rows, details))
  assert cosine.Cosine(pairs=500).run(shown())[0] == rows


def test_kinds_of_pairs_that_are_not_there():
  rows, details = cosine.Cosine(pairs=50).run(shown(counts=(6,)))
  assert {r['metric'] for r in rows} == {'positive'}
  assert set(details['histograms']) == {'positive'}
  with pytest.raises(ValueError, match='pairs=1 must be at least 2'):
    cosine.Cosine(pairs=1)
