"""Exports: resumable byte by byte, the same on any mesh and two processes."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from mrl_jax import contracts, sharding
from mrl_jax.data import feed, folder, source
from mrl_jax.embed import encode, export, files, vectors
from mrl_jax.inputs import image
from tests.samples import processes

SIZES = {'train': 103, 'validation': 20}
META = {'step': 7, 'dims': [2, 4]}
NAMES = tuple(f'class {i}' for i in range(70_010))


class Stopped(Exception):
  """What ends an export half way."""


def material(split):
  rng = np.random.default_rng(len(split))
  x = rng.normal(size=(SIZES[split], 4)).astype(np.float32)
  return x, rng.integers(0, 10, SIZES[split]) + 70_000


def embed(split, start, stop):
  x, y = material(split)
  return vectors.Vectors(x[start:stop], y[start:stop])


def contents(folder):
  return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


def exported(folder, embed=embed, sizes=SIZES, **options):
  options = dict(meta=META, names=NAMES, part_rows=16) | options
  export.run(embed, sizes, folder, **options)
  return contents(folder)


def test_what_stands_in_the_folder(tmp_path):
  written = set(exported(tmp_path / 'e'))
  assert written == {
    'meta.json',
    *(
      f'{split}.{kind}'
      for split in SIZES
      for kind in ('npy', 'parquet', 'progress.json')
    ),
  }
  meta = json.loads((tmp_path / 'e' / 'meta.json').read_text())
  assert meta['rows'] == SIZES and meta['normalised'] is False
  assert meta['dtype'] == 'float32' and meta['step'] == 7
  for split in SIZES:
    x, y = material(split)
    stored = np.load(tmp_path / 'e' / f'{split}.npy', mmap_mode='r')
    np.testing.assert_array_equal(stored, x)
    table = parquet.read_table(tmp_path / 'e' / f'{split}.parquet').to_pydict()
    assert table['id'] == list(range(len(x)))
    assert table['label'] == y.tolist()
    assert table['class'] == [f'class {label}' for label in y]
    found, names = files.read(f'{tmp_path / "e"}:{split}')
    np.testing.assert_array_equal(found.embeddings, x)
    np.testing.assert_array_equal(found.labels, y)
    assert names == NAMES


def test_vectors_without_labels_have_none_when_read_back(tmp_path):
  def bare(split, start, stop):
    return vectors.Vectors(embed(split, start, stop).embeddings)

  written = exported(tmp_path, bare, names=())
  assert not any('labels' in name for name in written)
  table = parquet.read_table(tmp_path / 'train.parquet').to_pydict()
  assert table == {'id': list(range(SIZES['train']))}
  found, names = files.read(f'{tmp_path}:train')
  assert found.labels is None and names == ()
  np.testing.assert_array_equal(found.embeddings, material('train')[0])


@pytest.mark.parametrize('calls', [0, 1, 3, 6, 7, 8])
def test_a_stopped_export_goes_on_byte_for_byte(tmp_path, calls, capsys):
  whole = exported(tmp_path / 'whole')
  made = []

  def stops(split, start, stop):
    if len(made) == calls:
      raise Stopped
    made.append((split, start))
    return embed(split, start, stop)

  with pytest.raises(Stopped):
    exported(tmp_path / 'parts', stops)
  again = []

  def counts(split, start, stop):
    again.append((split, start))
    return embed(split, start, stop)

  capsys.readouterr()
  assert exported(tmp_path / 'parts', counts) == whole
  assert len(made) + len(again) == 7 + 2 and not set(made) & set(again)
  assert ('are there already' in capsys.readouterr().out) == (calls > 0)
  assert exported(tmp_path / 'parts', stops) == whole  # nothing is left to do


def test_names_stand_in_the_table_however_often_it_was_stopped(tmp_path):
  """Names with breaks and odd letters, and a part that was written twice."""
  names = np.array([f'ü{i}\n' for i in range(103)])
  calls = []

  def named(split, start, stop):
    calls.append(start)
    if len(calls) in (3, 6):
      raise Stopped
    x, y = material(split)
    return vectors.Vectors(x[start:stop], y[start:stop], names[start:stop])

  for _ in range(2):
    with pytest.raises(Stopped):
      exported(tmp_path, named)
    with open(tmp_path / 'train.ids.jsonl', 'a', encoding='utf-8') as file:
      file.write('"torn"\n')  # of a part that was not finished
  written = exported(tmp_path, named)
  assert 'train.ids.jsonl' not in written
  found, _ = files.read(f'{tmp_path}:train')
  np.testing.assert_array_equal(found.ids, names)
  np.testing.assert_array_equal(found.labels, material('train')[1])


def test_a_write_cut_short_is_done_again(tmp_path, monkeypatch):
  whole, written = exported(tmp_path / 'whole'), []

  def torn(path, start, rows):
    written.append(start)
    if len(written) == 6:  # labels of the third part
      raise OSError('disk full')
    real(path, start, rows)

  real = export.write_rows
  monkeypatch.setattr(export, 'write_rows', torn)
  with pytest.raises(OSError, match='disk full'):
    exported(tmp_path / 'parts')
  progress = json.loads((tmp_path / 'parts/train.progress.json').read_text())
  assert progress == {'rows': 32}
  with pytest.raises(ValueError, match='not exported to its end'):
    files.read(f'{tmp_path / "parts"}:train')
  monkeypatch.setattr(export, 'write_rows', real)
  assert exported(tmp_path / 'parts') == whole


def test_a_table_that_was_not_reached_is_written(tmp_path, monkeypatch):
  whole = exported(tmp_path / 'whole')
  with monkeypatch.context() as patch:
    patch.setattr(export, 'write_table', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      exported(tmp_path / 'parts')
  assert exported(tmp_path / 'parts') == whole


def test_float16_and_one_split_after_the_other(tmp_path):
  one = {'train': SIZES['train']}
  exported(tmp_path / 'e', sizes=one, dtype='float16')
  exported(tmp_path / 'e', dtype='float16', part_rows=50)
  stored = np.load(tmp_path / 'e' / 'train.npy')
  np.testing.assert_array_equal(stored, material('train')[0].astype('float16'))
  meta = json.loads((tmp_path / 'e' / 'meta.json').read_text())
  assert meta['rows'] == SIZES
  exported(tmp_path / 'e', sizes=one, dtype='float16')
  meta = json.loads((tmp_path / 'e' / 'meta.json').read_text())
  assert meta['rows'] == SIZES  # asking for less forgets nothing


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    (dict(meta=META | {'step': 8}), 'export with step=7, this one has 8'),
    (dict(dtype='float16'), 'dtype=float32, this one has float16'),
    (dict(sizes=SIZES | {'train': 104}), 'train rows=103, this one has 104'),
    (dict(names=('a',)), 'classes='),
  ],
)
def test_another_export_is_refused(tmp_path, changed, message):
  before = exported(tmp_path)
  with pytest.raises(ValueError, match=message) as error:
    exported(tmp_path, **changed)
  assert len(str(error.value)) < 400 and '\n' not in str(error.value)
  assert contents(tmp_path) == before


def test_bad_values_are_refused(tmp_path):
  with pytest.raises(ValueError, match='dtype=int8 is not one of float32'):
    exported(tmp_path / 'a', dtype='int8')
  with pytest.raises(ValueError, match='part_rows=0'):
    exported(tmp_path / 'a', part_rows=0)

  def large(split, start, stop):
    found = embed(split, start, stop)
    if start == 32:
      found.embeddings[3, 1] = 1e6
    return found

  with pytest.raises(ValueError, match='row 35 is not finite in float16; exp'):
    exported(tmp_path / 'b', large, dtype='float16')

  def short(split, start, stop):
    return embed(split, start, stop - 1)

  with pytest.raises(ValueError, match='15 rows came where 16 from row 0'):
    exported(tmp_path / 'c', short)
  exported(tmp_path / 'd')
  (tmp_path / 'd' / 'train.npy').write_bytes(b'no')
  with pytest.raises(ValueError, match='delete both'):
    exported(tmp_path / 'd')
  (tmp_path / 'd' / 'train.progress.json').unlink()
  (tmp_path / 'd' / 'train.npy').unlink()
  assert exported(tmp_path / 'd') == exported(tmp_path / 'whole')


def images_feed(mesh):
  """Images whose embedding is exact on any device."""
  rng = np.random.default_rng(0)
  sides = [
    source.InMemory(
      rng.integers(0, 256, (n, 2, 2, 1)).astype(np.uint8),
      rng.integers(0, 9, n),
    )
    for n in SIZES.values()
  ]
  facts = contracts.Facts({'image': {'channels': 1}}, NAMES[:9])
  return feed.Feed(
    source.Split(*sides, facts),
    {'image': image.Image(2, eval_crop=1.0, channels=1)},
    mesh,
    feed.Loading('images', 0, 16, 16, threads=2, workers=0),
  )


def export_images(folder, mesh):
  def flat(scale, batch):
    pixels = batch['image'].reshape(len(batch['image']), -1)
    return scale * pixels.astype(jnp.float32) / 8

  embedder = encode.Embedder(flat, images_feed(mesh), mesh)
  exported(
    folder,
    lambda split, **part: embedder(jnp.float32(3), split, **part),
    names=NAMES[:9],
  )


def test_eight_devices_write_what_one_does(tmp_path):
  for count in (1, 8):
    mesh = sharding.make_mesh(devices=jax.devices()[:count])
    export_images(tmp_path / str(count), mesh)
  assert contents(tmp_path / '1') == contents(tmp_path / '8')


WORKER = """
import sys
from mrl_jax import sharding
sharding.initialise(sys.argv[2])
from tests.embed import test_export
test_export.export_images(sys.argv[1], sharding.make_mesh())
"""


@pytest.mark.slow
def test_two_processes_write_one_folder(tmp_path):
  words = (tmp_path / 'pair', '{place}')
  first, second = processes.connected(WORKER, *words, devices=2)
  assert 'rows/s' in first.out and 'rows/s' not in second.out
  export_images(tmp_path / 'alone', sharding.make_mesh())
  assert contents(tmp_path / 'pair') == contents(tmp_path / 'alone')


def test_names_of_image_files_are_exported(tmp_path):
  """From a folder of images through the feed and the encoder to the table."""
  for i in range(12):
    path = tmp_path / 'photos' / f'class {i % 2}' / f'ü {i}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (4, 4), 20 * i).save(path)
  records = folder.load(path=str(tmp_path / 'photos'), channels=1)
  mesh = sharding.make_mesh()
  inputs = {'image': image.Image(4, channels=1)}
  loading = feed.Loading('folder', 0, 8, 8, threads=1, workers=0)
  batches = feed.Feed(records, inputs, mesh, loading)
  embedder = encode.Embedder(
    lambda _, batch: batch['image'].reshape(len(batch['image']), -1) + 1.0,
    batches,
    mesh,
  )
  sizes = {split: batches.size(split) for split in ('train', 'validation')}
  exported(
    tmp_path / 'e',
    lambda split, **part: embedder(None, split, **part),
    sizes,
    names=records.facts.classes,
    part_rows=3,
  )
  names = []
  for split in sizes:
    vectors, classes = files.read(f'{tmp_path / "e"}:{split}')
    for name, label in zip(vectors.ids, vectors.labels):
      assert name.startswith(f'{classes[label]}/ü ')
    names += vectors.ids.tolist()
  assert sorted(names) == sorted(f'class {i % 2}/ü {i}.png' for i in range(12))
