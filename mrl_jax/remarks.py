"""Warnings about vectors whose results would mislead."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Int

ROWS_AT_ONCE = 65_536
REPEATED = 0.01  # share of the rows that is worth a sentence


class _Scan(NamedTuple):
  """What one pass over vectors tells.

  Attributes:
    keys: 64 bits of each row; equal rows have equal keys.
    empty: whether the first values of a row are all zero.
    constant: whether a coordinate has one value in all rows.
  """

  keys: Int[np.ndarray, 'n']
  empty: Bool[np.ndarray, 'n']
  constant: Bool[np.ndarray, 'd']


def of(
  database: Vectors, queries: Vectors, dims: Sequence[int]
) -> tuple[str, ...]:
  """Sentences about classes, repeated rows, constants and prefixes of zeros.

  None of these is an error: a query may well be a row of the database, and
  its class may be missing there. But a score of 0 or of 100% then means
  something else.
  """
  searched, asked = _scan(database, dims[0]), _scan(queries, dims[0])
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
  sentences += _of_rows(searched)
  repeated = int(np.sum(np.isin(asked.keys, searched.keys)))
  if repeated:
    sentences.append(
      f'{repeated:,} of {len(queries):,} queries are also rows of the vectors '
      'searched, so each of them finds itself.'
    )
  for side, zero in (
    ('rows searched', searched.empty),
    ('queries', asked.empty),
  ):
    if zero.any():
      sentences.append(
        f'{int(np.sum(zero)):,} of {len(zero):,} {side} are zero in all of '
        f'their first {dims[0]} dimensions: their cosine there counts as 0.'
      )
  return tuple(sentences)


def _of_rows(searched: _Scan) -> list[str]:
  """Sentences about rows that are equal and coordinates that are constant."""
  count = len(searched.keys)
  distinct = len(np.unique(searched.keys))
  if distinct == 1 < count:
    return ['All rows searched are the same, so no search can tell them apart.']
  sentences = []
  if count - distinct >= REPEATED * count:
    sentences.append(
      f'{count - distinct:,} of {count:,} rows searched repeat another row. '
      'Where rows tie, measures are means over their orders.'
    )
  constant = int(np.sum(searched.constant))
  if constant and count > 1:
    one = constant == 1
    sentences.append(
      f'{constant:,} of {len(searched.constant):,} coordinates '
      f'{"has" if one else "have"} one value in all rows searched: '
      f'{"it tells" if one else "they tell"} no row from another.'
    )
  return sentences


def _scan(vectors: Vectors, dim: int) -> _Scan:
  """One pass; `dim` values of a row make it empty."""
  width = vectors.embeddings.shape[1]
  factors = np.random.default_rng(0).integers(
    0, 2**63, width, dtype=np.uint64
  ) * np.uint64(2) + np.uint64(1)
  first = np.asarray(vectors.embeddings[0], np.float32)
  keys, empty, constant = [], [], np.ones(width, bool)
  for start in range(0, len(vectors), ROWS_AT_ONCE):
    chunk = vectors.embeddings[start : start + ROWS_AT_ONCE]
    rows = np.asarray(chunk, np.float32)
    bits = np.ascontiguousarray(rows).view(np.uint32)
    key = np.zeros(len(rows), np.uint64)
    for column in range(width):  # sums wrap around, as they should
      key += bits[:, column] * factors[column]
    keys.append(key)
    empty.append(~rows[:, :dim].any(axis=1))
    constant &= (rows == first).all(axis=0)
  return _Scan(np.concatenate(keys), np.concatenate(empty), constant)
