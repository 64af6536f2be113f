"""Scored pairs: the kinds of files, and what is wrong in them."""

import csv
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mrl_jax.data import scored
from mrl_jax.errors import UsageError
from tests.samples import texts

PAIRS = [
  ('A "quote', 'of é', 4.5),
  ('tabs, commas', '"two" quotes"', 0.0),
  ('last', 'one', 2.0),
]


def write(folder, kind):
  """The pairs as a file of a kind, columns named as such files name them."""
  path = folder / f'sts{kind}'
  if kind == '.tsv':
    lines = [f'x\t{score}\t{one}\t{other}' for one, other, score in PAIRS]
    text = '\n'.join(['part\tscore\tsentence1\tsentence2', *lines])
    path.write_text('\ufeff' + text.replace('\n', '\r\n'), encoding='utf-8')
  elif kind == '.csv':
    with path.open('w', newline='', encoding='utf-8') as file:
      writer = csv.writer(file)
      writer.writerows([('sentence1', 'sentence2', 'similarity'), *PAIRS])
  else:
    rows = [dict(zip(('sentence1', 'sentence2', 'label'), p)) for p in PAIRS]
    if kind == '.jsonl':
      path.write_text(texts.json_lines(rows), encoding='utf-8')
    else:
      parquet.write_table(pa.Table.from_pylist(rows), path)
  return path


@pytest.mark.parametrize('kind', ['.tsv', '.csv', '.jsonl', '.parquet'])
def test_every_kind_gives_the_same_pairs(tmp_path, kind):
  found = scored.read(write(tmp_path, kind))
  assert list(zip(found.first, found.second, found.scores)) == PAIRS
  assert found.name == 'sts' and found.notes == ()
  again = scored.read(write(tmp_path, '.tsv'))
  assert found.fingerprint == again.fingerprint


def test_pairs_without_a_score_are_counted(tmp_path):
  path = tmp_path / 'x.tsv'
  scores = '1', '', '2', ' ', 'nan', '3'
  lines = [f'a{i}\tb{i}\t{score}\n' for i, score in enumerate(scores)]
  path.write_text('sentence1\tsentence2\tscore\n' + ''.join(lines))
  found = scored.read(path)
  assert found.first == ('a0', 'a2', 'a5')
  assert found.notes == ('3 of 6 pairs have no score: they are left out.',)


def test_ids_are_columns_of_their_own(tmp_path):
  path = tmp_path / 'x.jsonl'
  rows = [
    {
      'id1': i,
      'id2': str(i + 1),
      'sentence1': 'x',
      'sentence2': 'y',
      'score': i,
    }
    for i in range(4)
  ]
  path.write_text(texts.json_lines(rows))
  assert scored.read(path, ids=True).first == ('0', '1', '2', '3')
  assert set(scored.read(path).first) == {'x'}


HEADER = 'sentence1\tsentence2\tscore\n'
GOOD = 'a\tb\t1\nc\td\t2\ne\tf\t3\n'
STRANGE = {
  'two': (HEADER + 'a\tb\t1\nc\td\t2\n', 'has 2 pairs with a score; a'),
  'blank': (HEADER + 'a\tb\t\nc\td\t2\n', 'has 1 pairs .*, and 1 without one'),
  'nothing': ('', 'has 0 pairs'),
  'alike': (HEADER + 'a\tb\t1\n' * 4, 'all 4 pairs have the score 1'),
  'words': (HEADER + GOOD + 'a\tb\tmuch\n', "line 5 has the score 'much'"),
  'infinite': (HEADER + GOOD + 'a\tb\tinf\n', "line 5 has the score 'inf'"),
  'an empty text': (HEADER + GOOD + 'a\t \t1\n', 'line 5 has an empty text'),
  'cut off': (HEADER + GOOD + 'a\tb', 'line 5 has 2 fields where .* 3'),
  'too many': (HEADER + GOOD + 'a\tb\t1\t2', 'line 5 has 4 fields where .* 3'),
  'no scores': ('sentence1\tsentence2\n' + 'a\tb\n', "no 'score' or 'label'"),
  'no texts': (
    'a\tb\tscore\n' + GOOD,
    "'sentence1' and 'sentence2', or 'text1",
  ),
  'bytes': ((HEADER + GOOD + 'é').encode('latin-1'), 'line 5 is not UTF-8'),
}


@pytest.mark.parametrize('case', STRANGE)
def test_what_cannot_be_read_is_one_line(tmp_path, case):
  content, said = STRANGE[case]
  path = tmp_path / 'x.tsv'
  content = content.encode() if isinstance(content, str) else content
  path.write_bytes(content)
  with pytest.raises(UsageError, match=said) as error:
    scored.read(path)
  assert '\n' not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
  ('name', 'content', 'said'),
  [
    ('x.csv', 'score,sentence1,sentence2\n1,"a,b\n', 'line . cannot be read'),
    ('x.csv', 'score,sentence1,sentence2\n1,a\n', 'line 2 has 2 fields'),
    ('x.xlsx', 'x', "'.xlsx' are not read"),
    ('gone.tsv', None, 'is not there'),
  ],
)
def test_other_files_are_one_line(tmp_path, name, content, said):
  if content:
    (tmp_path / name).write_text(content)
  with pytest.raises(UsageError, match=re.escape(said).replace(r'\.', '.')):
    scored.read(tmp_path / name)


@pytest.mark.skipif(
  'MRL_JAX_TEXT_DATA' not in os.environ, reason='MRL_JAX_TEXT_DATA is not set'
)
@pytest.mark.parametrize(
  ('name', 'count'),
  [('sts13', 1500), ('sts15', 3000), ('sts16', 1186), ('sick_test', 4927)],
)
def test_real_files_are_read_whole(name, count):
  folder = Path(os.environ['MRL_JAX_TEXT_DATA'])
  found = scored.read(folder / 'sts' / f'{name}.tsv')
  assert len(found.first) == count and not found.notes
  assert np.min(found.scores) >= 0 and np.max(found.scores) == 5
