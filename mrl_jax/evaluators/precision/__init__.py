"""`precision`: quality against bytes per vector, dimension by precision."""

import math

import numpy as np

from mrl_jax import rows
from mrl_jax.embed import quantise, shortlist, vectors
from mrl_jax.evaluators import options
from mrl_jax.evaluators.precision import codes, recommendation
from mrl_jax.shapes import Float


class Precision:
  """1-NN accuracy and recall of stored codes, and the cheapest that suffices.

  The database is stored at a dim in a precision; queries stay float32, except
  that 'binary' compares their bits by Hamming distance, equal distances by
  the smaller row. 'binary_rescored' takes the rescore * k nearest by bits and
  orders them by the float32 query against int8 codes of the same dim, which
  it stores too: `bytes` are the bits, `bytes_rescore` the rest.

  Nothing is recommended where the intervals of 'top1' in float32 overlap at
  all dims: these queries do not tell dims apart.

  Rows per precision (`variant`): 'top1' if there is a relevance, and 'recall',
  the share of k found rows that are as near at full width in float32 as the
  k-th nearest row. Each with `kept`: the ratio to float32 at full width on the
  same queries, and its 95% interval, None where full width never hits.

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
    options.at_least(1, k=k, rescore=rescore, queries=queries)
    options.at_least(1, examples=examples, calibration=calibration)
    if not 0 < keep <= 1:
      raise ValueError(f'keep={keep} must be a share above 0, at most 1')
    quantise.check_ranges(clip, centre)
    self.k, self.rescore, self.keep = k, rescore, keep
    self.queries, self.examples, self.seed = queries, examples, seed
    self.calibration, self.clip, self.centre = calibration, clip, centre
    self.metrics = tuple(
      f'recall@{k}.{p}' for p in (*quantise.PRECISIONS, codes.RESCORED)
    )

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    random = np.random.default_rng(self.seed)
    queries, database, relevance = evidence.sample(
      random, self.examples, self.queries
    )
    k = min(self.k, len(database))
    nearest, recalls = self._search(random, queries, database, evidence, k)
    qualities = {f'recall@{k}': recalls}
    if relevance is not None:
      right = {
        precision: relevance.grades(near[..., :1])[..., 0] > 0
        for precision, near in nearest.items()
      }
      qualities = {'top1': right, **qualities}
    results, points = [], []
    for precision in nearest:
      for g, m in enumerate(evidence.dims):
        point = _stored(precision, m)
        for name, values in qualities.items():
          row = _row(name, values, point, g, k)
          results.append(row)
          point[name] = row['value']
          for key in ('kept', 'kept_low', 'kept_high'):
            point[f'{name}_{key}'] = row[key]
        points.append(point)
    main = next(iter(qualities))
    values = np.concatenate([qualities[main][p] for p in nearest])
    at_full_precision = [
      row
      for row in results
      if (row['metric'], row['variant']) == ('top1', 'float32')
    ]
    details = {
      'points': points,
      'metric': main,
      'front': rows.front([(p['bytes_all'], p[main]) for p in points]),
      'front_in_memory': rows.front([(p['bytes'], p[main]) for p in points]),
      'recommendation': {}
      if rows.alike(at_full_precision)
      else recommendation.cheapest(points, values, main, self.keep, self.seed),
      'database_rows': len(database),
      'database_rows_of': len(evidence.database),
      'queries': len(queries),
      'keep': self.keep,
    }
    return results, details

  def _search(self, random, queries, database, evidence, k: int) -> tuple:
    """({precision: rows found [g q k]}, {precision: their recall [g q]})."""
    width = evidence.dims[-1]
    ready = shortlist.Database(database.embeddings)
    stored = ready.prefix(width)
    asked = shortlist.Database(queries.embeddings).prefix(width)
    sample = stored[vectors.draw_rows(random, len(stored), self.calibration)]
    ranges = quantise.measure(sample, self.clip, self.centre)
    depths = k, min(self.rescore * k, len(stored))
    nearest, scores = codes.search(
      asked, stored, evidence.dims, depths, ranges, evidence.mesh
    )
    exact = scores, nearest['float32'][-1]
    recalls = {
      precision: np.stack(
        [shortlist.recall(ready, queries.embeddings, r, exact) for r in near]
      )
      for precision, near in nearest.items()
    }
    return nearest, recalls


def _stored(precision: str, dim: int) -> dict:
  """A point of the picture: its dim, precision and bytes per vector."""
  rescored = precision == codes.RESCORED
  size = quantise.vector_bytes('binary' if rescored else precision, dim)
  more = quantise.vector_bytes('int8', dim) if rescored else 0
  return {
    'dim': int(dim),
    'precision': precision,
    'bytes': size,
    'bytes_rescore': more,
    'bytes_all': size + more,
  }


def _row(
  name: str,
  values: dict[str, Float[np.ndarray, 'g q']],
  point: dict,
  g: int,
  k: int,
) -> rows.Row:
  """A result row of 'top1' or 'recall@k' with its share of the full quality."""
  reached, full = values[point['precision']][g], values['float32'][-1]
  kept, low, high = recommendation.share_kept(reached, full)
  extra = {
    'variant': point['precision'],
    'bytes': point['bytes'],
    'bytes_rescore': point['bytes_rescore'],
    'kept': None if math.isnan(kept) else kept,
    'kept_low': low,
    'kept_high': high,
  }
  if name == 'top1':
    hits, n = int(np.sum(reached)), len(reached)
    return rows.proportion('precision', name, point['dim'], hits, n, **extra)
  return rows.mean('precision', 'recall', point['dim'], reached, k=k, **extra)
