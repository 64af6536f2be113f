"""The result files of one evaluation: rows in, rows out, curves."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

LABELS = {
  'linear/top1': 'linear head, top-1',
  'linear/top5': 'linear head, top-5',
  'knn/top1': '1-NN',
  'knn/weighted': 'weighted k-NN',
}


def curve_name(row: Mapping) -> str:
  """The curve a row is a point of: `<evaluator>/<metric>[@k][.variant]`."""
  at = f'@{row["k"]}' if 'k' in row else ''
  variant = f'.{row["variant"]}' if 'variant' in row else ''
  return f'{row["evaluator"]}/{row["metric"]}{at}{variant}'


def label(name: str) -> str:
  base, _, k = name.partition('@')
  return LABELS.get(base, base) + (f' (k={k})' if k else '')


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

  `details` go to `<evaluator>.json`.
  """
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
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
  lines = (Path(folder) / 'results.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def details(folder: str | Path) -> dict[str, dict]:
  """What evaluators found beside rows, by evaluator."""
  return {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(folder).glob('*.json'))
  }
