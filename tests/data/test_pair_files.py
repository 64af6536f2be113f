"""Pairs in files: every kind of file, splits, what cannot be used."""

import csv
import gzip

import jax
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mrl_jax import build, schema, tasks
from mrl_jax.data import feed, pair_files
from mrl_jax.errors import UsageError
from mrl_jax.inputs.text import Text
from mrl_jax.sharding import make_mesh
from tests.samples import contrast, tokenizer
from tests.samples.texts import json_lines

ROWS = [
  {
    'anchor': f'query é {i}',
    'answer': f'"answer", {i}',
    'wrong': f'wrong {i}',
    'worse': None if i % 3 else f'worse {i}',
    'grade': i / 4,
    'name': f'n{i}',
  }
  for i in range(40)
]
OPTIONS = dict(
  query='anchor',
  positive='answer',
  negatives=('wrong', 'worse'),
  score='grade',
  ids='name',
)
PLAIN = {'query': 'q', 'positive': 'p'}


def write(path, rows=ROWS):
  """Rows as a file of the kind that its name says."""
  path.parent.mkdir(parents=True, exist_ok=True)
  kind = ''.join(path.suffixes)
  if kind == '.parquet':
    parquet.write_table(pa.Table.from_pylist(rows), path)
  elif kind.startswith('.csv'):
    with path.open('w', newline='', encoding='utf-8') as file:
      writer = csv.DictWriter(file, rows[0])
      writer.writeheader()
      writer.writerows(rows)
  elif kind.startswith('.tsv'):
    lines = [rows[0], *(row.values() for row in rows)]
    cells = (['' if c is None else str(c) for c in line] for line in lines)
    path.write_text('\n'.join(map('\t'.join, cells)), encoding='utf-8')
  else:
    path.write_text(json_lines(rows), encoding='utf-8')
  if kind.endswith('.gz'):
    path.write_bytes(gzip.compress(path.read_bytes()))
  return path


def both(loaded):
  """All records, in order of ids."""
  records = [*loaded.train, *loaded.validation]
  return sorted(records, key=lambda record: record['id'])


EXPECTED = sorted(
  [
    {
      'query': row['anchor'],
      'positive': row['answer'],
      'negatives': [row[c] for c in ('wrong', 'worse') if row[c]],
      'score': row['grade'],
      'id': row['name'],
    }
    for row in ROWS
  ],
  key=lambda record: record['id'],
)


@pytest.mark.parametrize(
  'kind', ['jsonl', 'jsonl.gz', 'parquet', 'csv', 'csv.gz', 'tsv', 'tsv.gz']
)
def test_every_kind_of_file_gives_the_same_records(tmp_path, kind):
  loaded = pair_files.load(path=str(write(tmp_path / f'x.{kind}')), **OPTIONS)
  assert both(loaded) == EXPECTED
  assert len(loaded.validation) == 4
  assert loaded.train.ids.tolist() == [r['id'] for r in loaded.train]
  other = write(tmp_path / 'again.jsonl')
  again = pair_files.load(path=str(other), **OPTIONS)
  assert loaded.facts == again.facts
  assert set(loaded.facts.fields) == set(EXPECTED[0]) - {'id'}
  assert pair_files.facts(path='nowhere', **OPTIONS).fields == (
    loaded.facts.fields
  )


def test_lists_of_negatives(tmp_path):
  rows = [
    PLAIN | {'no': ['a', 'b']},
    PLAIN | {'query': 'q2', 'no': []},
    PLAIN | {'query': 'q3', 'no': None},
    PLAIN | {'query': 'q4', 'no': ['c', ' ', None]},
  ]
  files = write(tmp_path / 'x.parquet', rows), write(tmp_path / 'x.jsonl', rows)
  for path in files:
    loaded = pair_files.load(path=str(path), negatives='no')
    assert [r['negatives'] for r in both(loaded)] == [['a', 'b'], [], [], ['c']]
    assert both(loaded)[2]['id'].startswith(path.name + ', ')
  lines = [PLAIN | {'query': f'{i}'} for i in range(4)]
  path = write(tmp_path / 'some.jsonl', [*lines, PLAIN | {'no': 'x'}])
  loaded = pair_files.load(path=str(path), negatives=['no'])
  assert sum(map(len, (r['negatives'] for r in both(loaded)))) == 1


def test_the_pairs_of_a_query_stay_together_in_any_order(tmp_path):
  rows = [
    {'query': f'q {i % 50}' + ' Q' * (i % 2), 'positive': f'p{i}', 'n': f'{i}'}
    for i in range(400)
  ]
  rows += [row | {'query': row['query'].upper() + ' '} for row in rows]
  one = pair_files.load(path=str(write(tmp_path / 'a.jsonl', rows)))
  other = pair_files.load(path=str(write(tmp_path / 'b.jsonl', rows[::-1])))
  plain = [
    {' '.join(r['query'].lower().split()) for r in records}
    for records in (one.train, one.validation)
  ]
  assert not plain[0] & plain[1]
  assert len(plain[1]) == 5 and len(plain[0] | plain[1]) == 50
  queries = [{r['query'] for r in x.validation} for x in (one, other)]
  assert queries[0] == queries[1]
  more = pair_files.load(
    path=str(tmp_path / 'a.jsonl'), validation_fraction=0.3
  )
  assert queries[0] < {r['query'] for r in more.validation}


def test_held_out_files_of_their_own(tmp_path, capsys):
  train = write(
    tmp_path / 'a.jsonl', [PLAIN | {'query': f'{i}'} for i in '123']
  )
  held = write(tmp_path / 'b.csv', [PLAIN, PLAIN | {'query': '2 '}])
  loaded = pair_files.load(path=str(train), validation_path=str(held))
  assert (len(loaded.train), len(loaded.validation)) == (3, 2)
  assert '1 of 2 held-out pairs have a query that is' in capsys.readouterr().out


@pytest.mark.parametrize(
  'form', ['data/{}-0000{}-of-00002', 'default/{}/000{}', '{}_{}', '{}/x-{}']
)
def test_folders_as_the_hub_has_them(tmp_path, form, capsys):
  parts = ROWS[:10], ROWS[10:20], ROWS[20:30], ROWS[30:35], ROWS[35:]
  splits = ('train', 0), ('train', 1), ('validation', 0), ('validation', 1)
  for (split, i), rows in zip((*splits, ('test', 0)), parts):
    write(tmp_path / (form.format(split, i) + '.parquet'), rows)
  (tmp_path / 'README.md').write_text('pairs')
  write(tmp_path / '.cache' / 'train.jsonl')
  loaded = pair_files.load(path=str(tmp_path), **OPTIONS)
  assert [r['id'] for r in loaded.train] == [f'n{i}' for i in range(20)]
  assert [r['id'] for r in loaded.validation] == [
    f'n{i}' for i in range(20, 35)
  ]
  assert 'its split test are not read' in capsys.readouterr().out


def test_folders_that_do_not_fit(tmp_path):
  (tmp_path / 'none').mkdir()
  (tmp_path / 'x.md').write_text('pairs')
  write(tmp_path / 'held' / 'test.jsonl')
  write(tmp_path / 'several' / 'pair' / 'train-0.parquet')
  write(tmp_path / 'several' / 'triplet' / 'train-0.parquet')
  (tmp_path / 'arrow' / 'train').mkdir(parents=True)
  (tmp_path / 'arrow' / 'train' / 'data-00000-of-00001.arrow').write_text('')
  for name, said in (
    ('nowhere', "path='.*nowhere' is not there; give a file of pairs"),
    ('x.md', "x.md' is of another kind; give a file of pairs .*.tsv.gz"),
    ('none', 'has no files of .jsonl,'),
    ('held', 'no files to train on, only test.jsonl'),
    ('several', r'several folders \(pair, triplet\)'),
    ('arrow', 'save it again by to_parquet'),
  ):
    with pytest.raises(UsageError, match=said):
      pair_files.load(path=str(tmp_path / name))
  with pytest.raises(UsageError, match="path='' is not there"):
    pair_files.load()


BAD = {
  '{"query": "a", "positive"': 'is not JSON',
  '["a", "b"]': 'holds no JSON object',
  '{"query": "a"}': "has no 'positive', but 'query'",
  '{"query": "a", "positive": 5}': "'positive' is 5; it must be text",
  '{"query": ["a"], "positive": "b"}': "'query' is ['a']; it must be text",
  '{"query": " ", "positive": "b"}': "'query' is empty",
  '{"query": "a", "positive": null}': "'positive' is empty",
  '{"query": "a", "positive": "b ", "no": ["c", " b"]}': 'equals the positive',
  '{"query": "a", "positive": "b", "no": [["c"]]}': "'no' is ['c']; it must",
}


@pytest.mark.parametrize('line', BAD)
def test_malformed_rows_are_counted_and_named(tmp_path, capsys, line):
  good = [PLAIN | {'query': f'q{i}', 'no': 'n'} for i in range(5)]
  path = tmp_path / 'x.jsonl'
  path.write_text(json_lines(good) + f'{line}\n' * 2 + json_lines([PLAIN]))
  found = pair_files.load(path=str(path), negatives='no', malformed=2)
  assert len(both(found)) == 6
  said = capsys.readouterr().out
  assert '2 rows are left out:' in said
  assert f'{path}, line 6' in said and BAD[line] in said
  with pytest.raises(UsageError, match='malformed=1 rows') as error:
    pair_files.load(path=str(path), negatives='no', malformed=1)
  assert f'{path}, line 6' in str(error.value) and BAD[line] in str(error.value)
  assert '\n' not in str(error.value)


def test_rows_of_a_table_that_are_cut_off(tmp_path, capsys):
  for kind, between in (('csv', ','), ('tsv', '\t')):
    path = tmp_path / f'x.{kind}'
    lines = 'query positive grade', 'a b 1', 'c d', 'e f much', 'g h 2', 'i j '
    path.write_text('\n'.join(lines).replace(' ', between))
    found = pair_files.load(path=str(path), score='grade')
    assert [r['score'] for r in both(found)] == [1.0, 2.0]
    said = capsys.readouterr().out
    assert '3 rows are left out' in said and 'line 3 has 2 fields' in said
    assert "line 4 has the score 'much'" in said and 'line 6 has no sc' in said


def test_what_cannot_be_read_is_one_line(tmp_path):
  table = write(tmp_path / 'x.csv', [{'a': 'b', 'c': 'd'}])
  columns = write(tmp_path / 'x.parquet', [{'a': 'b', 'c': 'd', 'l': ['e']}])
  lines = write(tmp_path / 'x.jsonl', [PLAIN, PLAIN])
  latin = tmp_path / 'latin.jsonl'
  latin.write_bytes(json_lines([PLAIN]).encode() + 'é\n'.encode('latin-1'))
  empty = write(tmp_path / 'empty.tsv', [PLAIN])
  empty.write_text('query\tpositive\n')
  cut = tmp_path / 'cut.parquet'
  cut.write_bytes(columns.read_bytes()[:-20])
  for path, options, said in (
    (table, {}, "line 2 has no 'query', but 'a', 'c'; name the columns by"),
    (columns, {}, "row 1 has no 'query', but 'a', 'c'; name the columns by"),
    (lines, {'query': 'text'}, "line 1 has no 'text', but 'query', 'pos"),
    (table, {'query': 'a', 'positive': 'c', 'negatives': 'no'}, "no 'no', but"),
    (lines, {'negatives': 'no'}, "no row of .* has 'no', which .*negatives"),
    (lines, {'negatives': 'query'}, "column 'query' has two uses"),
    (lines, {'positive': ''}, "positive='' must name a column"),
    (lines, {'malformed': -1}, 'malformed=-1 must be 0 or more'),
    (lines, {'validation_fraction': 1.0}, 'fraction=1.0 must be between'),
    (lines, {}, 'pairs of one query only, and none can be held out'),
    (lines, {'validation_path': 'nowhere'}, "validation_path='nowhere' is not"),
    (latin, {}, 'line 2 is not UTF-8 text'),
    (empty, {}, 'empty.tsv has no pairs'),
    (cut, {}, 'cut.parquet cannot be read'),
    (tmp_path / 'none.jsonl', {}, 'is not there'),
  ):
    with pytest.raises(UsageError, match=said) as error:
      pair_files.load(path=str(path), **options)
    assert '\n' not in str(error.value)


def test_a_file_of_malformed_rows_alone_names_the_first(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_text('{"query": "", "positive": "b"}\n' * 9)
  with pytest.raises(UsageError, match=r"no pairs; .*line 1: 'query' is empty"):
    pair_files.load(path=str(path))


def test_a_table_of_several_parts_is_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(pair_files, 'ROWS_AT_ONCE', 7)
  loaded = pair_files.load(path=str(write(tmp_path / 'x.jsonl')), **OPTIONS)
  assert both(loaded) == EXPECTED


def test_pairs_flow_to_two_towers(tmp_path, monkeypatch):
  """A batch has the tokens of both texts; two towers learn from it."""
  monkeypatch.setitem(tasks.TASKS, 'contrast', contrast.Contrast)
  file = tokenizer.letters(tmp_path / 'tokenizer.json')
  path = write(tmp_path / 'x.jsonl')
  text = dict(name='text', tokenizer=str(file), length=32, lengths=(8, 16))
  options = {k: v for k, v in OPTIONS.items() if k != 'score'}
  config = schema.complete(
    {
      'dims': (4, 8),
      'inputs': {'query': text, 'positive': text},
      'encoder': {'name': 'static', 'width': 8},
      'task': {
        'name': 'contrast',
        'key_encoder': {'name': 'static', 'width': 8},
      },
      'data': {'source': {'name': 'pairs', 'path': str(path)} | options},
      'train': {'batch_size': 8, 'steps': 2},
      'eval': {'batch_size': 8},
    }
  )
  run = build.run(config, tmp_path / 'work')
  assert set(run.facts.fields) == {'query', 'positive', 'negatives'}
  batch = next(run.feed.training(0))
  assert 'label' not in batch and batch['mask'].sum() == 8
  variables = run.learner.task.init(jax.random.key(0))
  loss, _ = jax.jit(run.learner.task.loss)(variables, batch, jax.random.key(1))
  assert np.isfinite(loss)
  (held,) = run.feed.batches('validation')
  expected = Text(str(file), length=32).evaluate_all(
    [r['positive'] for r in run.feed.splits['validation']]
  )
  n = held['positive']['tokens'].shape[1]
  np.testing.assert_array_equal(
    held['positive']['tokens'][:4], expected['tokens'][:, :n]
  )
  ids = run.feed.ids('validation')
  assert ids.tolist() == [r['id'] for r in run.feed.splits['validation']]


def test_an_empty_split_and_lists_are_refused_by_the_feed(tmp_path):
  """Lists of negatives have no input yet; the message names the record."""
  text = Text(str(tokenizer.letters(tmp_path / 't.json')), length=8)
  loaded = pair_files.load(path=str(write(tmp_path / 'x.jsonl')), **OPTIONS)
  loading = feed.Loading('pairs', 0, 8, 8, 1, 0)
  batches = feed.Feed(loaded, {'negatives': text}, make_mesh(), loading)
  with pytest.raises(UsageError, match="record 0 .*'negatives'.* of type list"):
    next(batches.batches('validation'))
