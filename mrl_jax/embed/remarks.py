"""What a person should know before believing numbers about their vectors."""

from collections.abc import Sequence

import numpy as np

from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Int

ROWS_AT_ONCE = 65_536


def of(
  database: Vectors, queries: Vectors, dims: Sequence[int]
) -> tuple[str, ...]:
  """Sentences about queries without a class or a rival, rows without a start.

  Nothing of it is an error: a query may well stand in the database, and its
  class may not. But a score of 0 or of 100% then means something else.
  """
  known, asked = scan(database, dims[0]), scan(queries, dims[0])
  said = []
  if database.labels is not None and queries.labels is not None:
    alone = int(np.sum(~np.isin(queries.labels, database.labels)))
    if alone:
      said.append(
        f'{alone:,} of {len(queries):,} queries have a class that no row '
        'searched has, so nothing found for them can be right.'
      )
  twice = int(np.sum(np.isin(asked[0], known[0])))
  if twice:
    said.append(
      f'{twice:,} of {len(queries):,} queries are also rows of the vectors '
      'searched, so each of them finds itself.'
    )
  for name, vectors, empty in (
    ('rows searched', database, known[1]),
    ('queries', queries, asked[1]),
  ):
    if empty.any():
      said.append(
        f'{int(np.sum(empty)):,} of {len(vectors):,} {name} are zero in all of '
        f'their first {dims[0]} dimensions: their cosine there counts as 0.'
      )
  return tuple(said)


def scan(
  vectors: Vectors, dim: int
) -> tuple[Int[np.ndarray, 'n'], Bool[np.ndarray, 'n']]:
  """(a 64-bit key of each row, whether its first `dim` values are all zero)."""
  width = vectors.embeddings.shape[1]
  factors = np.random.default_rng(0).integers(
    0, 2**63, width, dtype=np.uint64
  ) * np.uint64(2) + np.uint64(1)
  keys, empty = [], []
  for start in range(0, len(vectors), ROWS_AT_ONCE):
    part = vectors.embeddings[start : start + ROWS_AT_ONCE]
    rows = np.asarray(part, np.float32)
    bits = np.ascontiguousarray(rows).view(np.uint32)
    key = np.zeros(len(rows), np.uint64)
    for column in range(width):  # sums wrap around, as they should
      key += bits[:, column] * factors[column]
    keys.append(key)
    empty.append(~rows[:, :dim].any(axis=1))
  return np.concatenate(keys), np.concatenate(empty)
