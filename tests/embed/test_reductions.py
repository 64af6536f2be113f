"""Reductions against scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD

from mrl_jax.embed import reductions


def some_rows(n=200, seed=0):
  rng = np.random.default_rng(seed)
  mix = np.random.default_rng(9).normal(size=(12, 12)) * 0.7 ** np.arange(12)
  return (rng.normal(size=(n, 12)) @ mix.T + 2).astype(np.float32)


def explained(found, x):
  """Share of the variance of x in each prefix of what it becomes."""
  outputs = (x.astype(np.float64) - found.mean) @ found.matrix
  sums = np.cumsum(np.var(outputs, axis=0))
  return sums / sums[-1]


def test_pca_is_scikit_learns(monkeypatch):
  monkeypatch.setattr(reductions, 'ROWS_AT_ONCE', 64)
  x = some_rows()
  found, peer = reductions.pca(x), PCA().fit(x.astype(np.float64))
  np.testing.assert_allclose(
    explained(found, x), np.cumsum(peer.explained_variance_ratio_), atol=1e-10
  )
  np.testing.assert_allclose(
    np.abs(found.matrix.T), np.abs(peer.components_), atol=1e-8
  )
  np.testing.assert_allclose(found.mean, peer.mean_, atol=1e-10)
  largest = np.abs(found.matrix).argmax(axis=0)
  assert (found.matrix[largest, np.arange(12)] > 0).all()
  # Float32 products of 12 terms.
  np.testing.assert_allclose(
    np.abs(found(x)), np.abs(peer.transform(x)), atol=2e-5
  )


def test_svd_is_scikit_learns():
  x = some_rows()
  found = reductions.svd(x)
  peer = TruncatedSVD(11, algorithm='arpack').fit(x.astype(np.float64))
  np.testing.assert_allclose(
    np.abs(found.matrix.T[:11]), np.abs(peer.components_), atol=1e-7
  )
  assert (found.mean == 0).all()


def test_fewer_rows_than_dimensions_and_no_variance():
  found = reductions.pca(some_rows(4))
  np.testing.assert_allclose(explained(found, some_rows(4))[3:], 1, atol=1e-6)
  assert np.isfinite(found(some_rows(4))).all()
  flat = reductions.pca(np.ones((5, 3), np.float32))
  assert (flat(np.ones((2, 3))) == 0).all()


def test_random_maps():
  x = some_rows()
  turned = reductions.random_rotation(12, 0)
  np.testing.assert_allclose(
    turned.matrix @ turned.matrix.T, np.eye(12), atol=1e-12
  )
  np.testing.assert_allclose(turned(x) @ turned(x).T, x @ x.T, rtol=1e-4)
  # Uniform over rotations: no entry has a mean.
  many = [reductions.random_rotation(3, s).matrix for s in range(600)]
  assert np.abs(np.mean(many, axis=0)).max() < 4 * np.sqrt(1 / 3 / 600)
  order = reductions.random_coordinates(12, 1)
  np.testing.assert_array_equal(np.sort(order(x), axis=1), np.sort(x, axis=1))
  assert sorted(order.order) == list(range(12))
  assert not np.array_equal(
    order.order, reductions.random_coordinates(12, 2).order
  )
  lengths = [
    np.sum(reductions.random_projection(12, s)(x[:1]) ** 2) for s in range(400)
  ]
  assert np.mean(lengths) == pytest.approx(np.sum(x[0] ** 2), rel=0.15)


def test_directions_are_components_that_leave_every_cosine():
  x, asked = some_rows(), some_rows(5, seed=1)
  fit = reductions.directions(x[:50])
  np.testing.assert_array_equal(fit.matrix, reductions.pca(x[:50]).matrix)
  np.testing.assert_allclose(fit(asked) @ fit(x).T, asked @ x.T, rtol=1e-4)
