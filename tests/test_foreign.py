"""Codes in files, by the command line: what they stand for decides."""

import re

import numpy as np
import pytest
from sklearn.datasets import load_digits

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
  """Accuracy of the nearest row by m bits; the smaller row of equal ones."""
  database, queries = (side[:, :m] for side in bits)
  distances = (queries[:, None] != database).sum(axis=-1)
  return np.mean(labels[0][distances.argmin(axis=1)] == labels[1])


def evaluated(run_cli, folder, sides, labels, *words):
  """{dim: accuracy of 1-NN} of arrays saved into `folder`."""
  for name, x, y in zip('xq', sides, labels):
    np.save(folder / f'{name}.npy', x)
    np.save(folder / f'{name}_y.npy', y)
  code, _, err = run_cli(
    'eval',
    f'--embeddings={folder / "x.npy"}',
    f'--labels={folder / "x_y.npy"}',
    f'--queries={folder / "q.npy"}',
    f'--query_labels={folder / "q_y.npy"}',
    f'--output={folder}',
    '--config.eval.only=knn',
    *words,
  )
  assert code == 0, err
  rows = results.read(folder / 'eval' / '0')
  return {row['dim']: row['value'] for row in rows if row['metric'] == 'top1'}


@pytest.mark.parametrize('signed', [False, True])
def test_packed_bits_give_the_accuracy_of_hamming(
  digits, run_cli, tmp_path, signed
):
  bits, labels = digits
  packed = [np.packbits(side, axis=1) for side in bits]
  if signed:
    packed = [(x.astype(np.int16) - 128).astype(np.int8) for x in packed]
  words = '--codes=bits', '--dims=4,12,32,64'
  found = evaluated(run_cli, tmp_path, packed, labels, *words)
  assert list(found) == [4, 12, 32, 64]
  assert found == {m: hamming(bits, labels, m) for m in found}
  numbers = evaluated(run_cli, tmp_path, packed, labels, '--codes=numbers')
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
