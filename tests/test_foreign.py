"""Vectors of others by the command line: codes, and dims that are alike."""

import html
import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mrl_jax import evaluation, rows
from mrl_jax.report import results


@pytest.fixture(scope='module')
def digits():
  """(bits of database and queries, their labels): real digits, binarised."""
  data = load_digits()
  x, y = data.data[:1200], data.target[:1200]
  order = np.argsort(-x.var(axis=0), kind='stable')  # informative ones first
  bits = (x > x.mean(axis=0))[:, order]
  return (bits[:1000], bits[1000:]), (y[:1000], y[1000:])


def hamming(bits, labels, m):
  """Accuracy of the nearest row by m bits, any of those equally near."""
  database, queries = (side[:, :m] for side in bits)
  distances = (queries[:, None] != database).sum(axis=-1)
  nearest = distances == distances.min(axis=1, keepdims=True)
  same = labels[0] == labels[1][:, None]
  return np.mean((nearest & same).sum(axis=1) / nearest.sum(axis=1))


def evaluated(run_cli, folder, sides, labels, *words, only='knn'):
  """({dim: accuracy of 1-NN}, what is printed) of arrays, saved first."""
  for name, x, y in zip('xq', sides, labels):
    np.save(folder / f'{name}.npy', x)
    np.save(folder / f'{name}_y.npy', y)
  code, out, err = run_cli(
    'eval',
    f'--embeddings={folder / "x.npy"}',
    f'--labels={folder / "x_y.npy"}',
    f'--queries={folder / "q.npy"}',
    f'--query_labels={folder / "q_y.npy"}',
    f'--output={folder}',
    '--fresh',
    f'--config.eval.only={only}',
    *words,
  )
  assert code == 0, err
  points = rows.curves(results.read(folder / 'eval' / '0'))['knn/top1']
  return {row['dim']: row['value'] for row in points}, out


@pytest.mark.slow
@pytest.mark.parametrize('signed', [False, True])
def test_packed_bits_give_the_accuracy_of_hamming(
  digits, run_cli, tmp_path, signed
):
  bits, labels = digits
  packed = [np.packbits(side, axis=1) for side in bits]
  if signed:
    packed = [(x.astype(np.int16) - 128).astype(np.int8) for x in packed]
  words = '--codes=bits', '--dims=4,12,32,64'
  found, _ = evaluated(run_cli, tmp_path, packed, labels, *words)
  assert list(found) == [4, 12, 32, 64]
  expected = {m: hamming(bits, labels, m) for m in found}
  assert found == pytest.approx(expected, abs=1e-12)
  numbers, _ = evaluated(run_cli, tmp_path, packed, labels, '--codes=numbers')
  assert numbers[8] < found[64] - 0.1


@pytest.mark.parametrize(
  ('database', 'queries', 'codes', 'said'),
  [
    ('uint8', 'uint8', '', '--embeddings: .*uint8; say what they are'),
    ('uint8', 'int8', 'bits', '--queries: .* are int8 and .* uint8'),
    ('int8', 'float32', 'numbers', '--queries: .* float32; --codes=numbers is'),
    ('float32', 'float32', 'bits', '--embeddings: .* float32; --codes=bits is'),
    ('int8', 'int8', 'offset', '--embeddings: .*offset is for uint8'),
    ('int8', 'int8', 'bit', 'bit.*numbers.*offset.*bits'),
  ],
)
def test_codes_that_cannot_be_meant_are_refused(
  run_cli, tmp_path, database, queries, codes, said
):
  for name, dtype in (('x', database), ('q', queries)):
    np.save(tmp_path / f'{name}.npy', np.ones((20, 4), dtype))
  words = [f'--codes={codes}'] if codes else []
  code, _, err = run_cli(
    'eval',
    f'--embeddings={tmp_path / "x.npy"}',
    f'--queries={tmp_path / "q.npy"}',
    f'--output={tmp_path}',
    *words,
  )
  (line,) = err.strip().splitlines()
  assert code == 2 and re.search(said, line), err


@pytest.mark.parametrize('classes', ['one', 'alike', 'apart'])
def test_dimensions_that_are_alike_are_said_first(
  digits, run_cli, tmp_path, classes
):
  bits, labels = digits
  sides = [side.astype(np.float32) + 0.1 for side in bits]
  if classes == 'one':
    labels = [side * 0 for side in labels]
  elif classes == 'alike':
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 10, len(side)) for side in labels]
  _, out = evaluated(run_cli, tmp_path, sides, labels, only='knn,stores')
  words = 'This evaluation cannot tell dimensions apart'
  folder = tmp_path / 'eval' / '0'
  page = (folder / 'report.md').read_text()
  said = json.loads((folder / 'stores.json').read_text())['decision']
  assert (f'**{words}' in page) == (classes != 'apart')
  if classes == 'apart':
    assert words not in out and f'decision: {said["text"]}' in out
  else:
    before, table, _ = out.partition('%, with 95% intervals')
    assert table and f'note: {words}' in before
    assert 'decision:' not in out
    assert said['text'] not in page
  assert ('note: All rows searched have one class' in out) == (classes == 'one')


def test_a_recommendation_is_not_printed_where_dims_are_alike(tmp_path, capsys):
  for low, told in ((0.1, False), (0.9, True)):
    points = [
      rows.make('knn', 'top1', dim, 0.95, interval, 9)
      for dim, interval in ((8, (0.1, 0.85)), (64, (low, 0.99)))
    ]
    details = {'stores': {'decision': {'text': 'take 8'}}}
    evaluation.publish(tmp_path / 'eval' / '0', tmp_path, points, details, '')
    assert ('decision: take 8' in capsys.readouterr().out) == told


def test_ids_are_shown_with_the_queries_that_few_dims_lose(
  digits, run_cli, tmp_path
):
  """Of rows that are held out too; ids of another length are one line."""
  bits, labels = digits
  x = bits[0].astype(np.float32) + 0.1
  np.save(tmp_path / 'x.npy', x)
  np.save(tmp_path / 'y.npy', labels[0])
  lines = [f'digit {y}, "{i}"' for i, y in enumerate(labels[0])]
  (tmp_path / 'ids.txt').write_text('\n'.join(lines), encoding='utf-8')
  words = (
    f'--embeddings={tmp_path / "x.npy"}',
    f'--labels={tmp_path / "y.npy"}',
    f'--output={tmp_path}',
    '--config.eval.only=knn,lost',
  )
  code, _, err = run_cli('eval', *words, f'--ids={tmp_path / "ids.txt"}')
  assert code == 0, err
  folder = tmp_path / 'eval' / '0'
  said = json.loads((folder / 'lost.json').read_text(encoding='utf-8'))
  assert said['queries'] == 100 and len(said['shown']) > 5
  page = html.unescape((folder / 'report.html').read_text(encoding='utf-8'))
  for line in said['shown']:
    assert line['id'] in lines and line['found']['id'] in lines
    assert line['id'].startswith(f'digit {line["class"]},')
    assert line['id'] in page
  np.save(tmp_path / 'few.npy', np.arange(3))
  sides = f'--queries={tmp_path / "x.npy"}', f'--query_labels={words[1][9:]}'
  for flag, more in (('ids', ()), ('query_ids', sides)):
    given = *more, f'--{flag}={tmp_path / "few.npy"}'
    code, _, err = run_cli('eval', *words, *given)
    (line,) = err.strip().splitlines()
    assert code == 2 and f'--{flag}: ' in line and '3 ids for the 1,000' in line
