"""`knn`: nearest training images of each validation image, per dimension."""

import jax
import numpy as np

from mrl_jax import rows
from mrl_jax.embed import search
from mrl_jax.shapes import Float, Int


class KNN:
  """1-NN (paper, table 2) and weighted k-NN on cut, normalised prefixes.

  Args:
    neighbours: k of the weighted vote.
    temperature: a neighbour votes exp(similarity / temperature)
      (arXiv:1805.01978, section 3.4).
  """

  needs = ('labels',)

  def __init__(self, neighbours: int = 20, temperature: float = 0.07):
    if neighbours < 1 or temperature <= 0:
      raise ValueError(
        f'neighbours={neighbours} must be at least 1 and '
        f'temperature={temperature} above 0'
      )
    self.neighbours, self.temperature = neighbours, temperature
    self.metrics = ('top1', f'weighted@{neighbours}')

  def run(self, evidence) -> tuple[list[dict], dict]:
    database, queries = evidence.database, evidence.queries
    dims, labels = evidence.dims, queries.labels
    k = min(self.neighbours, len(database))
    scores, found = jax.device_get(
      search.nested_top_k(
        queries.embeddings, database.embeddings, dims, k, evidence.mesh
      )
    )
    voters = database.labels[found]
    results = []
    for g, m in enumerate(dims):
      nearest = int(np.sum(voters[g, :, 0] == labels))
      results.append(rows.proportion('knn', 'top1', m, nearest, len(labels)))
    for g, m in enumerate(dims):
      chosen = weighted_vote(voters[g], scores[g], self.temperature)
      right = int(np.sum(chosen == labels))
      results.append(
        rows.proportion('knn', 'weighted', m, right, len(labels), k=k)
      )
    return results, {}


def weighted_vote(
  labels: Int[np.ndarray, 'q k'],
  scores: Float[np.ndarray, 'q k'],
  temperature: float,
) -> Int[np.ndarray, 'q']:
  """The class with most exp(score / temperature) among the neighbours.

  Equal sums go to the smaller class id.
  """
  weights = np.exp((scores - scores[:, :1]) / temperature)
  same = labels[:, :, None] == labels[:, None, :]
  votes = np.sum(same * weights[:, None, :].astype(np.float64), axis=-1)
  most = votes == votes.max(axis=1, keepdims=True)
  return np.where(most, labels, np.iinfo(labels.dtype).max).min(axis=1)
