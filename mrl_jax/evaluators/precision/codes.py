"""Searches of stored codes: what each number format finds at each dim."""

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.embed import exact, quantise
from mrl_jax.shapes import Float, Int

RESCORED = 'binary_rescored'
ROWS_AT_ONCE = 8192
QUERIES_AT_ONCE = 256

Unit = Float[np.ndarray, 'n d']  # rows at length 1


def search(
  queries: Unit,
  database: Unit,
  dims: Sequence[int],
  depths: tuple[int, int],
  ranges: quantise.Ranges,
  mesh: Mesh,
) -> tuple[dict[str, Int[np.ndarray, 'g q k']], Float[np.ndarray, 'q k']]:
  """({precision: rows, best first}, scores in float32 at full width).

  `depths` are k and the rows by bits that are rescored.
  """
  k, rescored = depths
  nearest, scores = {}, None
  for precision in quantise.PRECISIONS:
    values, asked, depth = _stored(database, precision, ranges), queries, k
    if precision == 'binary':
      depth, asked = rescored, _stored(queries, precision, ranges)
    top = exact.nested_top_k(asked, values, dims, depth, mesh)
    nearest[precision] = top[1]
    if precision == 'float32':
      scores = top[0][-1]
  short = nearest['binary']
  nearest['binary'] = short[..., :k]
  nearest[RESCORED] = np.stack(
    [
      _rescored(queries[:, :m], database, rows, ranges)[:, :k]
      for m, rows in zip(dims, short)
    ]
  )
  return nearest, scores


def _stored(rows: Unit, precision: str, ranges: quantise.Ranges) -> np.ndarray:
  """What is left of rows that were stored, in chunks that bound memory."""
  left = np.empty(rows.shape, np.float32)
  for start in range(0, len(rows), ROWS_AT_ONCE):
    span = slice(start, start + ROWS_AT_ONCE)
    codes = quantise.encode(rows[span], precision, ranges)
    left[span] = quantise.decode(codes, precision, ranges, rows.shape[1])
  return left


def _rescored(
  queries: Float[np.ndarray, 'q m'],
  database: Unit,
  rows: Int[np.ndarray, 'q k'],
  ranges: quantise.Ranges,
) -> Int[np.ndarray, 'q k']:
  """Rows by the cosine of the float32 query and their int8 codes."""
  ordered, m = np.empty_like(rows), queries.shape[1]
  for start in range(0, len(queries), QUERIES_AT_ONCE):
    span = slice(start, start + QUERIES_AT_ONCE)
    near = rows[span]
    codes = _stored(database[near.reshape(-1), :m], 'int8', ranges)
    codes = nested.unit(codes).reshape(*near.shape, m)
    scores = np.einsum('qm,qkm->qk', queries[span], codes)
    order = np.argsort(-scores, axis=1, kind='stable')
    ordered[span] = np.take_along_axis(near, order, axis=1)
  return ordered
