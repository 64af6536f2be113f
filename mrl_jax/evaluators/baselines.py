"""`baselines`: what other reductions of the same embeddings reach."""

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mrl_jax import errors, intervals, rows
from mrl_jax.embed import (
  answers,
  exact,
  probes,
  reductions,
  shortlist,
  ties,
)
from mrl_jax.embed import relevance as relevances
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import options
from mrl_jax.shapes import Bool, Float, Int

RANDOM = {
  'random_subset': reductions.random_coordinates,
  'random_projection': reductions.random_projection,
  'random_rotation': reductions.random_rotation,
}
PROBED = ('prefix', 'pca', 'random_subset')
RIVALS = ('random_subset', 'random_rotation', 'pca')  # of the prefix
MEASURES = ('ndcg', 'knn_top1', 'recall')  # of the verdict, the first it has
NEIGHBOURS = 10  # of recall and nDCG
SPARE = 4  # times as many rows may be as near as the last of them


class Baselines:
  """What other reductions of the full width reach, per dimension.

  Variants: 'pca' (centred, also called SVD), 'svd' (not centred), both fitted
  on the database; with judgements or pairs 'pca_queries', fitted on half of
  the queries and measured on the others, both ways; 'random_subset',
  'random_projection', 'random_rotation', means over seeds; 'prefix', the
  embedding itself on the same rows; 'ff', runs trained at one dim. A random
  variant's interval is about the queries, for the seeds drawn; `spread` is its
  deviation over seeds.

  Measures: 'recall', the share of the 10 nearest rows at full width; 'ndcg' of
  10 with judgements or pairs, by class 'knn_top1', whether the nearest row is
  relevant; with labels 'probe_top1', by ridge regression in closed form. The
  details say by how much the prefix differs from each rival on the same
  queries: whether the embedding is nested.

  Args:
    examples: rows of the database used by all variants, drawn if it has more.
    queries: at most so many are asked, drawn if there are more.
    seeds: of each random reduction.
    probe: whether to fit linear probes on 'prefix', 'pca', 'random_subset'.
    ff: workdirs of fixed-feature runs that were evaluated. Runs at one dim
      are averaged, values and ends of the intervals.
  """

  needs = ()

  def __init__(
    self,
    examples: int = 100000,
    queries: int = 10000,
    seeds: int = 4,
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
    asked = evidence.sample(random, self.examples, self.queries)
    queries, database, _ = asked
    judged = evidence.relate is not None
    trial = _Trial(*asked, evidence.dims, evidence.mesh, judged)
    probed = PROBED if self.probe and evidence.has('labels') else ()
    results, values = [], {}
    for variant, maps in self._variants(database.embeddings):
      dims = evidence.dims if variant == 'prefix' else evidence.dims[:-1]
      if not dims:
        continue
      found: dict[str, list] = {}
      for reduce in maps:
        sides = [
          Vectors(reduce(side.embeddings), side.labels)
          for side in (queries, database)
        ]
        for metric, of in trial.measure(*sides, dims).items():
          found.setdefault(metric, []).append(of)
        if variant in probed:
          right = _probe_hits(*sides, dims)
          found.setdefault('probe_top1', []).append(right)
      for metric, of in found.items():
        values[metric, variant] = np.stack(of)
        results += _seed_rows(
          metric, variant, dims, values[metric, variant], len(database)
        )
    if judged:
      results += _rows_by_queries(trial, queries, database, evidence.dims[:-1])
    folders = {run['dim']: [] for run in runs}
    for run in runs:
      folders[run['dim']].append(run['workdir'])
    details = {
      'examples': len(database),
      'database': len(evidence.database),
      'queries': len(queries),
      'queries_of': len(evidence.queries),
      'seeds': self.seeds,
      'ff': folders,
      'nested': _nested(values, evidence.dims, trial.k),
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


class _Trial:
  """What each query should find: relevant rows, and those near at full width.

  As near is what no more than TIE less than the k-th nearest row is.
  """

  def __init__(self, queries, database, relevance, dims, mesh, judged):
    self.mesh, self.k = mesh, min(NEIGHBOURS, len(database))
    scores, rows = exact.nested_top_k(
      queries.embeddings,
      database.embeddings,
      dims[-1:],
      min(SPARE * self.k, len(database)),
      mesh,
    )
    reached = scores[0] >= scores[0, :, self.k - 1 : self.k] - shortlist.TIE
    near = relevances.by_rows(rows[0], reached, len(database))
    self.sought = {'recall': near}
    if relevance is not None:
      self.sought['ndcg' if judged else 'knn_top1'] = relevance

  def at(self, queries: Int[np.ndarray, 'c']) -> '_Trial':
    """The trial of some queries."""
    some = copy.copy(self)
    some.sought = {name: it.at(queries) for name, it in self.sought.items()}
    return some

  def measure(
    self, queries, database, dims
  ) -> dict[str, Float[np.ndarray, 'g q']]:
    """Measures per dim and query of both sides after a reduction.

    Expectations over the orders of tied rows.
    """
    found = exact.nested_top_k(
      queries.embeddings,
      database.embeddings,
      dims,
      min(self.k + 1, len(database)),
      self.mesh,
    )
    measured = {}
    for name, sought in self.sought.items():
      measured[name] = np.stack(
        [
          _values(
            name,
            ties.ranking_of(of, queries, database, m, self.k, sought),
            sought,
          )
          for m, *of in zip(dims, *found)
        ]
      )
    return measured


def _values(
  name: str, ranking: ties.Ranking, sought: relevances.Relevance
) -> Float[np.ndarray, 'q']:
  """A measure of each query."""
  if name == 'ndcg':
    ideal = sought.ideal(ranking.rows.shape[1])
    return ties.expected_measures(ranking, ideal, sought.totals)[name]
  if name == 'knn_top1':
    return ranking.chance[:, 0]
  return ranking.chance.mean(axis=1)


def _rows_by_queries(trial: _Trial, queries, database, dims) -> list[rows.Row]:
  """The rows of 'pca_queries': no query is measured by a fit it was part of.

  The queries' own mean sets the directions and is subtracted from neither
  side: the database has another, and so the full width stays what it is. As
  many directions are known as there are queries to fit on, less one; dims
  beyond are left out.
  """
  order = np.random.default_rng(0).permutation(len(queries))
  halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
  dims = [m for m in dims if m < len(halves[0])]
  measured: dict[str, np.ndarray] = {}
  for fitted, held in (halves, halves[::-1]) if dims else ():
    reduce = reductions.directions(queries.embeddings[fitted])
    sides = [
      Vectors(reduce(side))
      for side in (queries.embeddings[held], database.embeddings)
    ]
    for name, of in trial.at(held).measure(*sides, dims).items():
      values = measured.setdefault(name, np.zeros((len(dims), len(queries))))
      values[:, held] = of
  return [
    row
    for name, of in measured.items()
    for row in _seed_rows(name, 'pca_queries', dims, of[None], len(database))
  ]


def _probe_hits(queries, database, dims) -> Bool[np.ndarray, 'g q']:
  """Whether a ridge probe fitted on the database answers right."""
  fitted = probes.fit(database, dims, probes.Options(solver='ridge'))
  return answers.of_probe(fitted, queries, dims).right


def _nested(values: dict, dims, k: int) -> dict:
  """By how much the prefix is better than its rivals, per dim.

  In the first measure of MEASURES that there is; on the same queries, with
  95% intervals over queries and draws.
  """
  metric = next(name for name in MEASURES if (name, 'prefix') in values)
  rivals = {}
  for rival in RIVALS:
    if (metric, rival) not in values:
      return {}
    theirs = values[metric, rival].astype(np.float64)
    ours = values[metric, 'prefix'][0].astype(np.float64)
    rivals[rival] = [
      {'dim': m, **_difference(ours[g] - theirs[:, g])}
      for g, m in enumerate(dims[:-1])
    ]
  return {'metric': metric, 'k': k, 'width': dims[-1], 'by': rivals}


def _difference(differences: Float[np.ndarray, 's q']) -> dict[str, float]:
  """Their mean and its 95% interval over queries and draws."""
  low, high = intervals.crossed((differences + 1) / 2)
  ends = {'low': 2 * low - 1, 'high': 2 * high - 1}
  return {'value': float(differences.mean()), **ends}


def _seed_rows(
  metric, variant, dims, hits: Float[np.ndarray, 's g q'], rows_searched: int
) -> list:
  """A row per dim: the mean over seeds and queries."""
  results = []
  for g, m in enumerate(dims):
    extra = {'variant': variant}
    if metric in ('recall', 'ndcg'):
      extra['k'] = min(NEIGHBOURS, rows_searched)
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
