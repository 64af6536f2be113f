"""`knn`: nearest training images of each validation image, per dimension."""

import numpy as np

from mrl_jax import rows
from mrl_jax.embed import relevance, ties
from mrl_jax.embed.ties import TIE, Ranking
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import options
from mrl_jax.shapes import Float, Int

VOTES_AT_ONCE = 1 << 24  # q * v of them are alive


class KNN:
  """1-NN (paper, table 2) and weighted k-NN on cut, normalised prefixes.

  Where rows tie for the best, `top1` is the share of them that has the query's
  class: the expectation over their orders. The vote takes the expected weight
  of each class: all n rows that tie with the k-th vote, with j / n of a vote
  each, if j of the k places are theirs. Where c classes have the most votes
  and the query's is one of them, it counts 1 / c.

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
    queries, database, dims = evidence.queries, evidence.database, evidence.dims
    k = min(self.neighbours, len(database))
    same = relevance.by_class(queries, database)
    classes = np.unique(database.labels, return_inverse=True)
    nearest, votes = [], []
    for m, ranking in zip(
      dims, ties.rankings(queries, database, dims, k, same, evidence.mesh)
    ):
      nearest.append(ranking.chance[:, 0])
      votes.append(self._voted(ranking, queries, database, m, classes))
    return [
      *rows.means('knn', 'top1', dims, np.stack(nearest)),
      *rows.means('knn', 'weighted', dims, np.stack(votes), k=k),
    ], {}

  def _voted(
    self, ranking: Ranking, queries: Vectors, database: Vectors, dim, classes
  ) -> Float[np.ndarray, 'q']:
    """What the vote counts for each query; `classes`: (ids, that of a row)."""
    scores = np.take_along_axis(ranking.scores, ranking.first, 1)
    apart = (scores - scores[:, :1]).astype(np.float64)
    weights = np.exp(apart / self.temperature)
    labels = database.labels[ranking.rows]
    values = weighted_vote(labels, weights, queries.labels, self.temperature)
    ids, index = classes
    opened, at_once = np.flatnonzero(ranking.open), VOTES_AT_ONCE // len(ids)
    for start in range(0, len(opened), max(at_once, 1)):
      some = opened[start : start + max(at_once, 1)]
      votes = _tied_votes(
        ranking.at(some), weights[some], queries.at(some), database, dim, index
      )
      right = ids == queries.labels[some][:, None]
      values[some] = _share_of_most(votes, right, self.temperature)
    return values


def weighted_vote(
  labels: Int[np.ndarray, 'q k'],
  weights: Float[np.ndarray, 'q k'],
  asked: Int[np.ndarray, 'q'],
  temperature: float,
) -> Float[np.ndarray, 'q']:
  """1 if the class asked for has the most weight, 1 / c if c classes have.

  Sums are equal that rows which tie could make equal.
  """
  same = labels[:, :, None] == labels[:, None, :]
  votes = np.sum(same * weights[:, None, :], axis=-1)
  classes = 1 / np.sum(same, axis=-1)  # each class counts once
  return _share_of_most(votes, labels == asked[:, None], temperature, classes)


def _share_of_most(votes, right, temperature: float, count=1.0):
  """Of the entries with most votes, each `count`, the share that is right."""
  most = votes >= votes.max(axis=1, keepdims=True) * np.exp(-TIE / temperature)
  return np.sum(most * right * count, 1) / np.sum(most * count, 1)


def _tied_votes(
  ranking: Ranking, weights, queries: Vectors, database: Vectors, dim, index
) -> Float[np.ndarray, 'q v']:
  """Expected votes by class where rows beyond the list tie with its last.

  `index` is the class of each row, counted from 0.
  """
  count, k = weights.shape
  last = ranking.first[:, -1]
  better = np.arange(k) < last[:, None]
  bounds = ranking.scores[np.arange(count), last].astype(np.float64) - TIE
  each = (weights[:, -1] * (k - last) / ranking.size[:, -1])[:, None]
  near = ties.Reaching(queries.embeddings, database.embeddings, dim, bounds)
  votes = near.by_class(index, index.max() + 1) * each
  # Better rows reach the bound too, and were given the share of a tied one.
  query = np.broadcast_to(np.arange(count)[:, None], (count, k))
  more = np.where(better, weights - each, 0.0)
  np.add.at(votes, (query, index[ranking.rows]), more)
  return votes
