"""Several runs side by side: `compare.html` and `compare.md`."""

import dataclasses
import json
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mrl_jax.report import (
  accuracy,
  blocks,
  charts,
  curves,
  markdown,
  markup,
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
  runs = named([newest(Path(workdir)) for workdir in workdirs])
  if group_seeds:
    runs = grouped(runs)
  folder = Path(out_folder)
  folder.mkdir(parents=True, exist_ok=True)
  title = f'{len(runs)} runs side by side'
  parts = sections(runs)
  sub = 'Percent. Intervals are 95%'
  sub += ', of groups of seeds smallest to largest.' if group_seeds else '.'
  path = folder / 'compare.html'
  path.write_text(markup.page(title, sub, parts))
  (folder / 'compare.md').write_text(markdown.page(title, sub, parts))
  return path


def newest(workdir: Path) -> results.Evaluation:
  """The evaluation of the largest step that has results."""
  found = [
    path.parent
    for path in workdir.glob('eval/*/results.jsonl')
    if path.parent.name.isdigit()
  ]
  if not found:
    raise ValueError(
      f'{workdir} has no results; make them: python eval.py --workdir={workdir}'
    )
  return results.read_evaluation(
    max(found, key=lambda path: int(path.name)), workdir
  )


def named(runs: list[results.Evaluation]) -> list[results.Evaluation]:
  """Runs with names of their own: equal ones are counted."""
  names = [run.name for run in runs]
  counted = [names[: i + 1].count(name) for i, name in enumerate(names)]
  return [
    dataclasses.replace(run, name=f'{run.name} ({count})')
    if names.count(run.name) > 1
    else run
    for run, count in zip(runs, counted)
  ]


def grouped(runs: Iterable[results.Evaluation]) -> list[results.Evaluation]:
  """Runs of one config but for its seed as one run each."""
  groups: dict[str, list] = {}
  for run in runs:
    rest = {k: v for k, v in learned(run.config).items() if k != 'seed'}
    same = json.dumps(rest, sort_keys=True) if rest else run.name
    groups.setdefault(same, []).append(run)
  return [averaged(group) for group in groups.values()]


def averaged(group: Sequence[results.Evaluation]) -> results.Evaluation:
  """Mean of each row that all have; from smallest to largest."""
  if len(group) == 1:
    return group[0]
  values = [
    {(results.curve_name(row), row['dim']): row['value'] for row in run.rows}
    for run in group
  ]
  rows = []
  for row in group[0].rows:
    name = results.curve_name(row), row['dim']
    if all(name in found for found in values):
      seeds = [found[name] for found in values]
      spread = {'ci_low': min(seeds), 'ci_high': max(seeds)}
      mean = statistics.fmean(seeds)
      rows.append({**row, 'value': mean, **spread, 'seeds': len(seeds)})
  return results.Evaluation(
    name=f'{common([run.name for run in group])}, {len(group)} seeds',
    rows=rows,
    config={
      **group[0].config,
      'seed': [run.config.get('seed') for run in group],
    },
  )


def common(names: Sequence[str]) -> str:
  """What names have in common without `-seed`; the first if nothing."""
  start = os.path.commonprefix(list(names))
  return re.sub(r'[-_. ]*(seed|s)?[-_. ]*$', '', start) or names[0]


def sections(runs: Sequence[results.Evaluation]) -> list[blocks.Section]:
  """What was compared, shared axes, differences, every number."""
  first = blocks.Section(
    'Runs',
    [
      blocks.Table(
        ['run', 'step', 'width', 'rows'],
        [
          [run.name, f'{run.step}', f'{run.width:g}', f'{len(run.rows)}']
          for run in runs
        ],
      ),
      *(
        blocks.Text(f'{run.name}: {note}') for run in runs for note in run.notes
      ),
    ],
  )
  parts = [first]
  drawn = shared(runs)
  if drawn:
    parts.append(blocks.Section('The same curves', drawn))
  parts.append(blocks.Section('What differs', [differences(runs)]))
  parts.append(blocks.Section('All numbers', numbers(runs)))
  return parts


def shared(runs: Sequence[results.Evaluation]) -> list:
  """A chart and a table per curve that any run has."""
  names = dict.fromkeys(name for run in runs for name in curves.main(run.rows))
  names = sorted(names, key=lambda n: list(curves.MAIN).index(curves.base(n)))
  pictures, lists = [], []
  for name in [*names, *MORE]:
    found = {run.name: run.curve(name) for run in runs if run.curve(name)}
    if not found:
      continue
    label = MORE.get(name) or results.label(name)
    colours = {run.name: index for index, run in enumerate(runs)}
    lines = [
      dashed(curves.line(run, points, colours[run]), colours[run])
      for run, points in found.items()
    ]
    pictures.append(
      charts.draw(
        label,
        charts.Axes(accuracy.DIMENSIONS, '%', dims=curves.dims(*lines)),
        lines,
      )
    )
    if name not in MORE:
      lists.append(table(label, found))
  return [*pictures, *lists]


def dashed(line: charts.Line, colour: int) -> charts.Line:
  """Another line style each time the colours are used up."""
  style = ('-', '--', ':')[colour // len(charts.COLOURS) % 3]
  return dataclasses.replace(line, style=style)


def table(label: str, found: Mapping[str, Sequence[Mapping]]) -> blocks.Table:
  """A line per dimension, a column per run."""
  dims = sorted({row['dim'] for points in found.values() for row in points})
  return blocks.Table(
    [f'{label}, dim', *found],
    [
      [f'{dim:g}', *(tables.at(points, dim) for points in found.values())]
      for dim in dims
    ],
  )


def differences(
  runs: Sequence[results.Evaluation],
) -> blocks.Table | blocks.Text:
  """Keys that are not the same in all runs, but for those of ASIDE."""
  flat = [flattened(learned(run.config)) for run in runs]
  keys = dict.fromkeys(key for config in flat for key in config)
  lines = [
    [key, *(shown(config, key) for config in flat)]
    for key in keys
    if len({shown(config, key) for config in flat}) > 1
  ]
  if not lines:
    return blocks.Text('The configs are the same.')
  return blocks.Table(['key', *(run.name for run in runs)], lines)


def learned(config: Mapping) -> dict:
  """The parts of a config that say what was learned."""
  return {k: v for k, v in config.items() if k not in ASIDE}


def shown(config: Mapping, key: str) -> str:
  return json.dumps(config[key]) if key in config else '-'


def flattened(config: Mapping, prefix: str = '') -> dict:
  """{'optim.learning_rate': 0.001, ...} of nested keys."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping) and value:
      flat |= flattened(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def numbers(runs: Sequence[results.Evaluation]) -> list[blocks.Table]:
  """Rows x runs, folded by evaluator."""
  found: dict[str, dict] = {}
  for run in runs:
    for row in run.rows:
      name = f'{results.curve_name(row)}/d{row["dim"]:g}'
      found.setdefault(row['evaluator'], {}).setdefault(name, {})[run.name] = (
        row
      )
  return [
    blocks.Table(
      ['row', *(run.name for run in runs)],
      [
        [name, *(blocks.interval(row.get(run.name)) for run in runs)]
        for name, row in rows.items()
      ],
      fold=f'{evaluator}, {len(rows)} rows',
    )
    for evaluator, rows in found.items()
  ]
