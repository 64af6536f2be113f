"""Arrays out of tables: .csv and .parquet of every kind, records of .npy."""

import decimal

import numpy as np
import pyarrow
import pytest

from mrl_jax.embed import columns, files
from tests.samples.files import X, fails, lists, save_npy, table


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('newline', ['\n', '\r\n', '\r'])
def test_only_newlines_end_a_label(tmp_path, encoding, newline):
  x = save_npy(tmp_path / 'x.npy', X[:3])
  words = ['a\u2028b', 'c\x0cd', 'e\x85f']
  for name in ('y.txt', 'y.csv'):
    text = newline.join([*words, '', ''])
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert files.read(x, tmp_path / name)[1] == tuple(sorted(words))


@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
def test_a_column_of_a_csv_is_named(tmp_path, delimiter):
  x, y = save_npy(tmp_path / 'x.npy', X[:2]), tmp_path / 'y.csv'
  y.write_text('id,label\n1,"a\nb"\n2,c\n'.replace(',', delimiter))
  assert files.read(x, f'{y}:label')[1] == ('a\nb', 'c')
  fails('line 1 has 2 fields', x, y)
  fails('y.csv:color is not there; its columns', x, f'{y}:color')
  y.write_text('id,label\n1,a\n2\n'.replace(',', delimiter))
  fails('line 3 has 1 fields, not 2', x, f'{y}:label')


@pytest.mark.parametrize('delimiter', ';\t')
def test_semicolons_and_tabs_within_words_stay(tmp_path, delimiter):
  x, y = save_npy(tmp_path / 'x.npy', X[:3]), tmp_path / 'y.csv'
  for words in ((f'a{delimiter}b', 'c', 'd'), ('c', 'd', f'a{delimiter}b')):
    y.write_text('\n'.join(words))
    assert files.read(x, y)[1] == tuple(sorted(words))
    y.write_text('\n'.join(('label', *words)))
    assert files.read(x, f'{y}:label')[1] == tuple(sorted(words))
  y.write_text('\n'.join(f'"{i}{delimiter}b"' for i in range(3)))
  assert files.read(x, y)[1] == tuple(f'{i}{delimiter}b' for i in range(3))
  y.write_text('\n'.join(f'{i}{delimiter}b' for i in range(3)))
  fails('line 1 has 2 fields, not 1', x, y)
  y.write_text('a;b;label\n1;2,5;c\n1;2;d\n'.replace(';', delimiter))
  assert files.read(save_npy(tmp_path / 'x.npy', X[:2]), f'{y}:label')[1] == (
    'c',
    'd',
  )


@pytest.mark.parametrize('kind', ['list_view', 'large_list_view', 'tensor'])
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
@pytest.mark.parametrize('rows', [7, 65_536])
def test_newer_lists_of_parquet_read_alike(
  tmp_path, kind, dtype, rows, monkeypatch
):
  monkeypatch.setattr(columns, 'TABLE_ROWS', rows)
  x = X.astype(dtype)

  def column(x):
    if kind == 'tensor':
      return pyarrow.FixedShapeTensorArray.from_numpy_ndarray(x)
    number = pyarrow.from_numpy_dtype(x.dtype)
    return pyarrow.array(list(x), getattr(pyarrow, kind)(number))

  for values in (
    column(x),
    pyarrow.chunked_array([column(x[:11]), column(x[11:])]),
  ):
    found, _ = files.read(table(tmp_path / 'x.parquet', v=values))
    assert found.embeddings.dtype == dtype
    np.testing.assert_array_equal(found.embeddings, x)
  if kind != 'tensor':
    uneven = pyarrow.array([[1.0, 2], None], values.type)
    fails('row 1 holds nothing', table(tmp_path / 'n.parquet', v=uneven))


def test_tensors_of_more_axes_are_refused(tmp_path):
  values = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(X.reshape(50, 2, 3))
  fails('must be a column of lists', table(tmp_path / 'x.parquet', v=values))


@pytest.mark.parametrize(
  'kind', ['large_string', 'string_view', 'binary', 'large_binary']
)
def test_words_of_parquet_read_alike(tmp_path, kind):
  x = save_npy(tmp_path / 'x.npy', X[:3])
  values = pyarrow.array(['é', 'a', 'é']).cast(getattr(pyarrow, kind)())
  for column in (
    values,
    pyarrow.chunked_array([values[:1], values[1:]]),
    *([] if kind == 'string_view' else [values.dictionary_encode()]),
  ):
    found, names = files.read(x, table(tmp_path / 'y.parquet', label=column))
    assert names == ('a', 'é') and found.labels.tolist() == [1, 0, 1]


def test_bytes_of_parquet_are_utf8(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X[:2])
  fixed = pyarrow.array([b'ab', b'aa'], pyarrow.binary(2))
  assert files.read(x, table(tmp_path / 'y.parquet', y=fixed))[1] == (
    'aa',
    'ab',
  )
  for kind in (pyarrow.binary(), pyarrow.binary(1)):
    y = table(tmp_path / 'y.parquet', y=pyarrow.array([b'\xff', b'a'], kind))
    fails('labels that are not UTF-8; save them as strings', x, y)


@pytest.mark.parametrize(
  'kind',
  [
    pyarrow.decimal128(20, 0),
    pyarrow.decimal128(22, 2),
    pyarrow.decimal256(50, 0),
  ],
)
def test_decimals_are_class_ids(tmp_path, kind):
  x = save_npy(tmp_path / 'x.npy', X[:2])

  def labels(*values):
    values = pyarrow.array([decimal.Decimal(value) for value in values], kind)
    return table(tmp_path / 'y.parquet', y=values)

  found, names = files.read(x, labels(2**62, 3))
  assert found.labels.tolist() == [2**62, 3] and names == ()
  fails('not whole, or beyond 64 bits', x, labels(2**64, 3))
  if kind.scale:
    fails('not whole, or beyond 64 bits', x, labels('1.5', 3))


def test_tables_that_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(columns, 'TABLE_ROWS', 2)
  path = table(tmp_path / 'a.parquet', id=[1, 2], v=[[1.0], [2.0]])
  fails('a.parquet has several columns; its columns are id, v', path)
  fails('a.parquet:w is not there; its columns are id, v', f'{path}:w')
  fails('a.parquet:id is a column of int64; embeddings must be', f'{path}:id')
  fails(
    'a.parquet:v is a column of list.*; labels must', f'{path}:v', f'{path}:v'
  )
  path = table(tmp_path / 'b.parquet', v=[[1.0, 2], [2.0, 1], [3.0], [1.0, 1]])
  fails('row 2 holds 1 numbers where 2 are', path)
  path = table(tmp_path / 'c.parquet', v=[[1.0, 2], [2.0, 1], [1, 2], None])
  fails('row 3 holds nothing where 2', path)
  path = table(tmp_path / 'd.parquet', v=[None, [2.0, 1]])
  fails('row 0 holds nothing', path)
  path = table(tmp_path / 'e.parquet', v=[[1.0, None]])
  fails('1 missing numbers', path)
  path = table(tmp_path / 'f.parquet', v=[['a', 'b']])
  fails('lists of string, not of numbers', path)
  fixed = pyarrow.array([[1.0, 2], None], pyarrow.list_(pyarrow.float32(), 2))
  fails('row 1 holds nothing', table(tmp_path / 'g.parquet', v=fixed))
  path = table(tmp_path / 'h.parquet', v=lists(X[:0], False))
  fails('no rows', path)


def test_records_are_refused(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X[:3])
  for shape in ((3,), (3, 2)):
    records = np.ones(shape, [('a', 'f4'), ('b', 'i8')])
    path = save_npy(tmp_path / 'r.npy', records)
    fails(r"r.npy holds records of a, b; .* array: x\['a'\]", path)
    fails(r'r.npy holds records of a, b', x, path)
