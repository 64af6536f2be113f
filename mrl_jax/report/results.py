"""The result files of one evaluation: rows in, rows out, curves."""

import csv
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# What every row has; all other keys are extras of its evaluator.
KEYS = frozenset(
  'evaluator metric dim value ci_low ci_high n step trained k variant'.split()
)
LABELS = {
  'linear/top1': 'linear head, top-1',
  'linear/top5': 'linear head, top-5',
  'probe/top1': 'linear probe, top-1',
  'knn/top1': '1-NN',
  'knn/weighted': 'weighted k-NN',
  'retrieval/map': 'retrieval mAP',
  'retrieval/map_min': 'retrieval mAP over min(k, R)',
  'retrieval/p': 'retrieval precision',
  'retrieval/r': 'retrieval recall',
  'retrieval/ndcg': 'retrieval nDCG',
  'retrieval/mrr': 'retrieval MRR',
  'retrieval/top1': 'retrieval top-1',
}
COUNTED = ('knn/weighted', 'few_shot/top1')  # `(k=20)`; all others `@20`


def curve_name(row: Mapping) -> str:
  """The curve a row is a point of: `<evaluator>/<metric>[@k][.variant]`."""
  at = f'@{row["k"]}' if 'k' in row else ''
  variant = f'.{row["variant"]}' if 'variant' in row else ''
  return f'{row["evaluator"]}/{row["metric"]}{at}{variant}'


def label(name: str) -> str:
  """A curve's name for people."""
  base, _, rest = name.partition('@')
  said = LABELS.get(base, base)
  if not rest:
    return said
  return f'{said} (k={rest})' if base in COUNTED else f'{said}@{rest}'


def curves(rows: Iterable[Mapping]) -> dict[str, list[Mapping]]:
  """Rows by curve, in the order met, each sorted by dimension."""
  found: dict[str, list[Mapping]] = {}
  for row in rows:
    found.setdefault(curve_name(row), []).append(row)
  return {name: sorted(c, key=lambda r: r['dim']) for name, c in found.items()}


def write(
  folder: str | Path, rows: list[Mapping], details: Mapping = {}
) -> None:
  """`results.jsonl`, a row a line, and `curves.csv`, a line per dimension.

  `details` go to `<evaluator>.json`; those of an earlier evaluation are
  removed.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  for path in folder.glob('*.json'):
    path.unlink()
  for name, content in details.items():
    (folder / f'{name}.json').write_text(json.dumps(content))
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (folder / 'results.jsonl').write_text(text)
  found = curves(rows)
  dims = sorted({row['dim'] for row in rows})
  with (folder / 'curves.csv').open('w', newline='') as file:
    writer = csv.writer(file)
    header = [
      column
      for name in found
      for column in (name, f'{name}/ci_low', f'{name}/ci_high')
    ]
    writer.writerow(['dim', *header])
    for dim in dims:
      line = [dim]
      for points in found.values():
        row = next((r for r in points if r['dim'] == dim), {})
        line += [row.get(key, '') for key in ('value', 'ci_low', 'ci_high')]
      writer.writerow(line)


def read(folder: str | Path) -> list[dict]:
  """The rows of an evaluation, as they were written."""
  lines = (Path(folder) / 'results.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def details(folder: str | Path, notes: list[str] | None = None) -> dict:
  """What evaluators found beside rows, by evaluator.

  A file that is not a JSON object is left out, and said so in `notes`.
  """
  found = {}
  for path in sorted(Path(folder).glob('*.json')):
    content = load(path, notes if notes is not None else [])
    if content is not None:
      found[path.stem] = content
  return found


def load(path: Path, notes: list[str]) -> dict | None:
  """The JSON object in a file; None, and a note, if there is none in it."""
  try:
    content = json.loads(path.read_text())
  except ValueError as error:  # also text that is not UTF-8
    notes.append(f'{path.name} was left out, it is not JSON: {error}')
    return None
  if not isinstance(content, dict):
    notes.append(f'{path.name} was left out: it holds no JSON object')
    return None
  return content


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Everything one page is made of; `notes` says what could not be read."""

  name: str
  rows: Sequence[Mapping]
  details: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
  config: Mapping = dataclasses.field(default_factory=dict)
  environment: Mapping = dataclasses.field(default_factory=dict)
  notes: tuple[str, ...] = ()

  @property
  def step(self):
    return self.rows[0].get('step', '') if self.rows else ''

  @property
  def width(self):
    return max((row['dim'] for row in self.rows), default=0)

  def of(self, evaluator: str, metric: str = '') -> dict[str, list[Mapping]]:
    """The curves of an evaluator, of one metric if it is named."""
    return curves(
      row
      for row in self.rows
      if row['evaluator'] == evaluator and metric in ('', row['metric'])
    )

  def curve(self, name: str) -> list[Mapping]:
    """The rows of one curve by dimension; empty if it was not measured."""
    return curves(self.rows).get(name, [])


def read_evaluation(folder: str | Path, workdir: str | Path) -> Evaluation:
  """The evaluation in `folder`, with config and environment of its run."""
  workdir, notes = Path(workdir), []
  around = {}
  for name in ('config', 'environment'):
    path = workdir / f'{name}.json'
    around[name] = (load(path, notes) if path.exists() else None) or {}
  found = details(folder, notes)
  return Evaluation(
    name=workdir.resolve().name,
    rows=read(folder),
    details=found,
    notes=tuple(notes),
    **around,
  )
