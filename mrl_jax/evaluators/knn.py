"""`knn`: nearest training images of each validation image, per dimension."""

import jax
import numpy as np

from mrl_jax import metrics
from mrl_jax.embed import search
from mrl_jax.shapes import Float, Int


class KNN:
  """1-NN (paper, table 2) and weighted k-NN on cut, normalised prefixes.

  Args:
    neighbours: k of the weighted vote.
    temperature: a neighbour votes exp(similarity / temperature)
      (arXiv:1805.01978, section 3.4).
  """

  def __init__(
    self, functions, data, dims, mesh, neighbours=20, temperature=0.07
  ):
    if neighbours < 1 or temperature <= 0:
      raise ValueError(
        f'neighbours={neighbours} must be at least 1 and '
        f'temperature={temperature} above 0'
      )
    self.data, self.dims, self.mesh = data, tuple(dims), mesh
    self.neighbours, self.temperature = neighbours, temperature
    self.metrics = ('top1', f'weighted@{neighbours}')
    where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    self.embed = jax.jit(functions['embed'], out_shardings=where)

  def embeddings(self, params, stats, split: str):
    """(embeddings [n d], labels [n]) of a split, padding dropped."""
    parts, labels = [], []
    pick = jax.jit(
      lambda batch: (batch['label'], batch['mask']),
      out_shardings=jax.sharding.NamedSharding(
        self.mesh, jax.sharding.PartitionSpec()
      ),
    )
    for batch in self.data.batches(split):
      embedded = self.embed(params, stats, batch)
      label, mask = jax.device_get(pick(batch))
      parts.append(np.asarray(embedded)[mask > 0])
      labels.append(label[mask > 0])
    return np.concatenate(parts), np.concatenate(labels)

  def run(self, params, stats) -> list[dict]:
    database, database_labels = self.embeddings(params, stats, 'train')
    queries, labels = self.embeddings(params, stats, 'validation')
    k = min(self.neighbours, len(database))
    scores, found = jax.device_get(
      search.nested_top_k(queries, database, self.dims, k, self.mesh)
    )
    voters = database_labels[found]
    rows = []
    for g, m in enumerate(self.dims):
      nearest = int(np.sum(voters[g, :, 0] == labels))
      rows.append(
        metrics.proportion_row('knn', 'top1', m, nearest, len(labels))
      )
    for g, m in enumerate(self.dims):
      chosen = weighted_vote(voters[g], scores[g], self.temperature)
      right = int(np.sum(chosen == labels))
      rows.append(
        metrics.proportion_row('knn', 'weighted', m, right, len(labels), k=k)
      )
    return rows


def weighted_vote(
  labels: Int[np.ndarray, 'q k'],
  scores: Float[np.ndarray, 'q k'],
  temperature: float,
) -> Int[np.ndarray, 'q']:
  """The class with most exp(score / temperature) among the neighbours.

  Equal sums go to the smaller class id.
  """
  classes = int(labels.max()) + 1
  weights = np.exp((scores - scores[:, :1]) / temperature)
  votes = np.zeros((len(labels), classes))
  np.add.at(votes, (np.arange(len(labels))[:, None], labels), weights)
  return votes.argmax(axis=1)
