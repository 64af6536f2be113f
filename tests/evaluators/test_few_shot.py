"""Nearest class means against loops."""

import json

import numpy as np
import pytest

from mrl_jax.evaluators import few_shot
from tests.samples.classes import CLASSES, DIMS, shown, unit


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


def test_few_shot_options():
  with pytest.raises(ValueError, match=r'shots=\(0,\) must be whole'):
    few_shot.FewShot(shots=(0,))
  with pytest.raises(ValueError, match='draws=0 must be at least 1'):
    few_shot.FewShot(draws=0)
