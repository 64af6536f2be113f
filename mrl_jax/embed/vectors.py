"""Embeddings with their labels, and rows drawn or held out of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrl_jax.shapes import Float, Int

MOST_QUERIES = 1000


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Rows of embeddings, not normalised, and their classes.

  Attributes:
    embeddings: in memory or mapped from a file; any float type.
    labels: class ids of any size, None if unknown.
    ids: a name or number per row, None for the row's own number.
    worded: whether the labels were words in their file.
    coded: the type of the whole numbers in their file, '' for floats.
  """

  embeddings: Float[np.ndarray, 'n d']
  labels: Int[np.ndarray, 'n'] | None = None
  ids: np.ndarray | None = None
  worded: bool = False
  coded: str = ''

  def __len__(self) -> int:
    return len(self.embeddings)

  def name(self, row: int) -> int | str:
    """The id of a row, its number where there are no ids."""
    return int(row) if self.ids is None else self.ids[[row]].tolist()[0]

  def at(self, rows: Int[np.ndarray, 'k']) -> 'Vectors':
    """Copies of the rows named, with their labels and ids."""
    return dataclasses.replace(
      self,
      embeddings=self.embeddings[rows],
      labels=None if self.labels is None else self.labels[rows],
      ids=np.asarray(rows) if self.ids is None else self.ids[rows],
    )


def class_name(label: int, names: Sequence[str]) -> str:
  """The name of a class, or its id where it has none."""
  return names[label] if 0 <= label < len(names) else str(label)


def draw_rows(
  random: np.random.Generator, total: int, count: int
) -> Int[np.ndarray, 'n']:
  """At most `count` of `total` row numbers, without repeats, increasing."""
  if total <= count:
    return np.arange(total)
  return np.sort(random.choice(total, count, replace=False))


def hold_out(vectors: Vectors, seed: int = 0) -> tuple[Vectors, Vectors]:
  """(database, queries): a tenth of the rows, at most 1,000, become queries.

  They are drawn whatever their class. Each side keeps the order of its rows,
  and their ids.

  Raises:
    ValueError: if there is only one row.
  """
  n = len(vectors)
  if n < 2:
    raise ValueError('one row cannot be both searched and a query; add queries')
  count = max(1, min(n // 10, MOST_QUERIES))
  asked = np.zeros(n, bool)
  asked[np.random.default_rng(seed).permutation(n)[:count]] = True
  return vectors.at(np.flatnonzero(~asked)), vectors.at(np.flatnonzero(asked))
