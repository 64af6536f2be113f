"""`few_shot`: nearest class mean from a few examples per class."""

import math
from collections.abc import Sequence

import numpy as np

from mrl_jax import intervals, rows
from mrl_jax.embed import vectors
from mrl_jax.shapes import Float, Int

QUERIES_AT_ONCE = 1024
TINY = 1e-12


class FewShot:
  """Top-1 of the nearest class mean, by cosine, per shots and dimension.

  Prefixes are cut and then normalised; a class stands for the mean of `shots`
  of them, drawn from the database. A class with fewer rows gives all it has.

  The interval covers another draw of the support and of the queries: with
  s_d the deviation of the accuracy over draws and (low, high) the interval of
  the mean over queries of the share of draws that are right, its ends lie
  sqrt((value - low)^2 + t^2 s_d^2 / draws) below the value, and likewise
  above; t is Student's 97.5% point. The residual of queries and draws counts
  in both terms, so it is wide rather than narrow (crossed random effects:
  Owen and Eckles, 2012). One draw says nothing of other draws.

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
    if not shots or any(int(k) != k or k < 1 for k in shots):
      raise ValueError(f'shots={tuple(shots)} must be whole numbers above 0')
    if draws < 1 or queries < 1:
      raise ValueError(
        f'draws={draws} and queries={queries} must be at least 1'
      )
    self.shots = tuple(sorted({int(k) for k in shots}))
    self.draws, self.queries, self.seed = draws, queries, seed
    self.metrics = tuple(f'top1@{k}' for k in self.shots)

  def run(self, evidence) -> tuple[list[dict], dict]:
    random = np.random.default_rng(self.seed)
    queries, database = evidence.queries, evidence.database
    counts = np.unique(database.labels, return_counts=True)[1]
    given = tuple(k for k in self.shots if k <= counts.max())
    lacking = {k: int(np.sum(counts < k)) for k in given}
    details = {
      'draws': self.draws,
      'classes': len(counts),
      'classes_with_fewer_rows': {str(k): n for k, n in lacking.items()},
      'text': sentences(self.shots, lacking, counts),
    }
    if not given:
      return [], details
    asked = vectors.drawn(random, len(queries), self.queries)
    embeddings = np.asarray(queries.embeddings[asked], np.float32)
    hits = np.zeros(
      (len(given), len(evidence.dims), self.draws, len(asked)), bool
    )
    for draw in range(self.draws):
      classes, support = supports(random, database.labels, given[-1])
      found = nearest_means(
        embeddings, database.embeddings, support, evidence.dims, given
      )
      hits[:, :, draw] = classes[found] == queries.labels[asked]
    results = []
    for some, shots in zip(hits, given):
      for right, m in zip(some, evidence.dims):
        value, interval = right.mean(), crossed_interval(right)
        extra = {'k': shots, 'draws': self.draws}
        results.append(
          rows.make('few_shot', 'top1', m, value, interval, len(asked), **extra)
        )
    return results, details


def sentences(shots, lacking: dict, counts: Int[np.ndarray, 'v']) -> list[str]:
  """What the classes have too few rows for."""
  said = [
    f'Few-shot: no class has {k} rows, so there are no {k} shots.'
    for k in shots
    if k not in lacking
  ]
  worst = max(lacking.items(), key=lambda one: one[1], default=(0, 0))
  if worst[1]:
    said.append(
      f'Few-shot: {worst[1]} of {len(counts)} classes have fewer than '
      f'{worst[0]} rows and give all they have.'
    )
  return said


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
  rows = order[np.minimum(starts + place, len(order) - 1)]
  return classes, np.where(place < counts, rows, -1)


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
  totals = [np.zeros((support.shape[1], m), np.float32) for m in dims]
  found = np.zeros((len(shots), len(dims), len(queries)), np.int64)
  for place, chosen in enumerate(support):
    there = chosen >= 0
    drawn = np.asarray(database[np.maximum(chosen, 0)], np.float32)
    drawn = np.where(there[:, None], drawn, 0)
    for total, m in zip(totals, dims):
      total += unit(drawn[:, :m])
    if place + 1 in shots:
      for g, (total, m) in enumerate(zip(totals, dims)):
        at = shots.index(place + 1), g
        found[at] = nearest(queries[:, :m], unit(total))
  return found


def unit(rows: Float[np.ndarray, 'n m']) -> Float[np.ndarray, 'n m']:
  """Rows at length 1; zero rows stay zero."""
  lengths = np.linalg.norm(rows, axis=1, keepdims=True)
  return rows / np.maximum(lengths, TINY)


def nearest(queries, means) -> Int[np.ndarray, 'q']:
  """The first mean of the largest product, in chunks of queries."""
  return np.concatenate(
    [
      np.argmax(queries[start : start + QUERIES_AT_ONCE] @ means.T, axis=1)
      for start in range(0, len(queries), QUERIES_AT_ONCE)
    ]
  )


def crossed_interval(hits: Float[np.ndarray, 's q']) -> tuple[float, float]:
  """95% interval of the mean over draws and queries; see FewShot."""
  from scipy import stats

  value, draws = hits.mean(), len(hits)
  low, high = intervals.mean(hits.mean(axis=0))
  apart = 0.0
  if draws > 1:
    deviation = np.std(hits.mean(axis=1), ddof=1)
    apart = stats.t.ppf(0.975, draws - 1) * deviation / math.sqrt(draws)
  below, above = math.hypot(value - low, apart), math.hypot(high - value, apart)
  return max(0.0, value - below), min(1.0, value + above)
