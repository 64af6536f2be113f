"""How long each evaluator takes, and how often a decision keeps its promise.

  python benchmarks/evaluation.py                              # 20,000 x 384
  python benchmarks/evaluation.py --rows=50000
  python benchmarks/evaluation.py --embeddings=x.npy --labels=y.npy
  python benchmarks/evaluation.py --promise=200                # data sets

Without files the vectors are drawn: classes with a centre each, variance that
falls with the coordinate, so that prefixes of them are nested.

A promise is kept if the store that is chosen on some queries keeps what was
asked of every measure on 1,500 fresh ones, over the same rows.
"""

import argparse
import time

import numpy as np

from mrl_jax import evaluators, foreign, progress, schema
from mrl_jax.embed import evidence, files, reductions, vectors
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators.stores import Stores

FRESH = 1500  # queries that a promise is checked on
# Kind -> (fall of the deviation per coordinate, spread, turned, queries)
WORLDS = {
  'nested': (0.9, 0.6, False, 400),
  'not nested': (0.9, 0.6, True, 400),
  'noisy': (0.97, 1.2, False, 400),
  'small': (0.9, 0.6, False, 200),
}


def main(argv=None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  add = parser.add_argument
  add('--embeddings')
  add('--labels')
  add('--rows', type=int, default=20_000)
  add('--width', type=int, default=384)
  add('--classes', type=int, default=45)
  add('--only', default='', help='evaluators, comma between')
  add('--promise', type=int, default=0, help='data sets per kind, no times')
  options = parser.parse_args(argv)
  progress.quiet()
  if options.promise:
    for kind in WORLDS:
      print(promise(kind, options.promise), flush=True)
    return
  if options.embeddings:
    whole, _ = files.read(options.embeddings, options.labels)
  else:
    whole = drawn(options.rows, options.width, options.classes)
  seen = evidence.of_vectors(*vectors.hold_out(whole))
  rows, queries = len(seen.database), len(seen.queries)
  print(f'{rows:,} rows x {seen.dims[-1]}, {queries:,} queries')
  config = schema.resolve(foreign.vector_config(None), [])
  names = options.only.split(',') if options.only else evaluators.EVALUATORS
  total = 0.0
  for name in names:
    kind = evaluators.EVALUATORS[name]
    evaluator = kind(**schema.arguments(config.eval[name], kind))
    if seen.has(*evaluator.needs):
      started = time.perf_counter()
      evaluator.run(seen)
      seconds = time.perf_counter() - started
      total += seconds
      print(f'{name:<14}{seconds:8.1f} s', flush=True)
  print(f'{"all":<14}{total:8.1f} s')


def drawn(rows: int, width: int, classes: int) -> Vectors:
  """Vectors of classes whose first coordinates say most."""
  rng = np.random.default_rng(0)
  scale = 0.985 ** np.arange(width)
  centres = rng.normal(size=(classes, width)) * scale
  labels = rng.integers(0, classes, rows)
  noise = rng.normal(size=(rows, width)) * scale
  return Vectors((0.5 * centres[labels] + noise).astype(np.float32), labels)


def promise(kind: str, count: int, keep: float = 0.95) -> str:
  """How many decisions of a kind of data keep every measure, in a line."""
  broken, taken, reductions_taken = 0, 0, {}
  for seed in range(count):
    shown, fresh = world(kind, seed)
    chosen, kept = decided(shown, fresh, keep, seed)
    if chosen:
      taken += 1
      broken += min(kept) < keep
      reductions_taken.setdefault(chosen['reduction'], 0)
      reductions_taken[chosen['reduction']] += 1
  return (
    f'{kind}: {taken} of {count} data sets end in a store; {broken} of these '
    f'keep less than {keep:.0%} of a measure on fresh queries; '
    f'{reductions_taken}'
  )


def world(kind: str, seed: int) -> tuple:
  """(evidence with few queries, evidence with fresh ones) of one database."""
  fall, spread, turned, queries = WORLDS[kind]
  rng = np.random.default_rng(seed)
  scale = fall ** np.arange(64)
  centres = rng.normal(size=(20, 64)) * scale
  sides = []
  for n in (1500, queries, FRESH):
    labels = rng.integers(0, 20, n)
    x = centres[labels] + spread * rng.normal(size=(n, 64)) * scale
    if turned:
      x = x @ reductions.random_rotation(64, seed).matrix
    sides.append(Vectors(x.astype(np.float32), labels))
  database, few, many = sides
  dims = (8, 16, 32, 64)
  return tuple(
    evidence.of_vectors(database, queries, dims) for queries in (few, many)
  )


def decided(shown, fresh, keep: float, seed: int) -> tuple:
  """(the store chosen, what it keeps of each measure on fresh queries)."""
  options = dict(indexes=False, keep=keep, seed=seed, queries=FRESH)
  _, details = Stores(**options).run(shown)
  chosen = next((p for p in details['table'] if p['chosen']), None)
  if chosen is None:
    return None, ()
  rows, _ = Stores(**options).run(fresh)
  name = '.'.join(
    [chosen['reduction'], chosen['format']]
    + [f'{chosen["rescore"]}{chosen["shortlist"]}'] * bool(chosen['rescore'])
  )
  kept = [
    row['kept']
    for row in rows
    if (row['variant'], row['dim']) == (name, chosen['dim'])
  ]
  assert len(kept) == len(details['measures'])
  return chosen, kept


if __name__ == '__main__':
  main()
