"""Judged sets: every layout gives one set, and strange files one line."""

import json
import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from mrl_jax.data import judged
from mrl_jax.errors import UsageError
from tests.samples import texts
from tests.samples.texts import CORPUS, QRELS, QUERIES, write_set

PASSAGES = {
  'a': 'Wings lift and drag',
  'b': 'boundary layer',
  'c': 'Heat',
  '4': 'é 雪 \u2028 "quoted"',
}


def contents(judged_set):
  """Everything that a set says, whatever the order of its files."""
  sides = judged_set.queries, judged_set.corpus
  found = [dict(zip(side.ids.tolist(), list(side))) for side in sides]
  return *found, judged_set.qrels


@pytest.mark.parametrize(
  'write', [write_set, texts.write_parquet_set, texts.write_packed_set]
)
def test_every_layout_is_the_same_set(tmp_path, write):
  found = judged.read(write(tmp_path / 'tiny'))
  wanted = {query['_id']: query['text'] for query in QUERIES}
  assert contents(found) == (wanted, PASSAGES, QRELS)
  assert found.name == 'tiny' and not found.notes
  if write is not texts.write_parquet_set:  # whose shards have another order
    plain = judged.read(write_set(tmp_path / 'plain'))
    assert found.fingerprint == plain.fingerprint


def test_texts_are_read_when_asked_for(tmp_path):
  found = judged.read(write_set(tmp_path))
  some = found.corpus[1:3]
  assert list(some) == ['boundary layer', 'Heat']
  assert some.names.tolist() == ['b', 'c'] and found.corpus[-1] == PASSAGES['4']


FORMS = {
  'a mark and CRLF': '\ufeff' + texts.table(QRELS).replace('\n', '\r\n'),
  'blank lines': texts.table(QRELS).replace('\n', '\n\n'),
  'no header': texts.table(QRELS).partition('\n')[2],
  'TREC': 'q1 0 a 2\nq1 0 b 0\nq2 Q0 b 1\nq2 0 4 1',
  'columns': 'score\tqid\tdocid\n2\tq1\ta\n0\tq1\tb\n1\tq2\tb\n1\tq2\t4\n',
  'CRLF after an id': 'score\tqid\tdocid\r\n2\tq1\ta\r\n0\tq1\tb\r\n1\tq2\tb\r\n1\tq2\t4\r\n',
  'repeated': texts.table(QRELS) + 'q1\ta\t2.0\n',
  'no last newline': texts.table(QRELS).rstrip(),
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_judgements_is_read(tmp_path, form):
  assert judged.read(write_set(tmp_path, qrels=FORMS[form])).qrels == QRELS


def test_numbers_are_ids_and_files_have_marks(tmp_path):
  corpus = '\ufeff{"id": 7, "text": "x"}\r\n\r\n{"id": "08", "text": "y"}\r\n'
  queries = '{"_id": 3.0, "text": "z"}'
  qrels = [{'query-id': 3, 'corpus-id': 7}, {'query_id': 3, 'corpus_id': '08'}]
  write_set(tmp_path, corpus, queries, None)
  (tmp_path / 'qrels.jsonl').write_text(texts.json_lines(qrels))
  found = judged.read(tmp_path)
  assert contents(found) == (
    {'3': 'z'},
    {'7': 'x', '08': 'y'},
    {'3': {'7': 1.0, '08': 1.0}},
  )


def test_another_split_is_named(tmp_path):
  write_set(tmp_path, qrels=None)
  for name in ('train', 'dev'):
    path = tmp_path / 'qrels' / f'{name}.tsv'
    path.write_text(texts.table(QRELS))
  (note,) = judged.read(tmp_path).notes
  assert 'no qrels/test' in note and 'dev.tsv, out of dev, train' in note
  (tmp_path / 'qrels' / 'test.tsv').write_text('q2\tb\t1\n')
  assert judged.read(tmp_path).qrels == {'q2': {'b': 1.0}}


def test_what_is_odd_is_counted_in_notes(tmp_path):
  corpus = [*CORPUS, {'_id': 'e', 'title': ' ', 'text': None}]
  queries = [*QUERIES, {'_id': 'q3', 'text': ''}]
  qrels = QRELS | {'q1': {'a': 1, 'gone': 2, 'lost': -1}, 'q9': {'a': 1}}
  found = judged.read(write_set(tmp_path, corpus, queries, qrels))
  assert set(found.qrels) == {'q1', 'q2'}
  assert found.qrels['q1'] == {'a': 1.0, 'gone': 2.0, 'lost': -1.0}
  for words in (
    "1 of 3 judged queries are unknown, such as 'q9'",
    '1 of 3 queries have no judgements',
    "1 of 4 relevant judgements name a passage .* 'gone'",
    "1 of 5 passages have neither title nor text, such as 'e'",
  ):
    assert any(re.search(words, note) for note in found.notes), words
  assert len(found.notes) == 4


LINES = texts.json_lines(CORPUS)
STRANGE = {
  'no corpus': ({'corpus': None}, r'has no corpus\.jsonl'),
  'no queries': ({'queries': None}, r'has no queries\.jsonl'),
  'no qrels': ({'qrels': None}, r'has no qrels/test\.tsv'),
  'cut off': (
    {'corpus': LINES[:-9]},
    r'corpus\.jsonl, line 4 is not JSON.*cut',
  ),
  'a list': ({'corpus': '[1]\n'}, r'line 1 holds no JSON object'),
  'bytes': ({'corpus': LINES.encode('utf-16')}, r'line 1 is not UTF-8'),
  'empty': ({'corpus': '\n'}, r'corpus\.jsonl holds no passages'),
  'no queries in it': ({'queries': b''}, r'queries\.jsonl holds no queries'),
  'no id': (
    {'corpus': '{"text": "x"}'},
    "line 1 has no '_id' or 'id', but 'te",
  ),
  'no text': (
    {'corpus': '{"_id": "x", "title": "y"}'},
    "has no 'text', but '_i",
  ),
  'a number': ({'corpus': '{"_id": "x", "text": 3}'}, "line 1: 'text' is 3"),
  'null id': (
    {'corpus': '{"_id": null, "text": ""}'},
    'line 1 has the id None',
  ),
  'bool id': (
    {'corpus': '{"_id": true, "text": ""}'},
    'line 1 has the id True',
  ),
  'twice': (
    {'corpus': '{"_id": "1", "text": "x"}\n\n{"_id": 1, "text": "y"}'},
    r"line 3 has the id '1' of .*line 1; each",
  ),
  'an empty query': (
    {'queries': '{"_id": "q1", "text": " "}'},
    "the query 'q1' has an empty text",
  ),
  'other queries': ({'qrels': 'x\ta\t1\n'}, "judges none of the queries.*'x'"),
  'other passages': (
    {'qrels': 'q1\tx\t1\n'},
    "none of the 4 passages relevant.* 'x', and the corpus has 'a'",
  ),
  'zeros only': ({'qrels': 'q1\ta\t0\n'}, '0 with a grade above 0'),
  'no lines': ({'qrels': texts.table({})}, r'test\.tsv holds no judgements'),
  'words': ({'qrels': 'q1\ta\thigh\n'}, "line 1 has the grade 'high'"),
  'nan': ({'qrels': 'q1\ta\tnan\n'}, "line 1 has the grade 'nan'"),
  'two fields': ({'qrels': 'q1\ta\n'}, 'line 1 has 2 fields'),
  'a cut line': ({'qrels': 'q1\ta\t1\nq2\tb'}, 'line 2 has 2 fields where 3'),
  'no name': ({'qrels': 'q1\t\t1\n'}, 'line 1 has an empty id'),
  'two grades': (
    {'qrels': 'q1\ta\t1\nq2\tb\t1\nq1\ta\t2\n'},
    "line 3 gives passage 'a' of query 'q1' the grade 2, line 1 gave it 1",
  ),
}


@pytest.mark.parametrize('case', STRANGE)
def test_what_cannot_be_read_is_one_line(tmp_path, case):
  changed, said = STRANGE[case]
  write_set(tmp_path, **changed)
  with pytest.raises(UsageError, match=said) as error:
    judged.read(tmp_path)
  assert '\n' not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_damaged_file_is_one_line(tmp_path):
  with pytest.raises(UsageError, match='is not a folder'):
    judged.read(tmp_path / 'nowhere')
  packed = texts.write_packed_set(tmp_path / 'packed') / 'corpus.jsonl.gz'
  packed.write_bytes(packed.read_bytes()[:-9])
  with pytest.raises(UsageError, match=r'corpus\.jsonl\.gz cannot be read'):
    judged.read(packed.parent)
  folder = texts.write_parquet_set(tmp_path / 'columns')
  (damaged,) = (folder / 'corpus').glob('train-00001*')
  damaged.write_bytes(damaged.read_bytes()[:50])
  with pytest.raises(UsageError, match=r'00001-of-00002\.parquet cannot be'):
    judged.read(folder)
  parquet.write_table(pa.table({'_id': ['x'], 'text': [[1]]}), damaged)
  with pytest.raises(UsageError, match="row 1 has no 'text', but '_id'"):
    judged.read(folder)


def test_halves_of_letters_become_marks(tmp_path):
  corpus = '{"_id": "a", "text": "x\\ud800 \\ud83d\\ude00"}'
  found = judged.read(write_set(tmp_path, corpus, qrels='q1\ta\t1\n'))
  assert found.corpus[0] == 'x\ufffd \U0001f600'
  json.dumps(found.corpus[0]).encode()
