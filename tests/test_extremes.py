"""Vectors that nobody expects end in a whole report without NaN or warnings."""

import json

import numpy as np
import pytest

ROWS, WIDTH = 60, 8


def ordinary(rows=ROWS):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, rows)
  centres = 2 * np.eye(3, WIDTH)
  x = centres[labels] + rng.normal(size=(rows, WIDTH))
  return x.astype(np.float32), labels


def spoiled(kind):
  """(vectors, labels) of a kind, none of which is an error."""
  x, labels = ordinary()
  if kind == 'constant coordinate':
    x[:, 2] = 0.7
  elif kind == 'zero prefix':
    x[:, :4] = 0
  elif kind == 'all equal':
    x[:] = x[0]
  elif kind == 'all but one equal':
    x[1:] = x[1]
  elif kind == 'duplicates':
    x = x[np.arange(ROWS) % 7]
  elif kind == 'signs':
    x = np.sign(x)
  elif kind == 'huge':
    x *= np.float32(1e13)
  elif kind == 'lengths apart':
    lengths = 10.0 ** (np.arange(ROWS) % 9)
    x = (x * lengths[:, None]).astype(np.float32)
  elif kind == 'a huge coordinate':
    x[:, 1] *= np.float32(1e7)
  elif kind == 'half precision':
    x = (x * 9000).clip(-65_000, 65_000).astype(np.float16)
  elif kind == 'one class':
    labels = labels * 0
  elif kind == 'a class a row':
    labels = np.arange(ROWS)
  elif kind in ('2 rows', '3 rows', '12 rows'):
    x, labels = ordinary(int(kind.split()[0]))
  return x, labels


SAID = {
  'constant coordinate': '1 of 8 coordinates has one value',
  'all equal': 'All rows searched are the same',
  'duplicates': '47 of 54 rows searched repeat another row',
  'zero prefix': '54 of 54 rows searched are zero in all',
  'one class': 'All rows searched have one class',
  'a class a row': '6 of 6 queries have a class that no row searched has',
}
KINDS = (
  *SAID,
  *('all but one equal', 'signs', 'huge'),
  *('lengths apart', 'a huge coordinate', 'half precision'),
  *('2 rows', '3 rows', '12 rows'),
)


def no_constant(name):
  raise AssertionError(f'{name} is in a file of the report')


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_ends_in_a_whole_report(run_cli, tmp_path, kind):
  x, labels = spoiled(kind)
  np.save(tmp_path / 'x.npy', x)
  np.save(tmp_path / 'y.npy', labels)
  code, out, err = run_cli(
    'eval',
    f'--embeddings={tmp_path / "x.npy"}',
    f'--labels={tmp_path / "y.npy"}',
    f'--output={tmp_path / "report"}',
    '--dims=1,4,8',
    '--config.eval.probe.strengths=0.01,',
    '--config.eval.baselines.seeds=1',
    '--config.eval.few_shot.draws=2',
  )
  assert code == 0 and not err, err
  folder = tmp_path / 'report' / 'eval' / '0'
  for path in folder.glob('*.json'):
    json.loads(path.read_text(), parse_constant=no_constant)
  lines = (folder / 'results.jsonl').read_text().splitlines()
  points = [json.loads(line, parse_constant=no_constant) for line in lines]
  assert {'knn', 'probe', 'retrieval', 'baselines', 'search'} <= {
    point['evaluator'] for point in points
  }
  assert all(p['ci_low'] <= p['ci_high'] for p in points)
  page = (folder / 'report.html').read_text()
  assert 'left out' not in page and '>nan' not in page.lower()
  assert SAID.get(kind, '') in out
