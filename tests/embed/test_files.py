"""Embeddings from files: every kind reads alike, bad ones fail in one line."""

import numpy as np
import pyarrow
import pytest

from mrl_jax.embed import columns, files
from tests.samples.files import X, fails, lists, save_npy, table

RNG = np.random.default_rng(0)

Y = RNG.integers(0, 5, 50) + 70_000

WORDS = np.array(['dog', 'cat', 'cow', 'ant', 'bee'])[Y - 70_000]


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
def test_every_kind_of_file_reads_the_same(tmp_path, dtype, monkeypatch):
  monkeypatch.setattr(columns, 'TABLE_ROWS', 7)
  x = X.astype(dtype)
  np.savez(tmp_path / 'a.npz', other=Y, embeddings=x)
  np.savez(tmp_path / 'b.npz', x)
  paths = [
    save_npy(tmp_path / 'x.npy', x),
    f'{tmp_path}/a.npz',
    f'{tmp_path}/a.npz:embeddings',
    f'{tmp_path}/b.npz',
    table(tmp_path / 'a.parquet', id=Y, embedding=lists(x, True)),
    table(tmp_path / 'b.parquet', id=Y, v=lists(x, False)) + ':v',
    table(tmp_path / 'c.parquet', whatever=lists(x, False)),
  ]
  for path in paths:
    found, names = files.read(path)
    assert found.embeddings.dtype == dtype and names == ()
    assert found.labels is None
    np.testing.assert_array_equal(found.embeddings, x)
  assert isinstance(files.read(paths[0])[0].embeddings, np.memmap)


def test_every_kind_of_label_reads_the_same(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X)
  np.savez(tmp_path / 'y.npz', label=Y, other=X)
  (tmp_path / 'y.txt').write_text('\n'.join(map(str, Y)))
  (tmp_path / 'y.csv').write_text('\r\n'.join(map(str, Y)) + '\r\n')
  paths = [
    save_npy(tmp_path / 'y.npy', Y),
    save_npy(tmp_path / 'int32.npy', Y.astype(np.int32)),
    save_npy(tmp_path / 'float.npy', Y.astype(np.float32)),
    save_npy(tmp_path / 'unsigned.npy', Y.astype(np.uint64)),
    tmp_path / 'y.npz',
    table(tmp_path / 'y.parquet', label=Y, x=lists(X, True)),
    table(tmp_path / 'z.parquet', a=Y, b=Y) + ':b',
    tmp_path / 'y.txt',
    tmp_path / 'y.csv',
  ]
  for path in paths:
    found, names = files.read(x, path)
    assert found.labels.dtype == np.int64 and names == ()
    np.testing.assert_array_equal(found.labels, Y)


def test_words_become_ids_in_sorted_order(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X)
  (tmp_path / 'y.txt').write_text('\n'.join(WORDS))
  (tmp_path / 'y.csv').write_text('\n'.join(f'"{w}"' for w in WORDS))
  coded = pyarrow.array(WORDS.tolist()).dictionary_encode()
  paths = [
    save_npy(tmp_path / 'y.npy', WORDS),
    save_npy(tmp_path / 'bytes.npy', WORDS.astype('S')),
    table(tmp_path / 'y.parquet', label=WORDS.tolist(), n=Y),
    table(tmp_path / 'z.parquet', label=coded),
    tmp_path / 'y.txt',
    tmp_path / 'y.csv',
  ]
  for path in paths:
    found, names = files.read(x, path)
    assert names == ('ant', 'bee', 'cat', 'cow', 'dog')
    assert [names[i] for i in found.labels] == WORDS.tolist()


def test_numbers_with_leading_zeros_are_words(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X[:3])
  (tmp_path / 'y.txt').write_text('007\n7\n07\n')
  found, names = files.read(x, tmp_path / 'y.txt')
  assert names == ('007', '07', '7')
  np.testing.assert_array_equal(found.labels, [0, 2, 1])


def test_queries_share_the_ids_of_their_database(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X[:3])
  y = save_npy(tmp_path / 'y.npy', np.array(['yak', 'cat', 'ant']))
  found, names = files.read(x, y, ('cat', 'zebra'))
  assert names == ('cat', 'zebra', 'ant', 'yak')
  assert found.labels.tolist() == [3, 0, 2]


@pytest.mark.parametrize('top', [2**53 - 1, 2**62, 65_537])
def test_large_class_ids_survive(tmp_path, top):
  x = save_npy(tmp_path / 'x.npy', X[:3])
  y = np.array([top, top - 1, 0])
  (tmp_path / 'y.txt').write_text('\n'.join(map(str, y)))
  for path in (
    save_npy(tmp_path / 'y.npy', y),
    table(tmp_path / 'y.parquet', label=y),
    tmp_path / 'y.txt',
  ):
    assert files.read(x, path)[0].labels.tolist() == y.tolist()


def test_whole_numbers_are_embeddings_too(tmp_path):
  x = RNG.integers(1, 100, (5, 4)).astype(np.int8)
  path = save_npy(tmp_path / 'x.npy', x)
  found, _ = files.read(path, codes='numbers')
  assert found.embeddings.dtype == np.float32
  np.testing.assert_array_equal(found.embeddings, x)
  fails('holds int8; say what they are: --codes=numbers', path)
  fails('offset is for uint8', path, codes='offset')
  shifted = (x.astype(np.int16) + 128).astype(np.uint8)
  path = save_npy(tmp_path / 'u.npy', shifted)
  found, _ = files.read(path, codes='offset')
  np.testing.assert_array_equal(found.embeddings, x)


@pytest.mark.parametrize('signed', [False, True])
def test_cosines_of_packed_bits_are_hamming_distances(tmp_path, signed):
  bits = RNG.integers(0, 2, (20, 16))
  packed = np.packbits(bits, axis=1)
  if signed:
    packed = (packed.astype(np.int16) - 128).astype(np.int8)
  path = save_npy(tmp_path / 'x.npy', packed)
  x = files.read(path, codes='bits')[0].embeddings.astype(np.float32)
  distances = (bits[:, None] != bits).sum(axis=-1)
  np.testing.assert_array_equal(x @ x.T, 16 - 2 * distances)
  path = save_npy(tmp_path / 'w.npy', packed.astype(np.int32))
  fails('bits is for 2-D', path, codes='bits')


@pytest.mark.parametrize('codes', ['numbers', 'offset', 'bits'])
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
def test_codes_of_floats_are_refused(tmp_path, codes, dtype):
  path = save_npy(tmp_path / 'x.npy', X.astype(dtype))
  fails(f'x.npy holds {dtype}; --codes={codes} is for', path, codes=codes)


def test_sides_of_other_types_are_refused(tmp_path):
  def side(dtype):
    path = save_npy(tmp_path / f'{dtype}.npy', np.ones((3, 2), dtype))
    codes = None if dtype == 'float32' else 'numbers'
    return files.read(path, codes=codes)[0]

  sides = {name: side(name) for name in ('uint8', 'int8', 'float32')}
  for a, database in sides.items():
    for b, queries in sides.items():
      asked = queries.at(np.array([1, 2]))
      if a == b:
        files.check_sides(database, asked, False)
      else:
        with pytest.raises(ValueError, match='save both as one type'):
          files.check_sides(database, asked, False)


def test_byte_labels_are_utf8(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X[:2])
  y = save_npy(tmp_path / 'y.npy', np.array(['é'.encode(), b'a']))
  assert files.read(x, y)[1] == ('a', 'é')
  fails('not UTF-8', x, save_npy(tmp_path / 'y.npy', np.array([b'\xe9', b'a'])))


def test_embeddings_that_are_refused(tmp_path):
  fails('x.npy is not there', tmp_path / 'x.npy')
  fails("'.pt' are not read; use .npy, .npz, .parquet", tmp_path / 'x.pt')
  fails("'' are not read", tmp_path / 'nothing')
  (tmp_path / 'empty.npy').write_bytes(b'')
  fails('empty .0 bytes.', tmp_path / 'empty.npy')
  (tmp_path / 'cut.npy').write_bytes(b'\x93NUMPY\x01\x00')
  fails('cut.npy cannot be read', tmp_path / 'cut.npy')
  (tmp_path / 'text.npz').write_text('hello')
  fails('text.npz', tmp_path / 'text.npz')
  (tmp_path / 'text.parquet').write_text('hello hello hello')
  fails('is not a Parquet file', tmp_path / 'text.parquet')
  for shape in ((6,), (2, 3, 4), ()):
    path = save_npy(tmp_path / 'shape.npy', np.ones(shape))
    fails('must be 2-D', path)
  fails('no rows', save_npy(tmp_path / 'no.npy', np.ones((0, 4))))
  fails('no rows', save_npy(tmp_path / 'no.npy', np.ones((4, 0))))
  fails('must be numbers', save_npy(tmp_path / 'w.npy', np.full((2, 2), 'a')))
  fails('must be numbers', save_npy(tmp_path / 'c.npy', X * 1j))
  fails('must be numbers', save_npy(tmp_path / 'b.npy', X > 0))
  np.save(tmp_path / 'o.npy', np.array([[1, None]]), allow_pickle=True)
  fails('pickled Python objects, which are never', tmp_path / 'o.npy')
  np.savez(tmp_path / 'o.npz', embeddings=np.array([[1, None]]))
  fails('pickled Python objects, which are never', tmp_path / 'o.npz')
  np.savez(tmp_path / 'k.npz', one=X, two=X)
  fails(r'k.npz has several keys; its keys are one, two', tmp_path / 'k.npz')
  fails('k.npz:red is not there; its keys are', f'{tmp_path}/k.npz:red')
  fails('no keys; drop ":red"', f'{tmp_path}/no.npy:red')


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_rows_without_a_direction_are_named(tmp_path, bad, monkeypatch):
  monkeypatch.setattr(files, 'ROWS_AT_ONCE', 8)
  x = X.copy()
  x[[3, 17, 18, 21, 30, 49], 2] = bad
  path = save_npy(tmp_path / 'x.npy', x)
  fails(r'6 rows with NaN or infinity .rows 3, 17, 18, 21, 30, \.\.\.', path)
  x = X.copy()
  x[[7, 8]] = 0
  path = save_npy(tmp_path / 'x.npy', x)
  fails('2 rows of zeros only, which have no direction .rows 7, 8.', path)


def test_labels_that_are_refused(tmp_path):
  x = save_npy(tmp_path / 'x.npy', X[:4])

  def refused(match, y):
    fails(match, x, save_npy(tmp_path / 'y.npy', y))

  refused('y.npy has 3 labels for the 4 rows of .*x.npy', np.arange(3))
  refused('labels must be 1-D', np.ones((4, 1), int))
  refused('label nan of row 2 is missing .1 such', np.array([1, 2, np.nan, 4]))
  refused('label 1.5 of row 1 is not whole', np.array([1, 1.5, 2, 2]))
  refused('label -1 of row 3 is below 0', np.array([1, 2, 2, -1]))
  refused('beyond float16', np.array([1, 2, 2, 4098], np.float16))
  refused('beyond float32', np.array([1, 2, 2, 2**24 + 2], np.float32))
  refused('is too large', np.array([1, 2, 2, 2**63], np.uint64))
  refused("label '' of row 1 is missing", np.array(['a', '', 'b', 'c']))
  refused('complex128 values; labels must be', np.ones(4) * 1j)
  np.save(tmp_path / 'o.npy', np.array(['a', None] * 2), allow_pickle=True)
  fails('never loaded', x, tmp_path / 'o.npy')
  path = table(tmp_path / 'y.parquet', label=['a', None, 'b', None], n=[1] * 4)
  fails('2 labels are missing, the first in row 1', x, path)
  fails('y.parquet:color is not there; its columns', x, f'{path}:color')
  (tmp_path / 'y.txt').write_text('1\n2\n\n4\n')
  fails('label of line 3 is missing .1 such', x, tmp_path / 'y.txt')
  (tmp_path / 'y.csv').write_text('label\n1\n2\n3\n4\n')
  fails('5 labels for the 4 rows .* header', x, tmp_path / 'y.csv')
  (tmp_path / 'y.csv').write_text('1,2\n2,3\n')
  fails('line 1 has 2 fields', x, tmp_path / 'y.csv')
  (tmp_path / 'y.txt').write_text('1\n2\n3\n99999999999999999999\n')
  fails('beyond 64 bits', x, tmp_path / 'y.txt')
  (tmp_path / 'y.txt').write_bytes(b'\xff\xfe\x00')
  fails('not UTF-8', x, tmp_path / 'y.txt')
  fails("'.json' are not read", x, tmp_path / 'y.json')
  fails('is not there', x, tmp_path / 'missing.npy')


def test_folders_that_are_not_an_export(tmp_path):
  fails('without a meta.json', tmp_path)
  (tmp_path / 'meta.json').write_text(
    '{"rows": {"train": 3, "validation": 2}, "classes": []}'
  )
  fails('name a split of this export: .*:train, .*:validation', tmp_path)
  fails('name a split of this export', f'{tmp_path}:test')
  fails('not exported to its end', f'{tmp_path}:train')


def test_every_kind_of_id_reads_the_same(tmp_path):
  vectors, _ = files.read(save_npy(tmp_path / 'x.npy', X))
  words = np.array([f'row, {i} ü' for i in range(len(X))])
  numbers = np.arange(len(X)) * 10**12
  lines = ''.join(f'{word}\n' for word in words)
  (tmp_path / 'a.txt').write_text(lines, encoding='utf-8')
  (tmp_path / 'a.csv').write_text(
    'n,id\n' + ''.join(f'{i},"{word}"\n' for i, word in enumerate(words)),
    encoding='utf-8',
  )
  (tmp_path / 'b.txt').write_text(''.join(f'{i}\n' for i in numbers))
  np.savez(tmp_path / 'a.npz', labels=numbers, ids=words)
  save_npy(tmp_path / 'c.npy', np.char.encode(words, 'utf-8'))
  paths = {
    save_npy(tmp_path / 'a.npy', words): words,
    save_npy(tmp_path / 'b.npy', numbers): numbers,
    tmp_path / 'c.npy': words,
    tmp_path / 'a.npz': words,
    table(tmp_path / 'a.parquet', label=numbers, id=words): words,
    table(tmp_path / 'b.parquet', id=numbers): numbers,
    tmp_path / 'a.txt': words,
    tmp_path / 'b.txt': numbers,
    f'{tmp_path / "a.csv"}:id': words,
  }
  for path, ids in paths.items():
    found = files.with_ids(vectors, path, 'x.npy')
    np.testing.assert_array_equal(found.ids, ids)
    assert found.at(np.array([3])).name(0) == ids[3]
    assert type(found.name(0)) in (int, str)
  assert vectors.name(7) == 7


def test_ids_that_are_refused(tmp_path):
  vectors, _ = files.read(save_npy(tmp_path / 'x.npy', X))

  def refused(path):
    with pytest.raises(ValueError) as caught:
      files.with_ids(vectors, path, 'x.npy')
    (line,) = str(caught.value).splitlines()
    return line

  few = save_npy(tmp_path / 'few.npy', np.arange(3))
  assert '3 ids for the 50 rows of x.npy; give one per row' in refused(few)
  (tmp_path / 'few.csv').write_text('id\n1\n')
  assert 'is its first line a header?' in refused(tmp_path / 'few.csv')
  (tmp_path / 'gap.txt').write_text('a\n\nb\n')
  assert 'the id of line 2 is missing' in refused(tmp_path / 'gap.txt')
  wide = save_npy(tmp_path / 'wide.npy', np.zeros((50, 2), int))
  assert '[50, 2]; ids must be 1-D' in refused(wide)
  floats = save_npy(tmp_path / 'floats.npy', np.arange(50) / 2)
  assert 'float64 values [50]; ids must be' in refused(floats)
  assert 'is not there' in refused(tmp_path / 'none.txt')
  gaps = table(tmp_path / 'gaps.parquet', id=['a', None] * 25)
  assert '25 ids are missing' in refused(gaps)
