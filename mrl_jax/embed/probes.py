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

from mrl_jax.embed import regression, vectors
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Array, Float, Int

SOLVERS = ('lbfgs', 'ridge')
HELD_OUT = 0.1  # share of the rows that chooses the strength
HELD_OUT_AT_MOST = 20000
ITERATIONS = 300  # of L-BFGS at each strength, at most
SEED = 0  # of the rows drawn and held out


@dataclasses.dataclass(frozen=True)
class Options:
  """How a probe is fitted.

  Attributes:
    solver: 'lbfgs' for logistic, 'ridge' for ridge regression.
    strengths: of the penalty, of which held out rows choose.
    examples: rows that lbfgs is fitted on, drawn if there are more; classes
      of which none is drawn are never answered. Ridge takes all rows, in
      one pass.
  """

  solver: str = SOLVERS[0]
  strengths: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
  examples: int = 20000

  def __post_init__(self):
    if self.solver not in SOLVERS:
      raise ValueError(
        f'solver={self.solver!r} must be one of {", ".join(SOLVERS)}'
      )
    if not self.strengths or any(not 0 < s < np.inf for s in self.strengths):
      raise ValueError(
        f'strengths={tuple(self.strengths)} must be numbers above 0, like '
        f'{Options.strengths}'
      )
    if self.examples < 2:
      raise ValueError(f'examples={self.examples} must be at least 2')


DEFAULTS = Options()


@dataclasses.dataclass(frozen=True)
class Probe:
  """One linear classifier per dim.

  Attributes:
    classes: the class id that each column of the logits stands for.
    kernels: of the embeddings as they come, zero beyond each prefix.
    strengths: chosen per dim.
    gradients: the norm left per dim, at most regression.TOLERANCE if
      converged; 0 for ridge, which is solved.
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

    Those of ridge estimate the one-hot target; they are not
    log-probabilities.

    Raises:
      ValueError: for a dim that was not fitted.
    """
    if not set(dims) <= set(self.dims):
      raise ValueError(f'dims={tuple(dims)} must be among {self.dims}')
    index = np.asarray([self.dims.index(m) for m in dims])
    z = jnp.asarray(np.asarray(embeddings, np.float32)[:, : self.dims[-1]])
    return _prefix_logits(z, self.kernels, self.biases, index)


@jax.jit
def _prefix_logits(z, kernels, biases, index):
  def one(g):
    return jnp.matmul(z, kernels[g], precision='highest') + biases[g]

  return jax.lax.map(one, index)


def fit(
  database: Vectors, dims: Sequence[int], options: Options = DEFAULTS
) -> Probe:
  """A probe at every dim, increasing, on the rows and labels of the database.

  Raises:
    ValueError: without labels or rows, or if a dim exceeds the width.
  """
  _check(database, dims)
  strengths = sorted({float(s) for s in options.strengths}, reverse=True)
  random = np.random.default_rng(SEED)
  lbfgs = options.solver == 'lbfgs'
  most = options.examples if lbfgs else len(database)
  chosen = vectors.draw_rows(random, len(database), most)
  classes, labels = np.unique(database.labels[chosen], return_inverse=True)
  count = int(np.ceil(HELD_OUT * len(chosen)))
  count = min(count, HELD_OUT_AT_MOST) if len(chosen) > 1 else 0
  held = np.sort(random.permutation(len(chosen))[:count])
  if lbfgs:
    embeddings = np.asarray(database.embeddings[chosen, : dims[-1]])
    rows = regression.TrainingRows(embeddings, labels, held)
    fitted = regression.logistic(rows, dims, strengths, ITERATIONS)
  else:
    rows = regression.TrainingRows(database.embeddings, labels, held)
    fitted = regression.ridge(rows, dims, strengths)
  kernels, biases, strengths, gradients = zip(*fitted)
  width = dims[-1]
  kernels = [np.pad(k, ((0, width - len(k)), (0, 0))) for k in kernels]
  return Probe(
    tuple(dims),
    classes,
    jnp.asarray(np.stack(kernels), jnp.float32),
    jnp.asarray(np.stack(biases), jnp.float32),
    strengths,
    gradients,
  )


def _check(database: Vectors, dims: Sequence[int]) -> None:
  """Raises a ValueError of one line for rows that cannot be fitted."""
  if database.labels is None or not len(database):
    raise ValueError('a probe needs a database with labels; this has none')
  width = database.embeddings.shape[1]
  if dims[-1] > width:
    raise ValueError(f'dims end at {dims[-1]}, the embeddings at {width}')
