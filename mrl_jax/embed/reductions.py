"""Other ways to m numbers: PCA, random subset, projection and rotation.

Each is one map of the full width whose every prefix is the reduction to that
many dimensions, so all of them cost one pass.
"""

import dataclasses

import numpy as np

from mrl_jax.shapes import Float, Int

ROWS_AT_ONCE = 16384


@dataclasses.dataclass(frozen=True)
class LinearMap:
  """z -> (z - mean) @ matrix."""

  mean: Float[np.ndarray, 'd']
  matrix: Float[np.ndarray, 'd d']

  def __call__(self, embeddings: Float[np.ndarray, 'n d']) -> np.ndarray:
    """[n d] float32; cut it to m to reduce to m dimensions."""
    z = np.asarray(embeddings, np.float32) - self.mean.astype(np.float32)
    return z @ self.matrix.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Reordered:
  """z -> its coordinates in another order."""

  order: Int[np.ndarray, 'd']

  def __call__(self, embeddings: Float[np.ndarray, 'n d']) -> np.ndarray:
    return np.asarray(embeddings, np.float32)[:, self.order]


def pca(embeddings: Float[np.ndarray, 'r d']) -> LinearMap:
  """Principal components, of most variance first.

  The sign of each is such that its largest entry is above 0.
  """
  mean, square = _moments(embeddings)
  return _components(mean, square - np.outer(mean, mean))


def directions(embeddings: Float[np.ndarray, 'r d']) -> LinearMap:
  """Principal components that are turned to and not centred on their mean.

  All of them together are a rotation, which leaves every cosine as it is.
  """
  fit = pca(embeddings)
  return LinearMap(np.zeros_like(fit.mean), fit.matrix)


def svd(embeddings: Float[np.ndarray, 'r d']) -> LinearMap:
  """Right singular vectors of the rows as they are, not centred."""
  mean, square = _moments(embeddings)
  return _components(np.zeros_like(mean), square)


def _components(mean, square) -> LinearMap:
  vectors = np.linalg.eigh(square)[1][:, ::-1]
  largest = np.argmax(np.abs(vectors), axis=0)
  signs = np.sign(vectors[largest, np.arange(len(largest))])
  return LinearMap(mean, vectors * signs)


def _moments(embeddings) -> tuple:
  """(mean [d], mean of z z^T [d d]) in float64, chunk by chunk."""
  width = embeddings.shape[1]
  total, square = np.zeros(width), np.zeros((width, width))
  for start in range(0, len(embeddings), ROWS_AT_ONCE):
    z = np.asarray(embeddings[start : start + ROWS_AT_ONCE], np.float64)
    total += z.sum(axis=0)
    square += z.T @ z
  return total / len(embeddings), square / len(embeddings)


def random_coordinates(width: int, seed: int) -> Reordered:
  """All coordinates in random order: its prefixes are random subsets."""
  return Reordered(np.random.default_rng(seed).permutation(width))


def random_projection(width: int, seed: int) -> LinearMap:
  """Independent Gaussian directions (Johnson and Lindenstrauss, 1984).

  Scaled so that the full width keeps squared lengths in the mean.
  """
  matrix = np.random.default_rng(seed).normal(size=(width, width))
  return LinearMap(np.zeros(width), matrix / np.sqrt(width))


def random_rotation(width: int, seed: int) -> LinearMap:
  """An orthogonal matrix, uniform over all (Mezzadri, math-ph/0609050).

  What a prefix loses by it is what the order of the coordinates was worth: an
  embedding that is not Matryoshka loses nothing.
  """
  normal = np.random.default_rng(seed).normal(size=(width, width))
  q, r = np.linalg.qr(normal)
  return LinearMap(np.zeros(width), q * np.sign(np.diagonal(r)))
