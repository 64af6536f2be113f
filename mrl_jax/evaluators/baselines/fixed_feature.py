"""Results of runs that were trained at one dim, to stand beside baselines."""

import json
from pathlib import Path

import numpy as np

from mrl_jax import errors, rows


def read_run(workdir: str) -> dict:
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
  config = json.loads((path / 'config.json').read_text())
  head = config.get('head', {}).get('name')
  if head != 'ff' and len(config['dims']) > 1:
    raise errors.UsageError(
      f'ff={workdir!r} is not a fixed-feature run: its head.name is {head!r}'
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


def mean_rows(runs: list[dict]) -> list[rows.Row]:
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
