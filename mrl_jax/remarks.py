"""Warnings about vectors whose results would mislead."""

from collections.abc import Sequence

import numpy as np

from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Int

ROWS_AT_ONCE = 65_536


def of(
  database: Vectors, queries: Vectors, dims: Sequence[int]
) -> tuple[str, ...]:
  """Sentences about classes, repeated rows and prefixes of zeros.

  None of these is an error: a query may well be a row of the database, and
  its class may be missing there. But a score of 0 or of 100% then means
  something else.
  """
  keys, empty = _scan(database, dims[0])
  query_keys, query_empty = _scan(queries, dims[0])
  sentences = []
  if database.labels is not None and queries.labels is not None:
    unknown = int(np.sum(~np.isin(queries.labels, database.labels)))
    if unknown:
      sentences.append(
        f'{unknown:,} of {len(queries):,} queries have a class that no row '
        'searched has, so nothing found for them can be right.'
      )
    if (database.labels == database.labels[0]).all():
      sentences.append(
        'All rows searched have one class, so an answer says nothing of the '
        'embedding.'
      )
  repeated = int(np.sum(np.isin(query_keys, keys)))
  if repeated:
    sentences.append(
      f'{repeated:,} of {len(queries):,} queries are also rows of the vectors '
      'searched, so each of them finds itself.'
    )
  for side, zero in (('rows searched', empty), ('queries', query_empty)):
    if zero.any():
      sentences.append(
        f'{int(np.sum(zero)):,} of {len(zero):,} {side} are zero in all of '
        f'their first {dims[0]} dimensions: their cosine there counts as 0.'
      )
  return tuple(sentences)


def _scan(
  vectors: Vectors, dim: int
) -> tuple[Int[np.ndarray, 'n'], Bool[np.ndarray, 'n']]:
  """(a 64-bit key of each row, whether its first `dim` values are all zero)."""
  width = vectors.embeddings.shape[1]
  factors = np.random.default_rng(0).integers(
    0, 2**63, width, dtype=np.uint64
  ) * np.uint64(2) + np.uint64(1)
  keys, empty = [], []
  for start in range(0, len(vectors), ROWS_AT_ONCE):
    chunk = vectors.embeddings[start : start + ROWS_AT_ONCE]
    rows = np.asarray(chunk, np.float32)
    bits = np.ascontiguousarray(rows).view(np.uint32)
    key = np.zeros(len(rows), np.uint64)
    for column in range(width):  # sums wrap around, as they should
      key += bits[:, column] * factors[column]
    keys.append(key)
    empty.append(~rows[:, :dim].any(axis=1))
  return np.concatenate(keys), np.concatenate(empty)
