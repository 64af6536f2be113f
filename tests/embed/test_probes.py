"""Linear probes against scikit-learn; they meet any labels and any rows."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from mrl_jax.embed import minimise, probes, regression
from mrl_jax.embed.vectors import Vectors
from tests.samples.probes import DIMS, IDS, features, material


def fit(data, dims=DIMS, **options):
  return probes.fit(data, dims, probes.Options(**options))


@pytest.mark.parametrize('units', [1.0, 1e-6, 300.0])
def test_logistic_regression_is_scikit_learns(units):
  data = material(units=units)
  found = fit(data, strengths=(0.01,))
  assert max(found.gradients) <= regression.TOLERANCE
  np.testing.assert_array_equal(found.classes, IDS)
  logits = np.asarray(found.logits(data.embeddings, DIMS), np.float64)
  for g, m in enumerate(DIMS):
    x, scale = features(data.embeddings, m)
    peer = LogisticRegression(
      C=1 / (0.01 * len(x)), solver='newton-cholesky', tol=1e-10
    ).fit(x, data.labels)
    kernel = np.asarray(found.kernels[g], np.float64)
    assert (kernel[m:] == 0).all()
    np.testing.assert_allclose(kernel[:m] * scale, peer.coef_.T, atol=1e-4)
    chances = np.exp(logits[g] - logits[g].max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    np.testing.assert_allclose(chances, peer.predict_proba(x), atol=1e-4)


def test_ridge_is_scikit_learns_in_chunks(monkeypatch):
  monkeypatch.setattr(regression, 'ROWS_AT_ONCE', 37)
  data = material()
  found = fit(data, strengths=(0.03,), solver='ridge')
  targets = (data.labels[:, None] == IDS).astype(float)
  for g, m in enumerate(DIMS):
    x, scale = features(data.embeddings, m)
    peer = Ridge(alpha=0.03 * len(x)).fit(x, targets)
    kernel = np.asarray(found.kernels[g], np.float64)
    np.testing.assert_allclose(kernel[:m] * scale, peer.coef_.T, atol=1e-5)
    np.testing.assert_allclose(found.biases[g], peer.intercept_, atol=1e-5)


@pytest.mark.parametrize('solver', probes.SOLVERS)
def test_the_strength_is_the_best_on_rows_held_out(solver):
  """Refits with scikit-learn on the rows kept, and counts on those held."""
  x, y = load_digits(return_X_y=True)
  x, y = x[y < 4][:300, 20:36], y[y < 4][:300]
  data = Vectors(x.astype(np.float32), y)
  strengths = (30.0, 0.3, 0.003)
  found = fit(data, (16,), strengths=strengths, solver=solver)
  held = np.random.default_rng(0).permutation(300)[:30]
  kept = np.setdiff1d(np.arange(300), held)
  x, _ = features(data.embeddings, 16)
  hits = []
  for strength in strengths:
    if solver == 'ridge':
      peer = Ridge(alpha=strength * len(kept))
      peer.fit(x[kept], np.eye(4)[data.labels[kept]])
      said = peer.predict(x[held]).argmax(1)
    else:
      peer = LogisticRegression(C=1 / (strength * len(kept)), max_iter=500)
      said = peer.fit(x[kept], data.labels[kept]).predict(x[held])
    hits.append(np.sum(said == data.labels[held]))
  assert len(set(hits)) > 1
  assert found.strengths == (strengths[int(np.argmax(hits))],)


def test_fewer_dims_and_rows_than_fitted():
  data = material()
  found = fit(data, strengths=(0.1,), examples=50)
  full = np.asarray(found.logits(data.embeddings[:9], DIMS))
  some = np.asarray(found.logits(data.embeddings[:9], (16, 3)))
  np.testing.assert_array_equal(some, full[[2, 0]])
  with pytest.raises(ValueError, match=r'dims=\(4,\) must be among'):
    found.logits(data.embeddings, (4,))
  # The rows drawn, and nothing else, are fitted.
  rows = np.sort(np.random.default_rng(0).choice(300, 50, replace=False))
  part = Vectors(data.embeddings[rows], data.labels[rows])
  again = fit(part, strengths=(0.1,))
  np.testing.assert_allclose(again.kernels, found.kernels, atol=1e-3)


@pytest.mark.parametrize('solver', probes.SOLVERS)
@pytest.mark.parametrize('case', ['one class', 'constant', 'zero', 'one row'])
def test_what_there_is_nothing_to_learn_from(solver, case):
  data = material()
  x, labels = data.embeddings.copy(), data.labels
  if case == 'one class':
    labels = np.full(300, 99_999)
  elif case == 'constant':
    x[:, 1:9] = 3
  elif case == 'zero':
    x[:] = 0
  else:
    x, labels = x[:1], labels[:1]
  found = fit(Vectors(x.astype(np.float16), labels), solver=solver)
  logits = np.asarray(found.logits(x, DIMS))
  assert np.isfinite(logits).all()
  said = found.classes[logits.argmax(-1)]
  if case in ('one class', 'one row'):
    assert (said == labels).all()
  if case == 'zero':  # the most frequent class
    values, counts = np.unique(labels, return_counts=True)
    assert (said == values[counts.argmax()]).all()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(solver='sgd'), "solver='sgd' must be one of lbfgs, ridge"),
    (dict(strengths=(0,)), 'must be numbers above 0'),
    (dict(strengths=()), 'must be numbers above 0'),
    (dict(examples=1), 'examples=1 must be at least 2'),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    probes.Options(**options)


def test_rows_that_cannot_be_fitted():
  with pytest.raises(ValueError, match='labels; this has none'):
    probes.fit(Vectors(np.ones((3, 4))), (4,))
  with pytest.raises(ValueError, match='dims end at 8, the embeddings at 4'):
    probes.fit(Vectors(np.ones((3, 4)), np.arange(3)), (8,))


def test_the_minimum_of_a_quadratic_and_of_a_steep_function():
  curve = jnp.asarray(np.diag([1.0, 10.0, 100.0]), jnp.float32)
  goal = jnp.asarray([1.0, -2.0, 3.0])
  x, gradient = minimise.lbfgs(
    lambda x: 0.5 * (x - goal) @ curve @ (x - goal), jnp.zeros(3), 1e-4, 100
  )
  np.testing.assert_allclose(x, goal, atol=1e-4)
  assert gradient <= 1e-4
  x, gradient = minimise.lbfgs(
    lambda x: jnp.sum(jnp.logaddexp(8 * x, -3 * x)),
    jnp.full((2, 2), 5.0),
    1e-4,
    200,
  )
  # d/dx = 0 where e^{11 x} = 3 / 8.
  np.testing.assert_allclose(x, np.log(3 / 8) / 11, atol=1e-4)
  assert gradient <= 1e-4


@pytest.mark.parametrize('solver', probes.SOLVERS)
def test_rows_held_out_do_not_teach(solver, monkeypatch):
  """Labels are noise: a weak penalty memorises them, and gains nothing."""
  monkeypatch.setattr(probes, 'HELD_OUT', 0.5)
  rng = np.random.default_rng(1)
  chosen = []
  for seed in range(10):
    x = rng.normal(size=(24, 16)).astype(np.float32)
    data = Vectors(x, rng.integers(0, 2, 24))
    monkeypatch.setattr(probes, 'SEED', seed)
    options = dict(strengths=(100.0, 1e-4), solver=solver)
    chosen += fit(data, (16,), **options).strengths
  assert chosen.count(100.0) >= 2
