"""Small judged sets and scored pairs as files, for tests."""

import gzip
import json

import pyarrow as pa
from pyarrow import parquet

CORPUS = [
  {'_id': 'a', 'title': 'Wings', 'text': 'lift and drag'},
  {'_id': 'b', 'title': '', 'text': 'boundary layer'},
  {'_id': 'c', 'title': 'Heat', 'text': ''},
  {'_id': '4', 'text': 'é 雪 \u2028 "quoted"'},
]
QUERIES = [
  {'_id': 'q1', 'text': 'what lifts a wing'},
  {'_id': 'q2', 'text': 'layers?'},
]
QRELS = {'q1': {'a': 2.0, 'b': 0.0}, 'q2': {'b': 1.0, '4': 1.0}}


def json_lines(rows):
  return ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)


def table(qrels):
  lines = [
    f'{q}\t{d}\t{g:g}\n' for q, by in qrels.items() for d, g in by.items()
  ]
  return ''.join(['query-id\tcorpus-id\tscore\n', *lines])


def write_set(folder, corpus=CORPUS, queries=QUERIES, qrels=QRELS):
  """A folder as BEIR has them; a text or bytes is written as it is."""
  (folder / 'qrels').mkdir(parents=True, exist_ok=True)
  for name, content, form in (
    ('corpus.jsonl', corpus, json_lines),
    ('queries.jsonl', queries, json_lines),
    ('qrels/test.tsv', qrels, table),
  ):
    if content is None:
      continue
    if not isinstance(content, str | bytes):
      content = form(content)
    if isinstance(content, str):
      content = content.encode()
    (folder / name).write_bytes(content)
  return folder


def records(qrels=QRELS):
  """Judgements as rows of a table."""
  return [
    {'query-id': q, 'corpus-id': d, 'score': g}
    for q, by in qrels.items()
    for d, g in by.items()
  ]


def write_parquet_set(folder, shards=2):
  """The same as the Hugging Face hub holds it."""
  for name, rows in (
    ('corpus', CORPUS),
    ('queries', QUERIES),
    ('qrels', records()),
  ):
    (folder / name).mkdir(parents=True)
    rows = [{'title': ''} | row for row in rows] if name == 'corpus' else rows
    for i in range(shards):
      part = pa.Table.from_pylist(rows[i::shards])
      path = folder / name / f'train-0000{i}-of-0000{shards}.parquet'
      parquet.write_table(part, path)
  return folder


def write_packed_set(folder):
  """The same, gzip'ed, judgements as JSON lines."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, rows in (
    ('corpus', CORPUS),
    ('queries', QUERIES),
    ('qrels', records()),
  ):
    with gzip.open(folder / f'{name}.jsonl.gz', 'wb') as file:
      file.write(json_lines(rows).encode())
  return folder
