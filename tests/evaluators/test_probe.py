"""`probe` against scikit-learn and against counts of its own probe."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from mrl_jax.embed import probes
from mrl_jax.evaluators import probe as evaluator
from tests.samples.probes import DIMS, IDS, features, material
from tests.samples.vectors import evidence_of


@pytest.mark.parametrize('solver', probes.SOLVERS)
def test_the_evaluator_counts_true_ids_of_the_queries(solver):
  data, queries = material(), material(70, seed=1)
  rows, details = evaluator.LinearProbe(solver=solver).run(
    evidence_of(data, queries, DIMS)
  )
  found = probes.fit(data, DIMS, probes.Options(solver))
  logits = np.asarray(found.logits(queries.embeddings, DIMS))
  right = found.classes[logits.argmax(-1)] == queries.labels
  assert [r['value'] for r in rows] == list(right.mean(axis=1))
  assert right.mean() > 0.5
  assert [r['strength'] for r in rows] == list(found.strengths)
  assert details['classes'] == 4
  # Shared with what answers without a head.
  assert evaluator.LinearProbe().options == probes.DEFAULTS


@pytest.mark.parametrize('solver', probes.SOLVERS)
def test_accuracy_is_scikit_learns(solver):
  data, queries = material(), material(2000, seed=1)
  rows, _ = evaluator.LinearProbe(solver=solver).run(
    evidence_of(data, queries, DIMS)
  )
  for row, m in zip(rows, DIMS):
    x, scale = features(data.embeddings, m)
    asked = np.asarray(queries.embeddings, np.float64)[:, :m] / scale
    penalty = row['strength'] * len(x)
    if solver == 'ridge':
      targets = (data.labels[:, None] == IDS).astype(float)
      scores = Ridge(alpha=penalty).fit(x, targets).predict(asked)
    else:
      peer = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
      scores = peer.fit(x, data.labels).decision_function(asked)
    right = IDS[scores.argmax(axis=1)] == queries.labels
    second, first = np.sort(scores, axis=1)[:, -2:].T
    # Fits on two machines may round these few to either side.
    close = np.sum(first - second < 1e-3)
    assert close <= 10
    assert abs(row['value'] - right.mean()) * len(right) <= close + 1e-6
