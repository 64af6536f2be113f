"""`few_shot`: nearest class mean from a few examples per class."""

from collections.abc import Sequence

import numpy as np

from mrl_jax import intervals, nested, rows
from mrl_jax.embed import vectors
from mrl_jax.evaluators import options
from mrl_jax.shapes import Float, Int

QUERIES_AT_ONCE = 1024


class FewShot:
  """Top-1 of the nearest class mean, by cosine, per shots and dimension.

  Prefixes are cut and then normalised; a class stands for the mean of `shots`
  of them, drawn from the database. A class with fewer rows gives all it has.
  The interval covers another draw of the support and of the queries; see
  intervals.crossed.

  Args:
    shots: examples per class, one curve each.
    draws: of the support, averaged; larger shots contain the smaller.
    queries: at most so many are asked, drawn if there are more.
  """

  needs = ('labels',)

  def __init__(
    self,
    shots: Sequence[int] = (1, 3, 5, 7, 9),
    draws: int = 20,
    queries: int = 5000,
    seed: int = 0,
  ):
    self.shots = options.whole_numbers('shots', shots)
    if not self.shots:
      raise ValueError('shots=() is empty; name at least one number of shots')
    options.at_least(1, draws=draws, queries=queries)
    self.draws, self.queries, self.seed = draws, queries, seed
    self.metrics = tuple(f'top1@{k}' for k in self.shots)

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    random = np.random.default_rng(self.seed)
    database, dims = evidence.database, evidence.dims
    counts = np.unique(database.labels, return_counts=True)[1]
    shots = tuple(k for k in self.shots if k <= counts.max())
    lacking = {k: int(np.sum(counts < k)) for k in shots}
    details = {
      'draws': self.draws,
      'classes': len(counts),
      'classes_with_fewer_rows': {str(k): n for k, n in lacking.items()},
      'text': _sentences(self.shots, lacking, counts),
    }
    if not shots:
      return [], details
    drawn = vectors.draw_rows(random, len(evidence.queries), self.queries)
    queries = np.asarray(evidence.queries.embeddings[drawn], np.float32)
    labels = evidence.queries.labels[drawn]
    hits = np.zeros((len(shots), len(dims), self.draws, len(drawn)), bool)
    for draw in range(self.draws):
      classes, support = supports(random, database.labels, shots[-1])
      nearest = nearest_means(
        queries, database.embeddings, support, dims, shots
      )
      hits[:, :, draw] = classes[nearest] == labels
    results = [
      rows.make(
        'few_shot',
        'top1',
        m,
        hits[s, g].mean(),
        intervals.crossed(hits[s, g]),
        len(drawn),
        k=k,
        draws=self.draws,
      )
      for s, k in enumerate(shots)
      for g, m in enumerate(dims)
    ]
    return results, details


def _sentences(shots, lacking: dict, counts: Int[np.ndarray, 'v']) -> list[str]:
  """What the classes have too few rows for."""
  sentences = [
    f'Few-shot: no class has {k} rows, so there are no {k} shots.'
    for k in shots
    if k not in lacking
  ]
  k, classes = max(lacking.items(), key=lambda item: item[1], default=(0, 0))
  if classes:
    sentences.append(
      f'Few-shot: {classes} of {len(counts)} classes have fewer than {k} rows '
      'and give all they have.'
    )
  return sentences


def supports(
  random: np.random.Generator, labels: Int[np.ndarray, 'r'], shots: int
) -> tuple[Int[np.ndarray, 'v'], Int[np.ndarray, 'k v']]:
  """(class ids, rows drawn of each class without repeats, -1 where none)."""
  order = random.permutation(len(labels))
  order = order[np.argsort(labels[order], kind='stable')]
  classes, starts, counts = np.unique(
    labels[order], return_index=True, return_counts=True
  )
  place = np.arange(shots)[:, None]
  drawn = order[np.minimum(starts + place, len(order) - 1)]
  return classes, np.where(place < counts, drawn, -1)


def nearest_means(
  queries: Float[np.ndarray, 'q d'],
  database: Float[np.ndarray, 'r d'],
  support: Int[np.ndarray, 'k v'],
  dims: Sequence[int],
  shots: Sequence[int],
) -> Int[np.ndarray, 's g q']:
  """The class index nearest to each query per number of shots and dim.

  Sums of the support stand for its mean: cosines do not tell them apart.
  """
  sums = [np.zeros((support.shape[1], m), np.float32) for m in dims]
  nearest = np.zeros((len(shots), len(dims), len(queries)), np.int64)
  for place, drawn in enumerate(support):
    examples = np.asarray(database[np.maximum(drawn, 0)], np.float32)
    examples = np.where(drawn[:, None] >= 0, examples, 0)
    for total, m in zip(sums, dims):
      total += nested.unit(examples, m)
    if place + 1 in shots:
      for g, (total, m) in enumerate(zip(sums, dims)):
        at = shots.index(place + 1), g
        nearest[at] = _largest_products(queries[:, :m], nested.unit(total))
  return nearest


def _largest_products(queries, means) -> Int[np.ndarray, 'q']:
  """The first mean of the largest product, in chunks of queries."""
  return np.concatenate(
    [
      np.argmax(queries[start : start + QUERIES_AT_ONCE] @ means.T, axis=1)
      for start in range(0, len(queries), QUERIES_AT_ONCE)
    ]
  )
