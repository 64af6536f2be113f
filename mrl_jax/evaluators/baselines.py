"""`baselines`: what other reductions of the same embeddings reach."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import evidence as evidences
from mrl_jax.embed import probes, reductions, search
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool

RANDOM = {
  'random_subset': reductions.random_subset,
  'random_projection': reductions.random_projection,
  'random_rotation': reductions.random_rotation,
}
PROBED = ('prefix', 'pca', 'random_subset')


class Baselines:
  """1-NN and linear probes on reductions of the full width, per dimension.

  Variants: 'pca' (centred, also called SVD), 'svd' (not centred), both fitted
  on the database; 'random_subset', 'random_projection', 'random_rotation',
  means over seeds; 'prefix', the embedding itself on the same rows; 'ff',
  runs trained at one dim. A random variant's interval is about the queries,
  for the seeds drawn; `spread` is its deviation over seeds.

  Args:
    examples: rows of the database used by all variants, drawn if it has more.
    queries: at most so many are asked, drawn if there are more.
    seeds: of each random reduction.
    probe: whether to fit linear probes on 'prefix', 'pca', 'random_subset'.
    ff: workdirs of fixed-feature runs that were evaluated. Runs at one dim
      are averaged, values and ends of the intervals.
  """

  needs = ('labels',)

  def __init__(
    self,
    examples: int = 20000,
    queries: int = 10000,
    seeds: int = 3,
    probe: bool = True,
    ff: Sequence[str] = (),
  ):
    if min(examples, queries, seeds) < 1:
      raise ValueError(
        f'examples={examples}, queries={queries} and seeds={seeds} must be '
        'at least 1'
      )
    self.examples, self.queries, self.seeds = examples, queries, seeds
    self.probe = probe
    self.ff = (ff,) if isinstance(ff, str) else tuple(ff)
    self.ff = tuple(folder for folder in self.ff if folder)
    names = ('knn_top1', 'probe_top1') if probe else ('knn_top1',)
    self.metrics = tuple(f'{name}.prefix' for name in names)

  def run(self, evidence) -> tuple[list[dict], dict]:
    trained = [fixed_feature(folder) for folder in self.ff]
    random = np.random.default_rng(0)
    database = evidence.database.drawn(random, self.examples)
    queries = evidence.queries.drawn(random, self.queries)
    dims, rows = evidence.dims, []
    for variant, maps in self.variants(database.embeddings):
      below = dims if variant == 'prefix' else dims[:-1]
      if not below:
        continue
      hits = {'knn_top1': [], 'probe_top1': []}
      for reduce in maps:
        one, two = (
          Vectors(reduce(side.embeddings), side.labels)
          for side in (queries, database)
        )
        hits['knn_top1'].append(nearest_hits(one, two, below, evidence.mesh))
        if self.probe and variant in PROBED:
          hits['probe_top1'].append(probe_hits(one, two, below))
      for metric, found in hits.items():
        if found:
          rows += seed_rows(metric, variant, below, np.stack(found))
    details = {
      'examples': len(database),
      'database': len(evidence.database),
      'seeds': self.seeds,
      'ff': {run['dim']: [] for run in trained},
    }
    for run in trained:
      details['ff'][run['dim']].append(run['workdir'])
    return rows + fixed_feature_rows(trained), details

  def variants(self, embeddings):
    """(name, its reductions), fitted when asked for."""
    width = embeddings.shape[1]
    yield 'prefix', [lambda z: np.asarray(z, np.float32)]
    yield 'pca', [reductions.pca(embeddings)]
    yield 'svd', [reductions.svd(embeddings)]
    for name, make in RANDOM.items():
      yield name, [make(width, seed) for seed in range(self.seeds)]


def nearest_hits(queries, database, dims, mesh) -> Bool[np.ndarray, 'g q']:
  """Whether the nearest row has the query's label."""
  _, found = search.nested_top_k(
    queries.embeddings, database.embeddings, dims, 1, mesh
  )
  return database.labels[jax.device_get(found)[..., 0]] == queries.labels


def probe_hits(queries, database, dims) -> Bool[np.ndarray, 'g q']:
  """Whether a linear probe fitted on the database answers right."""
  probe = probes.fit(database, dims)
  best, _ = evidences.decide(probe.logits, queries.embeddings, dims)
  return probe.classes[best[..., 0]] == queries.labels


def seed_rows(metric, variant, dims, hits: Bool[np.ndarray, 's g q']) -> list:
  """A row per dim: the mean over seeds and queries."""
  results = []
  for g, m in enumerate(dims):
    extra = {'variant': variant}
    if variant in RANDOM:
      spread = float(np.std(hits[:, g].mean(axis=1)))
      extra |= {'seeds': len(hits), 'spread': spread}
    values = hits[:, g].mean(axis=0)
    results.append(rows.mean('baselines', metric, m, values, **extra))
  return results


def fixed_feature(workdir: str) -> dict:
  """{'dim', 'workdir', 'rows'}: the newest results at a run's own dim.

  Raises:
    ValueError: if the folder is no run, or was not evaluated.
  """
  fix = f'run `python eval.py --workdir={workdir}` first'
  path = Path(workdir)
  if not (path / 'config.json').is_file():
    raise errors.UsageError(f'ff={workdir!r} is no run: it has no config.json')
  config = json.loads((path / 'config.json').read_text())
  head = config.get('head', {}).get('name')
  if head != 'ff' and len(config['dims']) > 1:
    raise errors.UsageError(
      f'ff={workdir!r} is no fixed-feature run: its head.name is {head!r}'
    )
  dim = config['head'].get('dim') or config['dims'][-1]
  steps = [
    int(file.parent.name)
    for file in path.glob('eval/*/results.jsonl')
    if file.parent.name.isdigit()
  ]
  if not steps:
    raise errors.UsageError(f'ff={workdir!r} has no results; {fix}')
  lines = (path / 'eval' / str(max(steps)) / 'results.jsonl').read_text()
  found = {
    (row['evaluator'], row['metric']): row
    for row in map(json.loads, lines.splitlines())
    if row['dim'] == dim and 'variant' not in row
  }
  rows = {
    f'{name}_top1': found[name, 'top1']
    for name in ('knn', 'linear')
    if (name, 'top1') in found
  }
  if not rows:
    raise errors.UsageError(
      f'ff={workdir!r} has no knn/top1 or linear/top1 at d{dim}; {fix}'
    )
  return {'dim': dim, 'workdir': str(workdir), 'rows': rows}


def fixed_feature_rows(trained: list[dict]) -> list[dict]:
  """A row per metric and dim, means over the runs of that dim."""
  grouped = {}
  for run in trained:
    for metric, row in run['rows'].items():
      grouped.setdefault((metric, run['dim']), []).append(row)
  results = []
  for (metric, dim), same in sorted(grouped.items()):
    value, low, high = (
      float(np.mean([row[key] for row in same]))
      for key in ('value', 'ci_low', 'ci_high')
    )
    results.append(
      rows.make(
        'baselines',
        metric,
        dim,
        value,
        (low, high),
        same[0]['n'],
        variant='ff',
        runs=len(same),
      )
    )
  return results
