"""`baselines`: what other reductions of the same embeddings reach."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import answers, probes, reductions, ties
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import options
from mrl_jax.shapes import Bool, Float

RANDOM = {
  'random_subset': reductions.random_coordinates,
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
  for the seeds drawn; `spread` is its deviation over seeds. Probes need
  labels.

  Args:
    examples: rows of the database used by all variants, drawn if it has more.
    queries: at most so many are asked, drawn if there are more.
    seeds: of each random reduction.
    probe: whether to fit linear probes on 'prefix', 'pca', 'random_subset'.
    ff: workdirs of fixed-feature runs that were evaluated. Runs at one dim
      are averaged, values and ends of the intervals.
  """

  needs = ('relevance',)

  def __init__(
    self,
    examples: int = 20000,
    queries: int = 10000,
    seeds: int = 3,
    probe: bool = True,
    ff: Sequence[str] = (),
  ):
    options.at_least(1, examples=examples, queries=queries, seeds=seeds)
    self.examples, self.queries, self.seeds = examples, queries, seeds
    self.probe = probe
    self.ff = (ff,) if isinstance(ff, str) else tuple(ff)
    self.ff = tuple(folder for folder in self.ff if folder)
    names = ('knn_top1', 'probe_top1') if probe else ('knn_top1',)
    self.metrics = tuple(f'{name}.prefix' for name in names)

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    runs = [_fixed_feature(folder) for folder in self.ff]
    random = np.random.default_rng(0)
    queries, database, relevance = evidence.sample(
      random, self.examples, self.queries
    )
    probed = PROBED if self.probe and evidence.has('labels') else ()
    results = []
    for variant, maps in self._variants(database.embeddings):
      dims = evidence.dims if variant == 'prefix' else evidence.dims[:-1]
      if not dims:
        continue
      nearest, probe = [], []
      for reduce in maps:
        sides = [
          Vectors(reduce(side.embeddings), side.labels)
          for side in (queries, database)
        ]
        nearest.append(_nearest_hits(*sides, dims, relevance, evidence.mesh))
        if variant in probed:
          probe.append(_probe_hits(*sides, dims))
      results += _seed_rows('knn_top1', variant, dims, np.stack(nearest))
      if probe:
        results += _seed_rows('probe_top1', variant, dims, np.stack(probe))
    folders = {run['dim']: [] for run in runs}
    for run in runs:
      folders[run['dim']].append(run['workdir'])
    details = {
      'examples': len(database),
      'database': len(evidence.database),
      'seeds': self.seeds,
      'ff': folders,
    }
    return results + _mean_rows(runs), details

  def _variants(self, embeddings) -> Iterator[tuple]:
    """(name, its reductions), fitted when asked for."""
    width = embeddings.shape[1]
    yield 'prefix', [lambda z: np.asarray(z, np.float32)]
    yield 'pca', [reductions.pca(embeddings)]
    yield 'svd', [reductions.svd(embeddings)]
    for name, make in RANDOM.items():
      yield name, [make(width, seed) for seed in range(self.seeds)]


def _nearest_hits(
  queries, database, dims, relevance, mesh
) -> Float[np.ndarray, 'g q']:
  """Whether the nearest row is relevant; of tied ones the share that is."""
  nearest = ties.rankings(queries, database, dims, 1, relevance, mesh)
  return np.stack([ranking.chance[:, 0] for ranking in nearest])


def _probe_hits(queries, database, dims) -> Bool[np.ndarray, 'g q']:
  """Whether a linear probe fitted on the database answers right."""
  return answers.of_probe(probes.fit(database, dims), queries, dims).right


def _seed_rows(metric, variant, dims, hits: Float[np.ndarray, 's g q']) -> list:
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


def _fixed_feature(workdir: str) -> dict:
  """{'dim', 'workdir', 'rows'}: the newest results at a run's own dim.

  Raises:
    UsageError: if the folder is not a run, or was not evaluated.
  """
  fix = f'run `python eval.py --workdir={workdir}` first'
  path = Path(workdir)
  if not (path / 'config.json').is_file():
    raise errors.UsageError(
      f'ff={workdir!r} is not a run: it has no config.json'
    )
  config = json.loads((path / 'config.json').read_text(encoding='utf-8'))
  # Older runs have the head at the top.
  head = config.get('head') or config['task'].get('head', {})
  if head.get('name') != 'ff' and len(config['dims']) > 1:
    raise errors.UsageError(
      f'ff={workdir!r} is not a fixed-feature run: its head is '
      f'{head.get("name")!r}'
    )
  dim = head.get('dim') or config['dims'][-1]
  steps = [
    int(file.parent.name)
    for file in path.glob('eval/*/results.jsonl')
    if file.parent.name.isdigit()
  ]
  if not steps:
    raise errors.UsageError(f'ff={workdir!r} has no results; {fix}')
  lines = (path / 'eval' / str(max(steps)) / 'results.jsonl').read_text(
    encoding='utf-8'
  )
  top1 = {
    f'{row["evaluator"]}_top1': row
    for row in map(json.loads, lines.splitlines())
    if row['evaluator'] in ('knn', 'linear')
    and (row['metric'], row['dim']) == ('top1', dim)
    and 'variant' not in row
  }
  if not top1:
    raise errors.UsageError(
      f'ff={workdir!r} has no knn/top1 or linear/top1 at d{dim}; {fix}'
    )
  return {'dim': dim, 'workdir': str(workdir), 'rows': top1}


def _mean_rows(runs: list[dict]) -> list[rows.Row]:
  """A row per metric and dim, means over the runs of that dim."""
  grouped = {}
  for run in runs:
    for metric, row in run['rows'].items():
      grouped.setdefault((metric, run['dim']), []).append(row)
  results = []
  for (metric, dim), same in sorted(grouped.items()):
    value, low, high = (
      float(np.mean([row[key] for row in same]))
      for key in ('value', 'ci_low', 'ci_high')
    )
    extra = {'variant': 'ff', 'runs': len(same)}
    results.append(
      rows.make(
        'baselines', metric, dim, value, (low, high), same[0]['n'], **extra
      )
    )
  return results
