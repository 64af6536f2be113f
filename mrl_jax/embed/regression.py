"""Linear classifiers at every prefix: logistic by L-BFGS, ridge by sums.

The objectives are those of embed/probes.py. Each strength is tried on the rows
that are kept, strongest first; the one with most right answers on the rows
held out is taken, the stronger of equal ones, and all rows are fitted by it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from mrl_jax.embed import minimise
from mrl_jax.shapes import Float, Int

ROWS_AT_ONCE = 16384
# Of the gradient where the Hessian is about 1: |gradient|^2 / 2 is about the
# distance of the objective from its minimum.
TOLERANCE = 1e-5


class TrainingRows(NamedTuple):
  """What is fitted: embeddings, their classes counted from 0, rows held out."""

  embeddings: Float[np.ndarray, 'n d']
  labels: Int[np.ndarray, 'n']
  held: Int[np.ndarray, 'h']


class Fitted(NamedTuple):
  """A classifier of one prefix: kernel [m v], bias [v] and how it came about.

  `gradient` is the norm left at the end.
  """

  kernel: Float[np.ndarray, 'm v']
  bias: Float[np.ndarray, 'v']
  strength: float
  gradient: float


def logistic(
  rows: TrainingRows,
  dims: Sequence[int],
  strengths: Sequence[float],
  iterations: int,
) -> list[Fitted]:
  """Logistic regression at each dim, on all rows in memory.

  Coordinates are changed by the Cholesky factor of a guess of the Hessian,
  h = p (1 - p) X^T X / n + strength with p = 1 / v: then its condition number
  is small and L-BFGS takes some 20 steps instead of hundreds. Columns beyond a
  prefix get no gradient, so all dims run one program.
  """
  embeddings, labels, held = rows
  largest = max(float(np.max(np.abs(embeddings))), np.finfo(np.float32).tiny)
  x = np.asarray(embeddings, np.float32) / np.float32(largest)
  n, width = x.shape
  x = np.append(x, np.ones((n, 1), np.float32), axis=1)
  gram = np.asarray(x.T @ x, np.float64) / n
  scales = _root_mean_squares(np.diagonal(gram)[:-1], dims)
  classes = int(labels.max()) + 1
  x, labels = jnp.asarray(x), jnp.asarray(labels, jnp.int32)
  kept = np.ones(n, np.float32)
  kept[held] = 0
  kept, everything = kept / kept.sum(), np.full(n, 1 / n, np.float32)
  fitted = []
  for m, scale in zip(dims, scales):
    mask = np.append(np.arange(width) < m, True)
    scaling = np.where(mask, np.append(np.full(width, 1 / scale), 1.0), 0.0)
    weights = jnp.zeros((width + 1, classes), jnp.float32)
    path, hits = [], []

    def solve(weights, share, strength, mask=mask, scaling=scaling):
      factor = _guess(gram, mask, scaling, strength, classes)
      return _descend(
        weights, x, labels, share, scaling, factor, strength, iterations
      )

    for strength in strengths:
      weights, _ = solve(weights, kept, strength)
      path.append(weights)
      scores = jnp.matmul(x[held] * scaling, weights, precision='highest')
      hits.append(int(jnp.sum(jnp.argmax(scores, axis=1) == labels[held])))
    best = int(np.argmax(hits))
    weights, gradient = solve(path[best], everything, strengths[best])
    kernel = np.asarray(weights, np.float64)[:m] / (scale * largest)
    bias = np.asarray(weights[-1])
    fitted.append(Fitted(kernel, bias, strengths[best], float(gradient)))
  return fitted


def _guess(gram, mask, scaling, strength, classes):
  """Lower Cholesky factor of the guessed Hessian; 1 where columns are off."""
  spread = max(1 - 1 / classes, 0.5) / classes
  penalty = np.append(np.full(len(mask) - 1, max(strength, 1e-6)), 0.0)
  hessian = spread * gram * np.outer(scaling, scaling) + np.diag(
    np.where(mask, penalty, 1.0)
  )
  return np.linalg.cholesky(hessian).astype(np.float32)


@jax.jit
def _descend(weights, x, labels, share, scaling, factor, strength, iterations):
  """(weights at the minimum [d+1 v], gradient norm left), started at weights.

  The last row of the weights is the bias. `share` is each row's part of the
  mean. The variable is factor^T weights.
  """

  def original(u):
    return solve_triangular(factor, u, lower=True, trans=1)

  def objective(u):
    w = original(u)
    logits = jnp.matmul(x, scaling[:, None] * w, precision='highest')
    right = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    losses = jax.nn.logsumexp(logits, axis=1) - right
    return jnp.sum(share * losses) + strength / 2 * jnp.sum(w[:-1] ** 2)

  start = jnp.matmul(factor.T, weights, precision='highest')
  u, gradient = minimise.lbfgs(objective, start, TOLERANCE, iterations)
  return original(u), gradient


def ridge(
  rows: TrainingRows, dims: Sequence[int], strengths: Sequence[float]
) -> list[Fitted]:
  """Ridge regression at each dim, from one pass over rows that may be mapped.

  The Gram matrix of a prefix is a corner of the full one's, so one pass gives
  all dims; rows held out and others are summed apart.
  """
  embeddings, labels, held = rows
  width, classes = dims[-1], int(labels.max()) + 1
  apart = np.zeros(len(labels), bool)
  apart[held] = True
  shapes = (width + 1, width + 1), (width + 1, classes)
  sums = [[np.zeros(shape) for shape in shapes] for _ in range(2)]
  for start in range(0, len(labels), ROWS_AT_ONCE):
    span = slice(start, start + ROWS_AT_ONCE)
    z = np.asarray(embeddings[span, :width], np.float64)
    z = np.append(z, np.ones((len(z), 1)), axis=1)
    for side, (gram, targets) in enumerate(sums):
      mine = apart[span] == side
      gram += z[mine].T @ z[mine]
      targets += _class_sums(z[mine], labels[span][mine], classes)
  both = [kept + held_out for kept, held_out in zip(*sums)]
  scales = _root_mean_squares(np.diagonal(both[0])[:-1] / len(labels), dims)
  asked = np.asarray(embeddings[held, :width], np.float64)
  fitted = []
  for m, scale in zip(dims, scales):
    hits = []
    for strength in strengths:
      kernel, bias = _solve_ridge(*sums[0], m, scale, strength)
      answers = np.argmax(asked[:, :m] @ kernel + bias, axis=1)
      hits.append(np.sum(answers == labels[held]))
    strength = strengths[int(np.argmax(hits))]
    kernel, bias = _solve_ridge(*both, m, scale, strength)
    fitted.append(Fitted(kernel, bias, strength, 0.0))
  return fitted


def _class_sums(rows, labels, classes):
  """[d v]: the sum of the rows of each class."""
  sums = np.zeros((rows.shape[1], classes))
  if len(labels):
    order = np.argsort(labels, kind='stable')
    present, starts = np.unique(labels[order], return_index=True)
    sums[:, present] = np.add.reduceat(rows[order], starts, axis=0).T
  return sums


def _solve_ridge(gram, targets, m, scale, strength):
  """(kernel [m v], bias [v]) of the first m columns, by normal equations."""
  n = gram[-1, -1]
  mean, frequency = gram[:m, -1] / n, targets[-1] / n
  covariance = gram[:m, :m] / n - np.outer(mean, mean)
  towards = targets[:m] / n - np.outer(mean, frequency)
  penalty = strength * scale**2 * np.eye(m)
  kernel = np.linalg.solve(covariance + penalty, towards)
  return kernel, frequency - mean @ kernel


def _root_mean_squares(
  squares: Float[np.ndarray, 'd'], dims: Sequence[int]
) -> Float[np.ndarray, 'g']:
  """Of the prefixes, from the mean square of each column; 1 in place of 0."""
  means = np.cumsum(squares)[np.asarray(dims) - 1] / np.asarray(dims)
  return np.where(means > 0, np.sqrt(means), 1.0)
