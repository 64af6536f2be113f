"""Several runs side by side: `compare.html` and `compare.md`."""

import dataclasses
import json
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mrl_jax import rows
from mrl_jax.report import (
  blocks,
  charts,
  curves,
  differences,
  page,
  tables,
  verdicts,
)
from mrl_jax.report.differences import Compared

MORE = {
  'retrieval/map_min@10': 'mAP@10 over min(k, R)',
  'few_shot/top1@1': 'nearest mean, 1 shot',
  'robustness/top1.mean': 'corrupted images',
  'classes/per_class': 'mean of classes',
  'calibration/ece': 'calibration error',
}

# Parts of a config that do not change what is learned.
ASIDE = ('eval', 'mesh', 'checkpoint')


def write(
  workdirs: Sequence[str | Path],
  out_folder: str | Path,
  group_seeds: bool = False,
) -> Path:
  """Writes the page and its Markdown; returns the page.

  Of each run its newest evaluation. Runs over different data stand in
  sections of their own. With `group_seeds`, runs whose configs differ in the
  seed only become one: mean, and smallest to largest.

  Raises:
    ValueError: if a run has no results, or if no two runs share their data.
  """
  runs = _named([differences.read_newest(workdir) for workdir in workdirs])
  groups = list(differences.by_data(runs))
  if group_seeds:
    groups = [_grouped(group) for group in groups]
  if len(groups) > 1 and all(len(group) == 1 for group in groups):
    data = '; '.join(map(verdicts.data, groups))
    raise ValueError(
      f'different data, nothing can be compared: {data}; evaluate the runs '
      'on one data set'
    )
  folder = Path(out_folder)
  folder.mkdir(parents=True, exist_ok=True)
  count = sum(map(len, groups))
  title = f'{count} runs side by side' if count > 1 else 'One run'
  unit = curves.units(_curve_names(runs))
  sub = f'{page.PERCENT[unit]}. Intervals are 95%'
  sub += ', of groups of seeds smallest to largest.' if group_seeds else '.'
  return page.save(folder / 'compare', title, sub, _sections(groups))


def _named(runs: list[Compared]) -> list[Compared]:
  """Runs with different names: equal ones are counted."""
  names = [run.name for run in runs]
  counted = [names[: i + 1].count(name) for i, name in enumerate(names)]
  return [
    dataclasses.replace(run, name=f'{run.name} ({count})')
    if names.count(run.name) > 1
    else run
    for run, count in zip(runs, counted)
  ]


def _grouped(runs: Iterable[Compared]) -> list[Compared]:
  """Runs of one config but for its seed as one run each."""
  groups: dict[str, list] = {}
  for run in runs:
    rest = {k: v for k, v in _learned(run.config).items() if k != 'seed'}
    same = json.dumps(rest, sort_keys=True) if rest else run.name
    groups.setdefault(same, []).append(run)
  return [_averaged(group) for group in groups.values()]


def _averaged(group: Sequence[Compared]) -> Compared:
  """Mean of each row that all have; from smallest to largest."""
  seeds = {run.config.get('seed'): run for run in reversed(group)}
  if len(group) == 1:
    return dataclasses.replace(group[0], seeds=seeds)
  every = [
    {rows.flat_name(row): row['value'] for row in run.rows} for run in group
  ]
  means = []
  for row in group[0].rows:
    name = rows.flat_name(row)
    if all(name in of_run for of_run in every):
      values = [of_run[name] for of_run in every]
      spread = {'ci_low': min(values), 'ci_high': max(values)}
      mean = statistics.fmean(values)
      means.append({**row, 'value': mean, **spread, 'seeds': len(values)})
  return Compared(
    name=f'{common([run.name for run in group])} ({len(group)} seeds)',
    rows=means,
    details=group[0].details,
    notes=tuple(f'{run.name}: {it}' for run in group for it in run.notes),
    config={
      **group[0].config,
      'seed': [run.config.get('seed') for run in group],
    },
    seeds=seeds,
  )


def common(names: Sequence[str]) -> str:
  """What names have in common without `-seed`; the first if nothing."""
  start = os.path.commonprefix(list(names))
  return re.sub(r'[-_. ]*(seed|s)?[-_. ]*$', '', start) or names[0]


def _sections(groups: Sequence[Sequence[Compared]]) -> list[blocks.Section]:
  """Verdicts; then, for each data set, its curves; then all numbers."""
  runs = [run for group in groups for run in group]
  pairs = differences.compare_pairs(groups)
  ends = [f', {verdicts.kind(group)}' * (len(groups) > 1) for group in groups]
  sections = {
    'Verdicts': verdicts.texts(groups, pairs),
    **{f'The same curves{e}': _charts(g) for g, e in zip(groups, ends)},
    'What differs': _config_differences(runs),
    'Runs': _runs(runs),
    **{f'All differences{e}': _tables(p) for p, e in zip(pairs, ends)},
    **{
      f'All numbers{e}': _by_size(g) + _numbers(g) for g, e in zip(groups, ends)
    },
  }
  return [
    blocks.Section(title, contents)
    for title, contents in sections.items()
    if contents
  ]


def _runs(runs: Sequence[Compared]) -> list:
  """What was read of each run, and what was not."""
  steps = [
    [run.name, f'{run.step}', f'{run.width:g}', f'{len(run.rows)}']
    for run in runs
  ]
  notes = [f'{run.name}: {note}' for run in runs for note in run.notes]
  return [
    blocks.Table(['run', 'step', 'width', 'rows'], steps),
    *map(blocks.Text, notes),
  ]


def _tables(pairs: Sequence[differences.Pair]) -> list[blocks.Table]:
  """The differences of each main curve."""
  names = dict.fromkeys(name for pair in pairs for name in pair.curves)
  return [verdicts.table(name, pairs) for name in names]


def _curve_names(runs: Sequence[Compared]) -> list[str]:
  """The main curves that any run has, in the order of MAIN."""
  names = dict.fromkeys(name for run in runs for name in curves.main(run.rows))
  return sorted(
    names, key=lambda it: list(curves.MAIN).index(curves.main_name(it))
  )


def _charts(runs: Sequence[Compared]) -> list[blocks.Picture]:
  """A chart per curve that any run has."""
  pictures = []
  for name in [*_curve_names(runs), *MORE]:
    lines = [
      line
      for index, run in enumerate(runs)
      for line in curves.lines(
        run.name, run.curve(name), index, style=_style(index)
      )
    ]
    label = MORE.get(name) or curves.label(name)
    pictures += curves.against_dimension(label, curves.units([name]), lines)
  return pictures


def _by_size(runs: Sequence[Compared]) -> list[blocks.Table]:
  """A table per main curve: a line per size, a column per run."""
  return [
    blocks.Table(
      *tables.by_size(
        f'{curves.label(name)}, dim',
        {run.name: run.curve(name) for run in runs if run.curve(name)},
        mark='',
      )
    )
    for name in _curve_names(runs)
  ]


def _style(index: int) -> str:
  """Another line style each time the colours are used up."""
  return curves.STYLES[index // len(charts.COLOURS) % len(curves.STYLES)]


def _config_differences(runs: Sequence[Compared]) -> list:
  """Keys that are not the same in all runs, but for those of ASIDE.

  Nothing where none has a config, as vectors on disk have none.
  """
  if not any(run.config for run in runs):
    return []
  flat = [_flattened(_learned(run.config)) for run in runs]
  keys = dict.fromkeys(key for config in flat for key in config)
  lines = [
    [key, *(_shown(config, key) for config in flat)]
    for key in keys
    if len({_shown(config, key) for config in flat}) > 1
  ]
  if not lines:
    return [blocks.Text('The configs are the same.')]
  return [blocks.Table(['key', *(run.name for run in runs)], lines)]


def _learned(config: Mapping) -> dict:
  """The parts of a config that say what was learned."""
  return {k: v for k, v in config.items() if k not in ASIDE}


def _shown(config: Mapping, key: str) -> str:
  return json.dumps(config[key]) if key in config else '-'


def _flattened(config: Mapping, prefix: str = '') -> dict:
  """{'optim.learning_rate': 0.001, ...} of nested keys."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping) and value:
      flat |= _flattened(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def _numbers(runs: Sequence[Compared]) -> list[blocks.Table]:
  """Rows x runs, folded by evaluator."""
  evaluators: dict[str, dict] = {}
  for run in runs:
    for row in run.rows:
      values = evaluators.setdefault(row['evaluator'], {})
      values.setdefault(rows.flat_name(row), {})[run.name] = row
  return [
    blocks.Table(
      ['row', *(run.name for run in runs)],
      [
        [name, *(blocks.interval(row.get(run.name)) for run in runs)]
        for name, row in values.items()
      ],
      fold=f'{evaluator}, {len(values)} rows',
    )
    for evaluator, values in evaluators.items()
  ]
