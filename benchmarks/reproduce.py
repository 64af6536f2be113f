"""The paper's tables on Fashion-MNIST: every run, then the tables.

  python benchmarks/reproduce.py run      # trains and evaluates what is missing
  python benchmarks/reproduce.py table    # of all runs that are there

21 runs (MRL, MRL-E and one fixed-feature run per dim, three seeds each), at
most eight minutes each on two cores. Stop it at any time: `run` goes on where
it stopped. `--jobs=2` trains two at once, each on one thread.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
CONFIG = 'configs/reproduce/fashion_mnist.py'
T_TWO = 4.302653  # 97.5% point of Student's t with two degrees of freedom


def recipe():
  spec = importlib.util.spec_from_file_location('recipe', ROOT / CONFIG)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def workdir(root: Path, method: str, seed: int) -> Path:
  return root / f'{method.replace("=", "")}-seed{seed}'


def newest_rows(folder: Path) -> list[dict] | None:
  """Result rows of a run's newest evaluation, None if there is none."""
  found = sorted(
    (folder / 'eval').glob('*/results.jsonl'),
    key=lambda path: int(path.parent.name),
  )
  if not found:
    return None
  return [
    json.loads(line)
    for line in found[-1].read_text(encoding='utf-8').splitlines()
  ]


def train(root: Path, method: str, seed: int, words: list[str], jobs: int):
  folder = workdir(root, method, seed)
  folder.mkdir(parents=True, exist_ok=True)
  environment = dict(os.environ)
  if jobs > 1:
    flags = environment.get('XLA_FLAGS', '')
    environment['XLA_FLAGS'] = f'{flags} --xla_cpu_multi_thread_eigen=false'
  variant = ','.join([method, f'seed={seed}', *words])
  with (folder / 'log.txt').open('a', encoding='utf-8') as log:
    code = subprocess.run(
      [
        sys.executable,
        'train.py',
        f'--config={CONFIG}:{variant}',
        f'--workdir={folder}',
      ],
      cwd=ROOT,
      env=environment,
      stdout=log,
      stderr=subprocess.STDOUT,
    ).returncode
  said = 'done' if code == 0 else f'failed with {code}, see {folder}/log.txt'
  print(f'{folder.name}: {said}', flush=True)
  return code


def run(root: Path, seeds, methods, words: list[str], jobs: int) -> int:
  """Trains and evaluates every run whose last evaluation is not there."""
  todo = [
    (method, seed)
    for seed in seeds
    for method in methods
    if 'knn' not in evaluated(workdir(root, method, seed))
  ]
  count = len(seeds) * len(methods)
  print(f'{count - len(todo)} of {count} runs are there', flush=True)
  with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    codes = pool.map(lambda each: train(root, *each, words, jobs), todo)
    return int(any(list(codes)))


def evaluated(folder: Path) -> set[str]:
  return {row['evaluator'] for row in newest_rows(folder) or []}


class Results:
  """All result rows by method, seed and curve."""

  def __init__(self, root: Path, seeds, methods):
    self.rows = {}
    for method in methods:
      for seed in seeds:
        found = newest_rows(workdir(root, method, seed))
        if found:
          self.rows[method, seed] = found
    self.seeds = seeds

  def values(self, method, name, dim, key='value', seeds=None) -> list[float]:
    """One number per seed that has it: `evaluator/metric[@k][.variant]`."""
    found = []
    for seed in seeds or self.seeds:
      for row in self.rows.get((method, seed), []):
        at = f'@{row["k"]}' if 'k' in row else ''
        variant = f'.{row["variant"]}' if 'variant' in row else ''
        curve = f'{row["evaluator"]}/{row["metric"]}{at}{variant}'
        if curve == name and row['dim'] == dim:
          found.append(row[key])
    return found


def spread(values: list[float], scale: float = 100) -> str:
  """Mean, with the half width of a 95% t-interval over three seeds."""
  if not values:
    return '-'
  mean = scale * np.mean(values)
  if len(values) != 3:
    return f'{mean:.2f} (n={len(values)})'
  half = scale * T_TWO * np.std(values, ddof=1) / np.sqrt(3)
  return f'{mean:.2f} ± {half:.2f}'


def table(header: list[str], lines: list[list[str]]) -> str:
  every = [header, ['---'] * len(header), *lines]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in every)


def by_dim(results: Results, dims, rows) -> str:
  """A table of (title, method of a dim, curve) lines, a column per dim."""
  lines = [
    [title, *(spread(results.values(method(m), name, m)) for m in dims)]
    for title, method, name in rows
  ]
  return table(['', *map(str, dims)], lines)


def differences(results: Results, dims, name: str) -> str:
  """MRL minus FF in points, paired by seed."""
  lines = []
  for method in ('mrl', 'mrl_e'):
    line = [f'{method.upper().replace("_", "-")} - FF']
    for m in dims:
      pairs = [
        ours[0] - theirs[0]
        for seed in results.seeds
        if (ours := results.values(method, name, m, seeds=[seed]))
        and (theirs := results.values(f'ff={m}', name, m, seeds=[seed]))
      ]
      line.append(spread(pairs))
    lines.append(line)
  return table(['points', *map(str, dims)], lines)


def tables(root: Path, seeds, methods, dims) -> str:
  """Every table as Markdown; what is missing is a dash."""
  results = Results(root, seeds, methods)
  full = dims[-1]

  def always(method):
    return lambda m: method

  ff, ff_full = (lambda m: f'ff={m}'), always(f'ff={full}')
  parts = [
    '### Linear classification, top-1 % (paper, table 1)',
    by_dim(
      results,
      dims,
      [
        ('MRL', always('mrl'), 'linear/top1'),
        ('MRL-E', always('mrl_e'), 'linear/top1'),
        ('FF, one training per dim', ff, 'linear/top1'),
        (f'FF-{full} + SVD, probe', ff_full, 'baselines/probe_top1.pca'),
        (
          f'FF-{full}, random dims, probe',
          ff_full,
          'baselines/probe_top1.random_subset',
        ),
      ],
    ),
    differences(results, dims, 'linear/top1'),
    '### 1-NN, top-1 % (paper, table 2)',
    by_dim(
      results,
      dims,
      [
        ('MRL', always('mrl'), 'knn/top1'),
        ('MRL-E', always('mrl_e'), 'knn/top1'),
        ('FF, one training per dim', ff, 'knn/top1'),
        (f'FF-{full} + SVD', ff_full, 'baselines/knn_top1.pca'),
        (
          f'FF-{full}, random dims',
          ff_full,
          'baselines/knn_top1.random_subset',
        ),
        (f'FF-{full}, first dims', ff_full, 'knn/top1'),
        ('MRL, rotated', always('mrl'), 'baselines/knn_top1.random_rotation'),
      ],
    ),
    differences(results, dims, 'knn/top1'),
    '### Adaptive classification with MRL (paper, table 3)',
    adaptive(results, full),
    '### Retrieval with MRL by prefix (paper, table 8)',
    by_dim(
      results,
      dims,
      [
        (name, always('mrl'), f'retrieval/{curve}')
        for name, curve in (
          ('top-1', 'top1'),
          ('mAP@10 (over k)', 'map@10'),
          ('mAP@10 (over min(k, R))', 'map_min@10'),
          ('P@10', 'p@10'),
          ('P@100', 'p@100'),
        )
      ],
    ),
    '### Shortlist of 200 by a prefix, reranked at full width '
    '(paper, table 11)',
    by_dim(
      results,
      dims,
      [
        ('top-1', always('mrl'), 'search/top1.ar'),
        ('recall@10 of the exact search', always('mrl'), 'search/recall@10.ar'),
        (
          'recall@10 without rerank',
          always('mrl'),
          'search/recall@10.prefix',
        ),
      ],
    ),
    '### Funnel (paper, table 13)',
    by_dim(
      results,
      dims,
      [
        ('top-1', always('mrl'), 'search/top1.funnel'),
        ('recall@10', always('mrl'), 'search/recall@10.funnel'),
      ],
    ),
  ]
  return '\n\n'.join(parts)


def adaptive(results: Results, full: int) -> str:
  names = {
    name
    for (method, _), rows in results.rows.items()
    for row in rows
    if method == 'mrl' and row['evaluator'] in ('cascade', 'agreement')
    for name in [f'{row["evaluator"]}/{row["metric"]}']
    if 'variant' not in row and row['dim'] == full and 'expected_dim' in row
  } | {
    f'cascade/{row["metric"]}.{row["variant"]}'
    for (method, _), rows in results.rows.items()
    for row in rows
    if method == 'mrl' and row['evaluator'] == 'cascade' and 'variant' in row
  }
  lines = [
    [
      name.replace('cascade/top1.', ''),
      spread(results.values('mrl', name, full)),
      spread(results.values('mrl', name, full, 'expected_dim'), scale=1),
    ]
    for name in sorted(names)
  ]
  width = spread(results.values('mrl', 'linear/top1', full))
  lines.append([f'always {full}', width, f'{full}'])
  return table(['policy', 'top-1 %', 'expected dims'], lines)


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('what', choices=('run', 'table'))
  parser.add_argument('--root', type=Path, default=Path('runs/reproduce'))
  parser.add_argument('--jobs', type=int, default=1)
  parser.add_argument('--seeds', type=int, nargs='+')
  parser.add_argument('--methods', nargs='+')
  parser.add_argument('--variant', nargs='*', default=[], help='like smoke')
  options = parser.parse_args(argv)
  known = recipe()
  seeds = options.seeds or known.SEEDS
  methods = options.methods or known.METHODS
  wrong = [method for method in methods if method not in known.METHODS]
  if wrong or options.jobs < 1:
    parser.error(
      f'--methods={wrong[0]} is not one of {", ".join(known.METHODS)}'
      if wrong
      else f'--jobs={options.jobs} must be at least 1'
    )
  root = options.root.absolute()
  if options.what == 'run':
    return run(root, seeds, methods, options.variant, options.jobs)
  text = tables(root, seeds, methods, known.DIMS)
  (root / 'tables.md').write_text(text + '\n', encoding='utf-8')
  print(text)
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
