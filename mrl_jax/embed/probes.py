"""Linear probes on frozen prefixes: logistic or ridge regression at each dim.

Features are x = z[:m] / rms(z[:m]), the root mean square of all entries of the
prefix, so units do not matter; they are not centred. The bias is not
penalised. With one-hot targets y and n rows, a probe minimises
  lbfgs: mean_i -log softmax(W^T x_i + b)[y_i] + strength / 2 * |W|^2
  ridge: mean_i |y_i - W^T x_i - b|^2 / 2 + strength / 2 * |W|^2.
The strength of each dim is the one with most right answers on rows held out
of those given, the stronger of equal ones; then all of them are fitted.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from mrl_jax.embed import minimise
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Array, Float, Int

SOLVERS = ('lbfgs', 'ridge')
STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
EXAMPLES = 20000
ROWS_AT_ONCE = 16384
HELD_OUT_AT_MOST = 20000
# Of the gradient where the Hessian is about 1: |gradient|^2 / 2 is about the
# distance of the objective from its minimum.
TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Probe:
  """One linear classifier per dim.

  Attributes:
    classes: the class id that each column of the logits stands for.
    kernels: of the embeddings as they come, zero beyond each prefix.
    strengths: chosen per dim.
    gradients: the norm left per dim, at most TOLERANCE if converged; 0 for
      ridge, which is solved.
  """

  dims: tuple[int, ...]
  classes: Int[np.ndarray, 'v']
  kernels: Float[Array, 'g d v']
  biases: Float[Array, 'g v']
  strengths: tuple[float, ...]
  gradients: tuple[float, ...]

  def logits(
    self, embeddings: Float[np.ndarray, 'b d'], dims: Sequence[int]
  ) -> Float[Array, 'g b v']:
    """Scores of `classes` at some of the fitted dims.

    Of ridge they are estimates of the one-hot target, no log-probabilities.

    Raises:
      ValueError: for a dim that was not fitted.
    """
    if not set(dims) <= set(self.dims):
      raise ValueError(f'dims={tuple(dims)} must be among {self.dims}')
    index = np.asarray([self.dims.index(m) for m in dims])
    z = jnp.asarray(np.asarray(embeddings, np.float32)[:, : self.dims[-1]])
    return prefix_logits(z, self.kernels, self.biases, index)


@jax.jit
def prefix_logits(z, kernels, biases, index):
  def one(g):
    return jnp.matmul(z, kernels[g], precision='highest') + biases[g]

  return jax.lax.map(one, index)


def fit(
  database: Vectors,
  dims: Sequence[int],
  *,
  strengths: Sequence[float] = STRENGTHS,
  solver: str = SOLVERS[0],
  held_out: float = 0.1,
  examples: int = EXAMPLES,
  iterations: int = 300,
  seed: int = 0,
) -> Probe:
  """A probe at every dim, on the rows and labels of the database.

  Args:
    dims: increasing.
    held_out: share of the rows that choose the strength.
    examples: rows that lbfgs is fitted on, drawn if there are more; classes
      of which none is drawn are never answered. Ridge takes all rows, in
      one pass.
    iterations: of L-BFGS at each strength, at most.
    seed: of the rows drawn and held out.
  """
  check_options(strengths, solver, examples, held_out, iterations)
  check(database, dims)
  strengths = sorted({float(s) for s in strengths}, reverse=True)
  random = np.random.default_rng(seed)
  if solver == 'lbfgs' and len(database) > examples:
    chosen = np.sort(random.choice(len(database), examples, replace=False))
  else:
    chosen = np.arange(len(database))
  classes, labels = np.unique(database.labels[chosen], return_inverse=True)
  count = int(np.ceil(held_out * len(chosen))) if len(chosen) > 1 else 0
  held = random.permutation(len(chosen))[: min(count, HELD_OUT_AT_MOST)]
  held = np.sort(held)
  if solver == 'ridge':
    found = fit_ridge(database.embeddings, labels, held, dims, strengths)
  else:
    embeddings = np.asarray(database.embeddings[chosen, : dims[-1]])
    found = fit_lbfgs(embeddings, labels, held, dims, strengths, iterations)
  kernels, biases, strengths, gradients = (list(part) for part in zip(*found))
  width = dims[-1]
  kernels = [np.pad(k, ((0, width - len(k)), (0, 0))) for k in kernels]
  return Probe(
    tuple(dims),
    classes,
    jnp.asarray(np.stack(kernels), jnp.float32),
    jnp.asarray(np.stack(biases), jnp.float32),
    tuple(strengths),
    tuple(gradients),
  )


def check_options(strengths, solver, examples, held_out=0.5, iterations=1):
  """Raises a ValueError of one line for options that `fit` cannot take."""
  if solver not in SOLVERS:
    raise ValueError(f'solver={solver!r} must be one of {", ".join(SOLVERS)}')
  if not strengths or any(not 0 < s < np.inf for s in strengths):
    raise ValueError(
      f'strengths={tuple(strengths)} must be numbers above 0, like {STRENGTHS}'
    )
  if not 0 < held_out < 1:
    raise ValueError(f'held_out={held_out} must be a share between 0 and 1')
  if examples < 2 or iterations < 1:
    raise ValueError(
      f'examples={examples} must be at least 2 and iterations={iterations} 1'
    )


def check(database, dims):
  """Raises a ValueError of one line for rows that cannot be fitted."""
  if database.labels is None or not len(database):
    raise ValueError('a probe needs a database with labels; this has none')
  width = database.embeddings.shape[1]
  if dims[-1] > width:
    raise ValueError(f'dims end at {dims[-1]}, the embeddings at {width}')


def root_mean_squares(
  squares: Float[np.ndarray, 'd'], dims: Sequence[int]
) -> Float[np.ndarray, 'g']:
  """Of the prefixes, from the mean square of each column; 1 in place of 0."""
  found = np.sqrt(np.cumsum(squares)[np.asarray(dims) - 1] / np.asarray(dims))
  return np.where(found > 0, found, 1.0)


def fit_lbfgs(embeddings, labels, held, dims, strengths, iterations):
  """(kernel, bias, strength, gradient norm) of each dim.

  Coordinates are changed by the Cholesky factor of a guess of the Hessian,
  h = p (1 - p) X^T X / n + strength with p = 1 / v: then its condition number
  is small and L-BFGS takes some 20 steps instead of hundreds. Columns beyond a
  prefix get no gradient, so all dims run one program.
  """
  unit = max(float(np.max(np.abs(embeddings))), np.finfo(np.float32).tiny)
  x = np.asarray(embeddings, np.float32) / np.float32(unit)
  rows, width = x.shape
  x = np.append(x, np.ones((rows, 1), np.float32), axis=1)
  gram = np.asarray(x.T @ x, np.float64) / rows
  scales = root_mean_squares(np.diagonal(gram)[:-1], dims)
  classes = int(labels.max()) + 1
  x, labels = jnp.asarray(x), jnp.asarray(labels, jnp.int32)
  kept = np.ones(rows, np.float32)
  kept[held] = 0
  kept, all_rows = kept / kept.sum(), np.full(rows, 1 / rows, np.float32)
  found = []
  for m, scale in zip(dims, scales):
    mask = np.append(np.arange(width) < m, True)
    scaling = np.where(mask, np.append(np.full(width, 1 / scale), 1.0), 0.0)
    weights = jnp.zeros((width + 1, classes), jnp.float32)
    path, hits = [], []

    def solve(weights, share, strength, mask=mask, scaling=scaling):
      factor = guess(gram, mask, scaling, strength, classes)
      return descend(
        weights, x, labels, share, scaling, factor, strength, iterations
      )

    for strength in strengths:
      weights, _ = solve(weights, kept, strength)
      path.append(weights)
      scores = jnp.matmul(x[held] * scaling, weights, precision='highest')
      hits.append(int(jnp.sum(jnp.argmax(scores, axis=1) == labels[held])))
    best = int(np.argmax(hits))
    weights, gradient = solve(path[best], all_rows, strengths[best])
    kernel = np.asarray(weights, np.float64)[:m] / (scale * unit)
    found.append(
      (kernel, np.asarray(weights[-1]), strengths[best], float(gradient))
    )
  return found


def guess(gram, mask, scaling, strength, classes):
  """Lower Cholesky factor of the guessed Hessian; 1 where columns are off."""
  spread = max(1 - 1 / classes, 0.5) / classes
  penalty = np.append(np.full(len(mask) - 1, max(strength, 1e-6)), 0.0)
  hessian = spread * gram * np.outer(scaling, scaling) + np.diag(
    np.where(mask, penalty, 1.0)
  )
  return np.linalg.cholesky(hessian).astype(np.float32)


@jax.jit
def descend(weights, x, labels, share, scaling, factor, strength, iterations):
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


def fit_ridge(embeddings, labels, held, dims, strengths):
  """(kernel, bias, strength, 0) of each dim, from sums over the rows once.

  The Gram matrix of a prefix is a corner of the full one's, so one pass gives
  all dims; rows held out and others are summed apart.
  """
  width, classes = dims[-1], int(labels.max()) + 1
  apart = np.zeros(len(labels), bool)
  apart[held] = True
  shape = (width + 1, width + 1), (width + 1, classes)
  sums = [[np.zeros(s) for s in shape] for _ in range(2)]
  for start in range(0, len(labels), ROWS_AT_ONCE):
    span = slice(start, start + ROWS_AT_ONCE)
    z = np.asarray(embeddings[span, :width], np.float64)
    z = np.append(z, np.ones((len(z), 1)), axis=1)
    for side, (gram, targets) in enumerate(sums):
      rows = z[apart[span] == side]
      gram += rows.T @ rows
      targets += class_sums(rows, labels[span][apart[span] == side], classes)
  both = [a + b for a, b in zip(*sums)]
  scales = root_mean_squares(np.diagonal(both[0])[:-1] / len(labels), dims)
  tried = np.asarray(embeddings[held, :width], np.float64)
  found = []
  for m, scale in zip(dims, scales):
    hits = []
    for strength in strengths:
      kernel, bias = solve_ridge(*sums[0], m, scale, strength)
      chosen = np.argmax(tried[:, :m] @ kernel + bias, axis=1)
      hits.append(np.sum(chosen == labels[held]))
    strength = strengths[int(np.argmax(hits))]
    found.append((*solve_ridge(*both, m, scale, strength), strength, 0.0))
  return found


def class_sums(rows, labels, classes):
  """[d v]: the sum of the rows of each class."""
  found = np.zeros((rows.shape[1], classes))
  if len(labels):
    order = np.argsort(labels, kind='stable')
    there, starts = np.unique(labels[order], return_index=True)
    found[:, there] = np.add.reduceat(rows[order], starts, axis=0).T
  return found


def solve_ridge(gram, targets, m, scale, strength):
  """(kernel [m v], bias [v]) of the first m columns, by normal equations."""
  n = gram[-1, -1]
  mean, frequency = gram[:m, -1] / n, targets[-1] / n
  covariance = gram[:m, :m] / n - np.outer(mean, mean)
  towards = targets[:m] / n - np.outer(mean, frequency)
  penalty = strength * scale**2 * np.eye(m)
  kernel = np.linalg.solve(covariance + penalty, towards)
  return kernel, frequency - mean @ kernel
