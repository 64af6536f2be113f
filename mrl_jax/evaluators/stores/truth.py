"""What stores are tried on, and what a query gets from the rows they find."""

import dataclasses
import functools

import numpy as np

from mrl_jax import nested
from mrl_jax.embed.relevance import Relevance
from mrl_jax.embed.shortlist import TIE
from mrl_jax.shapes import Float, Int

Unit = Float[np.ndarray, 'n d']  # rows at length 1


@dataclasses.dataclass(frozen=True)
class Truth:
  """Unit queries and rows at full width, and the truth about them.

  Attributes:
    queries, database: at length 1, float32.
    k: neighbours that are looked for.
    relevance: of the queries to the rows, None where nobody knows.
    judged: whether the relevance has grades of its own, not by class.
  """

  queries: Unit
  database: Unit
  k: int
  relevance: Relevance | None
  judged: bool

  @property
  def measures(self) -> tuple[str, ...]:
    """What every store is measured by."""
    if self.judged:
      return (f'ndcg@{self.k}',)
    found = f'recall@{self.k}'
    return ('top1', found) if self.relevance is not None else (found,)

  @functools.cached_property
  def cosines(self) -> Float[np.ndarray, 'q r']:
    """Of every query and row at full width."""
    return self.queries @ self.database.T

  @functools.cached_property
  def coarse(self) -> Float[np.ndarray, 'q r']:
    """The same, of rows that were kept in float16."""
    halved = unit_rows(self.database.astype(np.float16))
    return self.queries @ halved.T

  @functools.cached_property
  def reached(self) -> Float[np.ndarray, 'q 1']:
    """The k-th largest cosine of each query: what a true neighbour reaches."""
    lowest = len(self.database) - self.k
    kth = [
      np.partition(self.cosines[start : start + 64], lowest, axis=1)[:, lowest]
      for start in range(0, len(self.queries), 64)
    ]
    return np.concatenate(kth)[:, None] - TIE

  def gains(
    self,
    queries: Int[np.ndarray, 'q'],
    rows: Int[np.ndarray, 'q n'] | None = None,
  ) -> dict[str, Float[np.ndarray, 'q n']]:
    """What each of some rows, or of all, is worth to its query, by measure."""
    near = self.cosines[queries if rows is None else (queries[:, None], rows)]
    worth = {f'recall@{self.k}': near >= self.reached[queries]}
    if self.relevance is not None:
      if rows is None:
        rows = np.arange(len(self.database))[None]
        rows = np.broadcast_to(rows, near.shape)
      grades = self.relevance.at(queries).grades(rows)
      name = f'ndcg@{self.k}' if self.judged else 'top1'
      worth[name] = grades if self.judged else grades > 0
    return {name: worth[name] for name in self.measures}

  def values(
    self, expected: dict[str, Float[np.ndarray, 'q n']]
  ) -> dict[str, Float[np.ndarray, 'q']]:
    """Each query's measures, from the expected gains of its best rows."""
    k, out = self.k, {}
    for name, gains in expected.items():
      if name == 'top1':
        out[name] = gains[:, 0].astype(np.float64)
      elif name.startswith('ndcg'):
        discounts = 1 / np.log2(np.arange(2, k + 2))
        ideal = self.relevance.ideal(k) @ discounts
        found = gains[:, :k] @ discounts
        out[name] = np.where(ideal > 0, found / np.maximum(ideal, 1e-12), 0.0)
      else:  # more than k rows may be as near as the k-th
        out[name] = np.minimum(gains[:, :k].mean(axis=1), 1.0)
    return out


def group_means(
  gains: Float[np.ndarray, 'q n'], groups: Int[np.ndarray, 'q n']
) -> Float[np.ndarray, 'q n']:
  """Each value replaced by the mean of its group: any order is as likely."""
  q, n = gains.shape
  keys = (groups + np.arange(q)[:, None] * n).ravel()
  counts = np.bincount(keys, minlength=q * n)
  sums = np.bincount(keys, gains.ravel().astype(np.float64), q * n)
  means = sums / np.maximum(counts, 1)
  return means[keys].reshape(q, n)


def unit_rows(rows: Float[np.ndarray, 'n d']) -> Unit:
  """Rows of length 1; rows of zeros stay."""
  return np.ascontiguousarray(
    nested.unit(np.asarray(rows, np.float32), rows.shape[1]), np.float32
  )
