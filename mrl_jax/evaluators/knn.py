"""`knn`: nearest training images of each validation image, per dimension."""

import numpy as np

from mrl_jax import rows
from mrl_jax.embed import exact
from mrl_jax.evaluators import options
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
    options.at_least(1, neighbours=neighbours)
    if temperature <= 0:
      raise ValueError(f'temperature={temperature} must be above 0')
    self.neighbours, self.temperature = neighbours, temperature
    self.metrics = ('top1', f'weighted@{neighbours}')

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    database, queries, dims = evidence.database, evidence.queries, evidence.dims
    k = min(self.neighbours, len(database))
    scores, nearest = exact.nested_top_k(
      queries.embeddings, database.embeddings, dims, k, evidence.mesh
    )
    voters = database.labels[nearest]
    votes = [
      weighted_vote(labels, score, self.temperature)
      for labels, score in zip(voters, scores)
    ]
    results = []
    for metric, classes, extra in (
      ('top1', voters[..., 0], {}),
      ('weighted', np.stack(votes), {'k': k}),
    ):
      right = classes == queries.labels
      results += rows.proportions('knn', metric, dims, right, **extra)
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
