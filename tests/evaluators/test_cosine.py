"""Cosines of pairs against loops and scikit-learn; their intervals."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import cosine
from tests.samples.classes import CLASSES, DIMS, shown, unit
from tests.samples.vectors import evidence_of


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
    return evidence_of(database, queries, (8,), mesh=None)

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
