"""eval.py as people call it: runs, foreign vectors, comparisons, mistakes."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from mrl_jax.evaluators import EVALUATORS
from mrl_jax.report import results


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
  """The pixels of real digits as embeddings, 64 wide, in every file type."""
  folder = tmp_path_factory.mktemp('vectors')
  data = load_digits()
  x, y = data.data.astype(np.float32)[:900], data.target[:900]
  order = np.argsort(-x.var(axis=0), kind='stable')  # informative ones first
  x = x[:, order]
  np.save(folder / 'x.npy', x)
  np.save(folder / 'y.npy', y)
  np.savez(folder / 'both.npz', embeddings=x, labels=y)
  table = pa.table({'vector': list(x), 'class': y})
  pq.write_table(table, folder / 'x.parquet')
  nan, zero = x.copy(), x.copy()
  nan[[3, 7], 5] = np.nan
  zero[11] = 0
  np.save(folder / 'nan.npy', nan)
  np.save(folder / 'zero.npy', zero)
  np.save(folder / 'narrow.npy', x[:, :32])
  np.save(folder / 'tiny.npy', x * 1e-7)
  np.save(folder / 'one.npy', x[:1])
  (folder / 'words.txt').write_text('\n'.join(f'class {i}' for i in y))
  np.save(folder / 'short.npy', y[:-1])
  np.save(folder / 'flat.npy', y.astype(np.float32))
  return folder


def rows_of(folder):
  return {
    (r['evaluator'], r['metric'], r.get('k'), r.get('variant'), r['dim']): r
    for r in results.read(folder)
  }


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A small run and its whole evaluation, by the command line."""
  from mrl_jax import commands

  folder = tmp_path_factory.mktemp('runs') / 'smoke'
  variant = '--config=configs/vit_mrl.py:digits,smoke'
  assert commands.run_train([variant, f'--workdir={folder}']) == 0
  words = [
    '--config.eval.only=',
    '--config.eval.robustness.images=64',
    '--config.eval.robustness.corruptions=contrast,jpeg',
    '--config.eval.robustness.severities=1,5',
    '--config.eval.baselines.seeds=1',
    '--config.eval.few_shot.draws=3',
  ]
  assert commands.run_eval([f'--workdir={folder}', *words]) == 0
  return folder


@pytest.mark.slow
def test_a_run_is_evaluated_by_everything(whole):
  folder = whole / 'eval' / '6'
  rows = rows_of(folder)
  found = {name for name, *_ in rows} | set(results.details(folder))
  assert found >= set(EVALUATORS) - {'pairs', 'sets'}  # those are of texts
  text = (folder / 'report.html').read_text()
  assert 'http' not in re.sub(r'https?://www\.w3\.org\S*|arxiv\.org', '', text)
  assert len(text) < 2e6
  assert (folder / 'report.md').read_text().count('|') > 100
  for row in rows.values():
    assert row['ci_low'] <= row['value'] + 1e-9
    assert row['value'] <= row['ci_high'] + 1e-9


@pytest.mark.slow
def test_evaluators_agree_with_each_other(whole):
  """The same quantity by two routes is the same number."""
  rows = rows_of(whole / 'eval' / '6')
  for m in (8, 12, 16, 32):
    value = rows['knn', 'top1', None, None, m]['value']
    assert rows['retrieval', 'top1', None, None, m]['value'] == value
  full = rows['linear', 'top1', None, None, 32]['value']
  best = rows['agreement', 'oracle', None, None, 32]['value']
  assert best >= full
  firsts = [rows['agreement', 'first_right', None, None, m] for m in (8, 16)]
  right = rows['linear', 'top1', None, None, 8]['value']
  assert firsts[0]['value'] == pytest.approx(right)


@pytest.mark.slow
def test_a_part_evaluated_again_leaves_the_rest(whole, run_cli, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(whole, copy)
  before = rows_of(copy / 'eval' / '6')
  details = results.details(copy / 'eval' / '6')
  code, _, err = run_cli(
    'eval',
    f'--workdir={copy}',
    '--config.eval.only=knn,agreement',
    '--config.eval.knn.neighbours=3',
  )
  assert code == 0, err
  after = rows_of(copy / 'eval' / '6')
  assert ('knn', 'weighted', 3, None, 8) in after
  assert ('knn', 'weighted', 20, None, 8) not in after
  for name, row in before.items():
    if name[0] != 'knn':
      assert after[name] == row
  again = results.details(copy / 'eval' / '6')
  old, new = details.pop('evaluation'), again.pop('evaluation')
  assert again == details
  # Each evaluator's options are those its rows were made under.
  expected = dict(old['options'])
  assert expected['knn']['neighbours'] == 20
  expected['knn'] = expected['knn'] | {'neighbours': 3}
  assert new['options'] == expected
  assert new['environment']['time'] >= old['environment']['time']
  page = (copy / 'eval' / '6' / 'report.html').read_text()
  assert '&quot;neighbours&quot;: 3' in page


@pytest.mark.slow
def test_vectors_do_not_write_into_a_training_run(digits, whole, run_cli):
  before = sorted(str(path) for path in whole.rglob('*'))
  code, _, err = run_cli(
    'eval', f'--embeddings={digits / "x.npy"}', f'--output={whole}', ONLY
  )
  assert code == 2 and re.match('error: --output=.* is the workdir of a', err)
  assert sorted(str(path) for path in whole.rglob('*')) == before


def test_what_is_odd_about_vectors_is_said(digits, run_cli, tmp_path):
  x, y = np.load(digits / 'x.npy')[:300], np.load(digits / 'y.npy')[:300]
  np.save(tmp_path / 'x.npy', x)
  np.save(tmp_path / 'y.npy', y)
  np.save(tmp_path / 'qy.npy', np.where(y == 3, 99, y))
  code, out, err = run_cli(
    'eval',
    f'--embeddings={tmp_path / "x.npy"}',
    f'--labels={tmp_path / "y.npy"}',
    f'--queries={tmp_path / "x.npy"}',
    f'--query_labels={tmp_path / "qy.npy"}',
    f'--output={tmp_path / "report"}',
    '--config.eval.only=knn',
  )
  assert code == 0, err
  unknown = f'{np.sum(y == 3)} of 300 queries have a class that no row'
  assert f'note: {unknown}' in out
  assert 'note: 300 of 300 queries are also rows' in out
  folder = tmp_path / 'report' / 'eval' / '0'
  for name in ('report.md', 'report.html'):
    assert unknown in (folder / name).read_text()
  knn = rows_of(folder)['knn', 'top1', None, None, 64]
  assert knn['value'] == np.mean(y != 3)


@pytest.mark.slow
def test_an_export_gives_the_numbers_of_the_run(whole, run_cli, tmp_path):
  code, _, err = run_cli('eval', f'--workdir={whole}', f'--export={tmp_path}')
  assert code == 0, err
  stored = np.load(tmp_path / 'validation.npy', mmap_mode='r')
  assert stored.shape == (360, 32)
  code, _, err = run_cli(
    'eval',
    f'--embeddings={tmp_path}:train',
    f'--queries={tmp_path}:validation',
    f'--output={tmp_path / "report"}',
    '--dims=8,16,32',
    '--config.eval.dims=12',
    '--config.eval.only=knn,retrieval',
  )
  assert code == 0, err
  ours = rows_of(whole / 'eval' / '6')
  for name, row in rows_of(tmp_path / 'report' / 'eval' / '0').items():
    assert row['value'] == ours[name]['value']


@pytest.mark.slow
def test_runs_side_by_side(whole, run_cli, tmp_path):
  code, out, err = run_cli(
    'eval', '--compare', whole, whole, f'--output={tmp_path}'
  )
  assert code == 0, err
  assert list(tmp_path.glob('*.html')) and list(tmp_path.glob('*.md'))
  code, _, err = run_cli('eval', '--compare', whole, tmp_path / 'none')
  assert code == 2 and 'none' in err and err.count('\n') == 1


ONLY = '--config.eval.only=knn,retrieval'


@pytest.mark.parametrize(
  'files',
  [
    ('x.npy', 'y.npy'),
    ('both.npz:embeddings', 'both.npz:labels'),
    ('x.parquet:vector', 'x.parquet:class'),
  ],
)
def test_every_file_type_gives_the_same_numbers(
  digits, run_cli, tmp_path, files
):
  x, y = (digits / f for f in files)
  code, out, err = run_cli(
    'eval', f'--embeddings={x}', f'--labels={y}', f'--output={tmp_path}', ONLY
  )
  assert code == 0, err
  rows = rows_of(tmp_path / 'eval' / '0')
  value = rows['knn', 'top1', None, None, 64]
  assert value['n'] == 90 and value['value'] > 0.9
  data, labels = np.load(digits / 'x.npy'), np.load(digits / 'y.npy')
  assert rows['knn', 'top1', None, None, 8]['value'] < value['value']
  assert len(data) == len(labels)


@pytest.mark.slow
def test_foreign_vectors_are_evaluated_by_all_that_needs_no_image(
  digits, run_cli, tmp_path
):
  code, out, err = run_cli(
    'eval',
    f'--embeddings={digits / "x.npy"}',
    f'--labels={digits / "y.npy"}',
    f'--output={tmp_path}',
    '--dims=8,32,64',
  )
  assert code == 0, err
  rows = rows_of(tmp_path / 'eval' / '0')
  there = {name for name, *_ in rows} | {'lost'}  # which has no rows
  without = {
    name
    for name, kind in EVALUATORS.items()
    if {'images', 'logits', 'pairs', 'sets'} & set(kind.needs)
  }
  assert there == set(EVALUATORS) - without
  assert (tmp_path / 'eval' / '0' / 'lost.json').exists()
  said = json.loads((tmp_path / 'eval' / '0' / 'stores.json').read_text())
  assert said['decision']['text'] in out
  assert rows['probe', 'top1', None, None, 64]['value'] > 0.9


def test_class_ids_beyond_float64_and_other_byte_orders(
  digits, run_cli, tmp_path
):
  x, y = np.load(digits / 'x.npy')[:200], np.load(digits / 'y.npy')[:200]
  values = []
  for name, shift, kind in (('a', 0, '<f4'), ('b', 2**60 + 1, '>f4')):
    np.save(tmp_path / f'{name}.npy', x.astype(kind))
    np.save(tmp_path / f'{name}y.npy', y + shift)
    code, _, err = run_cli(
      'eval',
      f'--embeddings={tmp_path / name}.npy',
      f'--labels={tmp_path / name}y.npy',
      f'--output={tmp_path / name}',
      '--config.eval.only=knn',
    )
    assert code == 0, err
    rows = rows_of(tmp_path / name / 'eval' / '0')
    values.append({name: row['value'] for name, row in rows.items()})
  assert values[0] == values[1]
  assert min(values[0].values()) > 0.5


def test_nine_rows_are_enough(digits, run_cli, tmp_path):
  np.save(tmp_path / 'x.npy', np.load(digits / 'x.npy')[:9])
  code, _, err = run_cli(
    'eval', f'--embeddings={tmp_path / "x.npy"}', f'--output={tmp_path}'
  )
  assert code == 0, err


def test_without_labels_neighbours_are_compared(digits, run_cli, tmp_path):
  code, _, err = run_cli(
    'eval',
    f'--embeddings={digits / "x.npy"}',
    f'--output={tmp_path}',
    '--dims=16,64',
  )
  assert code == 0, err
  there = {name for name, *_ in rows_of(tmp_path / 'eval' / '0')}
  assert there == {'baselines', 'search', 'stores'}


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    (['--embeddings=none.npy'], 'none.npy'),
    (['--embeddings={}/nan.npy'], '2 rows with NaN'),
    (['--embeddings={}/zero.npy'], '1 row of zeros only.*row 11'),
    (['--embeddings={}/flat.npy'], 'must be 2-D'),
    (
      ['--embeddings={}/x.npy', '--labels={}/short.npy'],
      '--labels: .*short.npy has 899 labels for the 900 rows',
    ),
    (['--embeddings={}/x.npy', '--labels={}/no.npy'], '--labels: .*no.npy'),
    (['--embeddings={}/x.npy', '--labels='], '--labels is empty'),
    (['--embeddings={}/x.npy', '--dims=8,,64'], 'must be whole numbers'),
    (['--embedings={}/x.npy'], 'did you mean --embeddings'),
    (
      ['--embeddings={}/x.npy', '--config.eval.onyl=knn'],
      'did you mean eval.only',
    ),
    (['--embeddings={}/one.npy'], 'one row cannot be both'),
    (['--embeddings={}/x.parquet:vectr'], 'vectr.*vector'),
    (['--embeddings={}/both.npz:x'], 'embeddings'),
    (['--embeddings={}/x.npy', '--dims=64,32'], 'must increase and end at'),
    (['--embeddings={}/x.npy', '--dims=8,big'], 'must be whole numbers'),
    (['--embeddings={}/x.npy', '--queries={}/narrow.npy'], '32.*64|64.*32'),
    (
      [
        '--embeddings={}/x.npy',
        '--labels={}/y.npy',
        '--config.eval.retrieval.k=5000',
        '--config.eval.only=retrieval',
      ],
      'k=5000 exceeds the 810 database rows',
    ),
    (['--embeddings={}/x.npy', '--config.eval.only=linear'], 'nothing to eval'),
    (['--embeddings={}/x.npy', '--config.eval.only=kn'], 'is not one of'),
    (['--embeddings={}/x.npy', '--config.eval.knn.k=3'], 'is unknown'),
    (
      ['--embeddings={}/x.npy', '--queries={}/x.npy', '--labels={}/y.npy'],
      '--queries with --labels needs --query_labels too',
    ),
    (
      [
        '--embeddings={}/x.npy',
        '--labels={}/y.npy',
        '--queries={}/x.npy',
        '--query_labels={}/words.txt',
      ],
      'queries have words for classes and the embeddings searched numbers',
    ),
    (['--embeddings={}/tiny.npy'], 'multiply all by one number'),
    (['--embeddings={}/x.npy', '--config.eval.cascade.risk=a'], 'cascade'),
    (['--workdir={}'], 'no config.json'),
    (['--workdir={}', '--labels=y.npy'], '--labels goes with'),
    ([], 'give one of --workdir, --embeddings, --model, --compare'),
  ],
)
def test_what_is_wrong_is_one_line(digits, run_cli, tmp_path, words, said):
  words = [word.replace('{}', str(digits)) for word in words]
  code, _, err = run_cli(
    'eval',
    *words,
    *([f'--output={tmp_path}'] if '--embeddings' in ' '.join(words) else []),
  )
  (line,) = err.strip().splitlines()
  assert code == 2 and re.search(said, line), err


@pytest.mark.slow
def test_a_workdir_without_a_checkpoint(whole, run_cli, tmp_path):
  (tmp_path / 'config.json').write_text((whole / 'config.json').read_text())
  code, _, err = run_cli('eval', f'--workdir={tmp_path}')
  assert code == 2 and 'has no checkpoint yet' in err
