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
  page,
  results,
  tables,
)

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

  Of each run its newest evaluation. With `group_seeds`, runs whose configs
  differ in the seed only become one: mean, and smallest to largest.

  Raises:
    ValueError: if a run has no results.
  """
  runs = _named([_newest(Path(workdir)) for workdir in workdirs])
  if group_seeds:
    runs = _grouped(runs)
  folder = Path(out_folder)
  folder.mkdir(parents=True, exist_ok=True)
  title = f'{len(runs)} runs side by side'
  sub = 'Percent. Intervals are 95%'
  sub += ', of groups of seeds smallest to largest.' if group_seeds else '.'
  return page.save(folder / 'compare', title, sub, _sections(runs))


def _newest(workdir: Path) -> results.Evaluation:
  """The evaluation of the largest step that has results."""
  folders = [
    path.parent
    for path in workdir.glob('eval/*/results.jsonl')
    if path.parent.name.isdigit()
  ]
  if not folders:
    raise ValueError(
      f'{workdir} has no results; make them: python eval.py --workdir={workdir}'
    )
  return results.read_evaluation(
    max(folders, key=lambda path: int(path.name)), workdir
  )


def _named(runs: list[results.Evaluation]) -> list[results.Evaluation]:
  """Runs with different names: equal ones are counted."""
  names = [run.name for run in runs]
  counted = [names[: i + 1].count(name) for i, name in enumerate(names)]
  return [
    dataclasses.replace(run, name=f'{run.name} ({count})')
    if names.count(run.name) > 1
    else run
    for run, count in zip(runs, counted)
  ]


def _grouped(runs: Iterable[results.Evaluation]) -> list[results.Evaluation]:
  """Runs of one config but for its seed as one run each."""
  groups: dict[str, list] = {}
  for run in runs:
    rest = {k: v for k, v in _learned(run.config).items() if k != 'seed'}
    same = json.dumps(rest, sort_keys=True) if rest else run.name
    groups.setdefault(same, []).append(run)
  return [_averaged(group) for group in groups.values()]


def _averaged(group: Sequence[results.Evaluation]) -> results.Evaluation:
  """Mean of each row that all have; from smallest to largest."""
  if len(group) == 1:
    return group[0]
  values = [
    {rows.flat_name(row): row['value'] for row in run.rows} for run in group
  ]
  means = []
  for row in group[0].rows:
    name = rows.flat_name(row)
    if all(name in of_run for of_run in values):
      seeds = [of_run[name] for of_run in values]
      spread = {'ci_low': min(seeds), 'ci_high': max(seeds)}
      mean = statistics.fmean(seeds)
      means.append({**row, 'value': mean, **spread, 'seeds': len(seeds)})
  return results.Evaluation(
    name=f'{common([run.name for run in group])}, {len(group)} seeds',
    rows=means,
    config={
      **group[0].config,
      'seed': [run.config.get('seed') for run in group],
    },
  )


def common(names: Sequence[str]) -> str:
  """What names have in common without `-seed`; the first if nothing."""
  start = os.path.commonprefix(list(names))
  return re.sub(r'[-_. ]*(seed|s)?[-_. ]*$', '', start) or names[0]


def _sections(runs: Sequence[results.Evaluation]) -> list[blocks.Section]:
  """What was compared, shared axes, differences, every number."""
  steps = [
    [run.name, f'{run.step}', f'{run.width:g}', f'{len(run.rows)}']
    for run in runs
  ]
  notes = [f'{run.name}: {note}' for run in runs for note in run.notes]
  sections = {
    'Runs': [
      blocks.Table(['run', 'step', 'width', 'rows'], steps),
      *map(blocks.Text, notes),
    ],
    'The same curves': _shared(runs),
    'What differs': [_differences(runs)],
    'All numbers': _numbers(runs),
  }
  return [
    blocks.Section(title, contents)
    for title, contents in sections.items()
    if contents or title != 'The same curves'
  ]


def _shared(runs: Sequence[results.Evaluation]) -> list:
  """A chart and a table per curve that any run has."""
  names = dict.fromkeys(name for run in runs for name in curves.main(run.rows))
  names = sorted(
    names, key=lambda it: list(curves.MAIN).index(curves.main_name(it))
  )
  pictures, lists = [], []
  for name in [*names, *MORE]:
    measured = {run.name: run.curve(name) for run in runs if run.curve(name)}
    if not measured:
      continue
    label = MORE.get(name) or curves.label(name)
    lines = [
      line
      for index, run in enumerate(runs)
      for line in curves.lines(
        run.name, run.curve(name), index, style=_style(index)
      )
    ]
    pictures += curves.against_dimension(label, '%', lines)
    if name not in MORE:
      table = tables.by_size(f'{label}, dim', measured, mark='')
      lists.append(blocks.Table(*table))
  return [*pictures, *lists]


def _style(index: int) -> str:
  """Another line style each time the colours are used up."""
  return curves.STYLES[index // len(charts.COLOURS) % len(curves.STYLES)]


def _differences(
  runs: Sequence[results.Evaluation],
) -> blocks.Table | blocks.Text:
  """Keys that are not the same in all runs, but for those of ASIDE."""
  flat = [_flattened(_learned(run.config)) for run in runs]
  keys = dict.fromkeys(key for config in flat for key in config)
  lines = [
    [key, *(_shown(config, key) for config in flat)]
    for key in keys
    if len({_shown(config, key) for config in flat}) > 1
  ]
  if not lines:
    return blocks.Text('The configs are the same.')
  return blocks.Table(['key', *(run.name for run in runs)], lines)


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


def _numbers(runs: Sequence[results.Evaluation]) -> list[blocks.Table]:
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
