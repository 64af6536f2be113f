"""Texts of files, whoever wrote them."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mrl_jax.errors import UsageError
from mrl_jax.inputs import texts

GOOD = {
  'a.txt': (b'one\xe2\x80\xa8two\r\n"three", \n\n\n', '12', None),
  'b.txt': ('\ufeffé\n'.encode(), '1', ['é']),
  'c.txt': ('é\nb'.encode('utf-16'), '12', ['é', 'b']),
  'a.jsonl': (
    b'{"_id": "x", "text": "a"}\n{"id": 7, "text": "b"}\n',
    'x7',
    'ab',
  ),
  'b.jsonl': (b'{"t": "a", "_id": 1}\n{"t": "b"}', '12', 'ab'),
  'a.csv': (b'n,text\n1,"a, ""b""\nc"\n2,NA\n3,007', '123', None),
  'b.csv': ('\ufeffid,text\nx,a\n'.encode(), 'x', 'a'),
  'c.csv': (b'words\na\nb\n', '12', 'ab'),
  'a.tsv': (b'id\ttext\nx\t"a" b\ny\t"c\n', 'xy', ['"a" b', '"c']),
  'A.TXT': (b'a', '1', 'a'),
}


@pytest.mark.parametrize('name', GOOD)
def test_files_are_read(tmp_path, name):
  content, names, expected = GOOD[name]
  path = tmp_path / name
  path.write_bytes(content)
  key = ':t' if name == 'b.jsonl' else ''
  for given in (f'{path}{key}', tmp_path / f'{name}{key}'):
    opened = texts.open_texts(given)
    assert list(opened.names) == list(names)
    if expected is None and name == 'a.txt':
      expected = ['one\u2028two', '"three", ']
    expected = expected or ['a, "b"\nc', 'NA', '007']
    assert list(opened) == list(expected)
    assert opened[len(opened) - 1] == expected[-1]


@pytest.mark.parametrize(
  'kind', [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), 'string')]
)
def test_parquet(tmp_path, kind):
  path = tmp_path / 'x.parquet'
  words = pa.array(['a', 'é', 'a'], pa.string()).cast(kind)
  table = pa.table({'n': [1, 2, 3], 'words': words, 'id': ['x', 'y', 'z']})
  parquet.write_table(table, path, row_group_size=2)
  opened = texts.open_texts(f'{path}:words')
  assert list(opened) == ['a', 'é', 'a'] and list(opened.names) == list('xyz')


def test_what_is_not_a_file(tmp_path, monkeypatch):
  (tmp_path / 'words').write_text('no')
  monkeypatch.chdir(tmp_path)
  for given in ('words', ['words'], ('words',), np.array(['words'])):
    opened = texts.open_texts(given)
    assert list(opened) == ['words'] and list(opened.names) == ['0']
  assert list(texts.open_texts(['a.txt', 'b'])) == ['a.txt', 'b']
  assert list(texts.open_texts('two\nlines.txt')) == ['two\nlines.txt']
  assert len(texts.open_texts([])) == 0
  opened = texts.Texts(['a', 'b'], ['x', 'y'])
  assert texts.open_texts(opened) is opened


BAD = {
  'b.txt': (b'a\n \nb', 'line 2 is empty; an empty text has no meaning'),
  'c.txt': (b'a\n\xff', r'c\.txt: line 2 is not UTF-8 text'),
  'd.txt': (b'\n\n', r'd\.txt has no texts'),
  'e.txt:x': (b'a', r'a \.txt file has no keys'),
  'f.jsonl': (b'{"text": "a"}\n{"text": 3}', 'line 2 is of type int'),
  'g.jsonl': (b'{"text": "\\ud800"}', 'line 1 has half a character'),
  'h.jsonl': (b'{"t": "a"}', r"line 1 has no key 'text' \(its keys: t\)"),
  'i.jsonl': (b'{"text": "a"}\n["a"]', 'line 2 has no key'),
  'j.jsonl': (b'{"text": "a"}\n{', 'line 2 is not JSON'),
  'k.jsonl': (b'{"text": null}', 'the text of line 1 is missing'),
  'l.csv': (b'text,n\na,1\nb\n', 'Expected 2 columns, got 1'),
  'm.csv': (b'text,n\n\xff,1\n', 'invalid UTF8'),
  'n.csv': (b'', 'Empty CSV'),
  'o.csv': (b'text,n\n', 'has no texts'),
  'p.csv': (b't,n\na,1\n', "no column 'text'; name one of t, n, like"),
  'q.csv:x': (b'text,n\na,1\n', "no column 'x'"),
  'r.csv': (b'text,n\n"",1\n', 'the text of row 1 is empty'),
  's.parquet': (b'PAR1', 'is not a Parquet file'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_cannot_be_read_is_one_line(tmp_path, name):
  content, message = BAD[name]
  (tmp_path / name.split(':')[0]).write_bytes(content)
  with pytest.raises(UsageError, match=message) as caught:
    texts.open_texts(f'{tmp_path}/{name}')
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'given, message',
  [
    ('nowhere.txt', r'nowhere\.txt is not there; check the path, or give a li'),
    ('x' * 9000 + '.csv', 'is not there'),
    (['a', None], 'text 1 is missing'),
    (['a', float('nan')], 'text 1 is missing'),
    (['a', ' '], 'text 1 is empty'),
    (['a', 'b\ud800'], 'text 1 has half a character'),
    ([b'a'], 'text 0 is of type bytes'),
    (7, 'int is not a list of texts'),
    ({'a': 1}, 'dict is not a list of texts'),
  ],
)
def test_what_is_not_texts(given, message):
  with pytest.raises(UsageError, match=message) as caught:
    texts.open_texts(given)
  assert '\n' not in str(caught.value)


def test_columns_that_are_not_texts(tmp_path):
  path = tmp_path / 'x.parquet'
  columns = {'n': [1, 2], 'b': [b'a', b'\xff'], 'text': ['a', None]}
  parquet.write_table(pa.table(columns), path)
  for key, message in (
    ('', 'the text of row 1 is missing'),
    (':n', 'is a column of int64; choose one of strings, out of n, b, text'),
    (':b', 'is a column of binary'),
  ):
    with pytest.raises(UsageError, match=message):
      texts.open_texts(f'{path}{key}')
  with pytest.raises(UsageError, match='texts are read from .txt, .jsonl'):
    texts.open_texts(tmp_path)


def test_large_texts(tmp_path):
  large = 'x' * 3_000_000
  (tmp_path / 'a.csv').write_text(f'text,n\n{large},1\n')
  (tmp_path / 'a.jsonl').write_text(json.dumps({'text': large}))
  for name in ('a.csv', 'a.jsonl'):
    assert texts.open_texts(tmp_path / name)[0] == large
