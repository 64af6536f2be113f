"""Evaluated runs with values per query, as `--compare` reads them."""

import json

import numpy as np

from mrl_jax import rows
from mrl_jax.report import results

DIMS = (8, 16, 32, 64)


def write_run(folder, per_query, data='digits-1', config=None, step=5):
  """Writes {(evaluator, metric): {dim: values}} as an evaluation."""
  points, parts = [], {}
  for (evaluator, metric), by_dim in per_query.items():
    for dim, values in by_dim.items():
      values = np.asarray(values)
      k = {'k': 10} if evaluator == 'retrieval' else {}
      row = rows.mean(evaluator, metric, dim, values, **k)
      points.append({**row, 'step': step})
      parts.setdefault(evaluator, {})[rows.flat_name(row)] = values
  details = {'evaluation': {'data': data}} if data else {}
  results.write(folder / 'eval' / str(step), points, details)
  (folder / 'config.json').write_text(json.dumps(config or {}))
  (folder / 'eval' / str(step) / 'parts').mkdir()
  for evaluator, arrays in parts.items():
    path = folder / 'eval' / str(step) / 'parts' / f'{evaluator}.npz'
    np.savez(path, **arrays)
  return folder


def hits(rng, n, shares, dims=DIMS):
  """1-NN hits per dim: dims are harder or easier on the same queries."""
  ease = rng.random(n)
  return {m: ease < share for m, share in zip(dims, shares)}


def changed(rng, by_dim, share):
  """Hits of which a share is drawn anew, half of them right."""
  return {
    m: np.where(rng.random(len(x)) < share, rng.random(len(x)) < 0.5, x)
    for m, x in by_dim.items()
  }
