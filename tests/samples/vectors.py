"""Vectors as evidence, and naive searches of them, for tests."""

import functools
import types

import numpy as np

from mrl_jax import rows, sharding
from mrl_jax.embed import answers, evidence, relevance
from mrl_jax.embed.vectors import Vectors


def evidence_of(database, queries, dims, **changed):
  """The evidence of two sides, Vectors each, on all devices."""
  options = dict(
    dims=dims,
    trained=dims,
    mesh=sharding.make_mesh(),
    make_database=lambda: database,
    make_queries=lambda: queries,
  )
  return evidence.Evidence(**options | changed)


def unit(x, m=None):
  """Prefixes in float64 at length 1; there must be no zero among them."""
  x = np.asarray(x, np.float64)[..., :m]
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosines(queries, database, m):
  """[q r] in float64."""
  return unit(queries, m) @ unit(database, m).T


def naive_top_k(queries, database, m, k):
  """Sort of float64 cosines; equal scores keep the smaller row."""
  scores = cosines(queries, database, m)
  order = np.argsort(-scores, axis=1, kind='stable')[:, :k]
  return np.take_along_axis(scores, order, 1), order


def random_answers(
  queries=200, dims=(4, 8, 16), ids=(0, 1, 2, 3, 70_001), seed=0
):
  """Answers that are right more often at wider prefixes."""
  rng = np.random.default_rng(seed)
  ids = np.asarray(ids)
  labels = ids[rng.integers(0, len(ids), queries)]
  right = rng.random((len(dims), queries)) < np.linspace(
    0.4, 0.8, len(dims)
  ).reshape(-1, 1)
  other = ids[rng.integers(0, len(ids), (len(dims), queries))]
  classes = np.where(right, labels, other)
  confidence = rng.beta(4, 2, (len(dims), queries)).astype(np.float32)
  return answers.Answers(dims, classes[..., None], confidence, labels, 'probe')


def answered(given, database=None, names=(), trained=None):
  """Evidence of answers alone; `database` are labels."""
  return types.SimpleNamespace(
    dims=given.dims,
    trained=trained or given.dims,
    answers=given,
    names=names,
    database=Vectors(np.zeros((1, 4)), database),
  )


def keyed(results):
  """Rows by their flat name, once no name repeats."""
  names = [rows.flat_name(row) for row in results]
  assert len(set(names)) == len(names)
  return dict(zip(names, results))


def paired_hits(rng, count, kept):
  """Hits of points and, last, of the full width, which they resemble."""
  full = rng.random(count) < 0.85
  points = []
  for share in kept:
    # Right where full is, less often; sometimes where it is wrong.
    gain = 0.2
    stay = share - gain * 0.15 / 0.85
    points.append(
      np.where(full, rng.random(count) < stay, rng.random(count) < gain)
    )
  return np.stack([*points, full])


def judged_sides(rows=46, queries=40, width=16, seed=0, mute=2):
  """(qrels, queries, database) with string ids; more dims find more.

  Each query has two rows with grades 1 to 3, and some that are not relevant;
  the last `mute` queries have no relevant row. Many rows are never judged.
  """
  rng = np.random.default_rng(seed)
  database = rng.normal(size=(rows, width)).astype(np.float32)
  wanted = np.stack(
    [rng.choice(rows, 3, replace=False) for _ in range(queries)]
  )
  asked = database[wanted[:, :2]].sum(axis=1)
  asked = (asked + 0.7 * rng.normal(size=asked.shape)).astype(np.float32)
  names = np.array([f'd{i}' for i in range(rows)])
  qrels = {
    f'q{q}': {
      f'd{a}': int(rng.integers(1, 4)) * (q < queries - mute),
      f'd{b}': int(q < queries - mute),
      f'd{c}': 0,
    }
    for q, (a, b, c) in enumerate(wanted)
  }
  ids = np.array([f'q{q}' for q in range(queries)])
  return qrels, Vectors(asked, None, ids), Vectors(database, None, names)


def judged_evidence(dims=(2, 4, 8, 16), texts=None, **options):
  """(qrels, evidence) of `judged_sides`; texts are {id: words}."""
  qrels, queries, database = judged_sides(width=dims[-1], **options)
  sides = {'queries': queries, 'database': database}

  def of(side, rows):
    return [texts.get(str(name), '') for name in sides[side].ids[rows]]

  relate = functools.partial(relevance.by_judgement, qrels)
  functions = {} if texts is None else {'texts': of}
  return qrels, evidence_of(
    database, queries, dims, relate=relate, functions=functions
  )
