"""One evaluation as a page: `report.html`, self-contained."""

import base64
import html
import json
from pathlib import Path

from mrl_jax.report import pictures, results, tables

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#1c1917}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem}
p.sub{color:#57534e;margin-top:0}img{max-width:100%;height:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:
tabular-nums}th,td{padding:.3rem .9rem;text-align:right;border-bottom:
1px solid #e7e5e4}th{font-weight:600}pre{background:#f5f5f4;padding:1rem;
overflow-x:auto;font-size:.85rem}summary{cursor:pointer;font-weight:600}
"""


def write(folder: str | Path, workdir: str | Path) -> Path:
  """Draws `accuracy_vs_dimension.png` and writes `report.html` in `folder`.

  Reads `results.jsonl` there, and `config.json` and `environment.json` of the
  workdir where they exist.
  """
  folder, workdir = Path(folder), Path(workdir)
  rows = results.read(folder)
  picture = folder / 'accuracy_vs_dimension.png'
  pictures.accuracy_vs_dimension(picture, rows)
  image = base64.b64encode(picture.read_bytes()).decode()
  header, lines = tables.cells(rows)
  step = rows[0].get('step', '') if rows else ''
  parts = [
    '<!doctype html><html lang="en"><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    f'<title>{html.escape(workdir.name)} at step {step}</title>',
    f'<style>{STYLE}</style>',
    f'<h1>{html.escape(workdir.name)}</h1>',
    f'<p class="sub">Step {step}. {headline(rows)}</p>',
    '<h2>Accuracy against dimension</h2>',
    '<img alt="accuracy against dimension"',
    f' src="data:image/png;base64,{image}">',
    '<h2>Table</h2><p class="sub">Percent, with 95% Wilson intervals.</p>',
    '<div class="wide"><table><tr>',
    ''.join(f'<th>{html.escape(cell)}</th>' for cell in header),
    '</tr>',
    *(
      '<tr>' + ''.join(f'<td>{html.escape(c)}</td>' for c in line) + '</tr>'
      for line in lines
    ),
    '</table></div>',
  ]
  if any(line[0].endswith('*') for line in lines):
    parts.append('<p class="sub">* not a trained dimension</p>')
  for title, name in (('Config', 'config'), ('Environment', 'environment')):
    path = workdir / f'{name}.json'
    if path.exists():
      content = json.dumps(json.loads(path.read_text()), indent=2)
      parts.append(
        f'<h2>{title}</h2><details><summary>{name}.json</summary>'
        f'<pre>{html.escape(content)}</pre></details>'
      )
  path = folder / 'report.html'
  path.write_text('\n'.join(parts) + '</html>\n')
  return path


def headline(rows: list[dict]) -> str:
  """What the smallest dimension keeps of the full width, per top-1 curve."""
  said = []
  for name, points in results.curves(rows).items():
    if not name.endswith('/top1') or len(points) < 2:
      continue
    small, full = points[0], points[-1]
    said.append(
      f'{html.escape(results.label(name))}: {100 * small["value"]:.1f}% with '
      f'{small["dim"]} of {full["dim"]} dimensions, '
      f'{100 * full["value"]:.1f}% with all'
    )
  return '; '.join(said) + '.' if said else ''
