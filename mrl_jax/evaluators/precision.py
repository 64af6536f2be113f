"""`precision`: quality against bytes per vector, dimension by precision."""

import math

import jax
import numpy as np

from mrl_jax import rows
from mrl_jax.embed import quantise, recommend, search, vectors
from mrl_jax.shapes import Float, Int

RESCORED = 'binary_rescored'
ROWS_AT_ONCE = 8192
SAME = 1e-6  # cosines this close count as equal in recall


class Precision:
  """1-NN accuracy and recall of stored codes, and the cheapest that suffices.

  The database is stored at a dim in a precision; queries stay float32, except
  that 'binary' compares their bits by Hamming distance, equal distances by
  the smaller row. 'binary_rescored' takes the rescore * k nearest by bits and
  orders them by the float32 query against int8 codes of the same dim, which
  it stores too: `bytes` are the bits, `bytes_rescore` the rest.

  Rows per precision (`variant`): 'top1' if there are labels, and 'recall', the
  share of k found rows that are as near at full width in float32 as the k-th
  nearest row. Each with `kept`: the ratio to float32 at full width on the same
  queries, and its 95% interval, None where full width never hits.

  Args:
    k: neighbours of recall.
    rescore: times k are rescored.
    keep: share of the full quality that the recommendation must keep.
    queries: at most so many are asked, drawn if there are more.
    examples: rows of the database, drawn if it has more.
    calibration: of these, rows drawn to set ranges.
    clip: share of the values at each end that int8 clips.
    centre: of the sign bit: 'mean' of the calibration rows, or 'zero'.
  """

  needs = ()

  def __init__(
    self,
    k: int = 10,
    rescore: int = 4,
    keep: float = 0.99,
    queries: int = 2000,
    examples: int = 100000,
    calibration: int = 10000,
    clip: float = 0.001,
    centre: str = 'mean',
    seed: int = 0,
  ):
    if min(k, rescore, queries, examples, calibration) < 1:
      raise ValueError(
        f'k={k}, rescore={rescore}, queries={queries}, examples={examples} '
        f'and calibration={calibration} must be at least 1'
      )
    if not 0 < keep <= 1:
      raise ValueError(f'keep={keep} must be a share above 0, at most 1')
    quantise.check_options(clip, centre)
    self.k, self.rescore, self.keep = k, rescore, keep
    self.queries, self.examples, self.seed = queries, examples, seed
    self.calibration, self.clip, self.centre = calibration, clip, centre
    self.metrics = tuple(
      f'recall@{k}.{p}' for p in (*quantise.PRECISIONS, RESCORED)
    )

  def run(self, evidence) -> tuple[list[dict], dict]:
    random = np.random.default_rng(self.seed)
    database = evidence.database.drawn(random, self.examples)
    queries = evidence.queries.drawn(random, self.queries)
    dims, k = evidence.dims, min(self.k, len(database))
    found = self.search(random, queries, database, dims, k, evidence.mesh)
    recalls = recall(queries, database, found, k)
    labels = queries.labels
    right = {}
    if labels is not None and database.labels is not None:
      right = {
        p: database.labels[rows[..., 0]] == labels for p, rows in found.items()
      }
    points, rows = [], []
    for precision in found:
      for g, m in enumerate(dims):
        point = stored(precision, m)
        for name, values in (('top1', right), (f'recall@{k}', recalls)):
          if values:
            made = row(name, values, precision, g, m, point, k)
            rows.append(made)
            point[name] = made['value']
            point |= {
              f'{name}_{key}': made[key]
              for key in ('kept', 'kept_low', 'kept_high')
            }
        points.append(point)
    main = 'top1' if right else f'recall@{k}'
    values = np.concatenate([(right or recalls)[p] for p in found])
    details = {
      'points': points,
      'metric': main,
      'front': recommend.front([(p['bytes_all'], p[main]) for p in points]),
      'front_in_memory': recommend.front(
        [(p['bytes'], p[main]) for p in points]
      ),
      'recommendation': recommend.cheapest(
        points, values, main, self.keep, self.seed
      ),
      'database_rows': len(database),
      'database_rows_of': len(evidence.database),
      'queries': len(queries),
      'keep': self.keep,
    }
    return rows, details

  def search(self, random, queries, database, dims, k, mesh) -> dict:
    """{precision: rows found [g q k]}, best first."""
    asked = quantise.normalised(queries.embeddings)
    rows = quantise.normalised(database.embeddings)
    sample = rows[vectors.drawn(random, len(rows), self.calibration)]
    by = quantise.calibrate(sample, self.clip, self.centre)
    found = {}
    for precision in quantise.PRECISIONS:
      values = through(rows, precision, by)
      wanted, query = k, asked
      if precision == 'binary':
        wanted = min(self.rescore * k, len(rows))
        query = through(asked, precision, by)
      near = search.nested_top_k(query, values, dims, wanted, mesh)[1]
      found[precision] = jax.device_get(near)
    short = found['binary']
    found['binary'] = short[..., :k]
    found[RESCORED] = reorder(asked, rows, short, by, dims)[..., :k]
    return found


def through(rows, precision, by) -> Float[np.ndarray, 'n d']:
  """What is left of rows that were stored, in chunks that bound memory."""
  left = np.empty(rows.shape, np.float32)
  for start in range(0, len(rows), ROWS_AT_ONCE):
    span = slice(start, start + ROWS_AT_ONCE)
    codes = quantise.encode(rows[span], precision, by)
    left[span] = quantise.decode(codes, precision, by, rows.shape[1])
  return left


def reorder(asked, rows, short, by, dims) -> Int[np.ndarray, 'g q k']:
  """Candidates by cosine of the float32 query and their int8 codes."""
  found = np.empty_like(short)
  for g, m in enumerate(dims):
    for start in range(0, len(asked), 256):
      span = slice(start, start + 256)
      near = short[g, span]
      flat = through(rows[near.reshape(-1), :m], 'int8', by)
      flat = quantise.normalised(flat).reshape(*near.shape, m)
      scores = np.einsum('qm,qkm->qk', asked[span, :m], flat)
      order = np.argsort(-scores, axis=1, kind='stable')
      found[g, span] = np.take_along_axis(near, order, axis=1)
  return found


def recall(queries, database, found, k) -> dict[str, np.ndarray]:
  """{precision: [g q]}, the shares of rows found that belong to the k nearest.

  A row belongs to them if its cosine is at least that of the k-th.
  """
  asked = quantise.normalised(queries.embeddings)
  exact = found['float32'][-1]
  shares = {p: np.zeros(rows.shape[:2]) for p, rows in found.items()}
  for start in range(0, len(asked), 256):
    span = slice(start, start + 256)

    def cosines(rows, query=asked[span]):
      near = quantise.normalised(database.embeddings[rows.reshape(-1)])
      near = near.reshape(*rows.shape, near.shape[-1])
      return np.einsum('qd,qkd->qk', query, near)

    least = cosines(exact[span, -1:]) - SAME
    for precision, neighbours in found.items():
      for g in range(len(neighbours)):
        shares[precision][g, span] = np.mean(
          cosines(neighbours[g, span]) >= least, axis=1
        )
  return shares


def stored(precision: str, dim: int) -> dict:
  """A point of the picture: its dim, precision and bytes per vector."""
  kind = 'binary' if precision == RESCORED else precision
  size = quantise.vector_bytes(kind, dim)
  more = quantise.vector_bytes('int8', dim) if precision == RESCORED else 0
  return {
    'dim': int(dim),
    'precision': precision,
    'bytes': size,
    'bytes_rescore': more,
    'bytes_all': size + more,
  }


def row(name, values, precision, g, dim, point, k) -> dict:
  """A result row of 'top1' or 'recall@k' with its share of the full quality."""
  own, full = values[precision][g], values['float32'][-1]
  kept, low, high = recommend.share_kept(own, full)
  extra = {
    'variant': precision,
    'bytes': point['bytes'],
    'bytes_rescore': point['bytes_rescore'],
    'kept': None if math.isnan(kept) else kept,
    'kept_low': low,
    'kept_high': high,
  }
  if name == 'top1':
    hits = int(np.sum(own))
    return rows.proportion('precision', name, dim, hits, len(own), **extra)
  return rows.mean('precision', 'recall', dim, own, k=k, **extra)
