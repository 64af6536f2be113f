"""Sources on small upstream files of real pixels."""

import collections
import gzip
import hashlib
import socket
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mrl_jax.data import (
  SOURCES,
  cifar,
  digits,
  download,
  fashion_mnist,
  folder,
  prepared,
)
from tests.samples import upstream


def test_digits_are_scikit_learns(data_dir):
  data = digits.load(str(data_dir))
  assert (len(data.train), len(data.validation)) == (1437, 360)
  assert data.facts.classes == tuple('0123456789')
  bundle = load_digits()
  # TFDS stores a split shuffled: compare as multisets of (pixels, label).
  ours = collections.Counter(
    (x['image'].tobytes(), x['label']) for x in data.validation
  )
  theirs = collections.Counter(
    ((image * 15).astype(np.uint8).tobytes(), int(label))
    for image, label in zip(bundle.images[::5], bundle.target[::5])
  )
  assert ours == theirs


@pytest.fixture
def small_fashion(tmp_path, monkeypatch, photos):
  """(folder of four idx files in the upstream form, their images)."""
  grey = photos[:40, :28, :28].mean(-1).astype(np.uint8)
  files = tmp_path / 'upstream'
  files.mkdir()
  monkeypatch.setattr(fashion_mnist, 'FILES', upstream.fashion(files, grey, 30))
  return files, grey


def test_fashion_mnist_from_a_folder(tmp_path, small_fashion):
  files, grey = small_fashion
  data = fashion_mnist.load(str(tmp_path / 'tfds'), str(files))
  assert len(data.train) == 30 and len(data.validation) == 10
  by_label = {x['label']: x['image'][..., 0] for x in data.validation}
  for label in range(10):
    np.testing.assert_array_equal(by_label[label], grey[30 + label])


def test_damaged_or_missing_files_are_named(tmp_path, small_fashion):
  files, _ = small_fashion
  name = 'train-images-idx3-ubyte.gz'
  good = (files / name).read_bytes()
  (files / name).write_bytes(good[:-20])
  with pytest.raises(ValueError, match=f'{name} is not a whole gzip'):
    fashion_mnist.read(str(files), tmp_path)
  raw = bytearray(gzip.decompress(good))
  raw[100] ^= 1
  (files / name).write_bytes(gzip.compress(bytes(raw)))
  with pytest.raises(ValueError, match=f'{name} is damaged'):
    fashion_mnist.read(str(files), tmp_path)
  (files / name).unlink()
  with pytest.raises(ValueError, match=f'has no {name}'):
    fashion_mnist.read(str(files), tmp_path)
  with pytest.raises(ValueError, match='not an idx file'):
    fashion_mnist.parse_idx(b'\x89PNG')


def test_offline_says_what_to_do_at_once(tmp_path, monkeypatch):
  """Each host is asked for once: nothing waits and tries again."""
  asked = []

  def refuse(host, *_, **__):
    asked.append(host)
    raise socket.gaierror(-2, 'Name or service not known')

  monkeypatch.setattr(socket, 'getaddrinfo', refuse)
  monkeypatch.setattr(fashion_mnist, 'DEBIAN', tmp_path / 'none')
  monkeypatch.setattr(time, 'sleep', lambda _: pytest.fail('it waits'))
  with pytest.raises(ValueError, match='install the Debian package'):
    fashion_mnist.load(str(tmp_path))
  with pytest.raises(ValueError, match='cifar-10.* put the file in a folder'):
    cifar.load_cifar10(str(tmp_path))
  assert len(asked) == len(set(asked)) == 2
  assert not list(tmp_path.rglob('*.part'))


def test_downloads_are_verified(tmp_path):
  (tmp_path / 'up').mkdir()
  (tmp_path / 'up' / 'a.bin').write_bytes(b'hello')
  url = (tmp_path / 'up' / 'a.bin').as_uri()
  good = hashlib.sha256(b'hello').hexdigest()
  path = download.fetch(url, good, tmp_path / 'down', '')
  assert path.read_bytes() == b'hello'
  with pytest.raises(ValueError, match='a.bin is damaged'):
    download.fetch(url, '0' * 64, tmp_path / 'down', '')


@pytest.mark.parametrize(
  ('name', 'classes', 'train'), [('cifar10', 10, 100), ('cifar100', 100, 20)]
)
def test_cifar_from_the_upstream_archive(
  tmp_path, photos, monkeypatch, name, classes, train
):
  original = getattr(cifar, name.upper())
  archive = upstream.cifar_archive(tmp_path, photos, original, classes)
  monkeypatch.setattr(cifar, name.upper(), archive)
  data = SOURCES[name](str(tmp_path / 'tfds'), str(tmp_path))
  assert len(data.train) == train and len(data.validation) == 20
  assert len(data.facts.classes) == classes
  images = {x['image'].tobytes() for x in data.train}
  for i in range(train):
    assert photos[i].tobytes() in images
  with pytest.raises(ValueError, match='is damaged'):
    monkeypatch.setattr(cifar, name.upper(), original)
    SOURCES[name](str(tmp_path / 'other'), str(tmp_path))


def test_cifar_records_that_do_not_fit():
  with pytest.raises(ValueError, match='3072 bytes are not records of 3073'):
    cifar.parse_records(b'0' * 3072, 1)


def test_folder_split_by_fraction(tmp_path, photos):
  upstream.image_tree(tmp_path, photos)
  data = folder.load(path=str(tmp_path), validation_fraction=0.2)
  assert data.facts.classes == ('cat', 'dog')
  assert (len(data.train), len(data.validation)) == (16, 4)
  assert not set(data.train.paths) & set(data.validation.paths)
  np.testing.assert_array_equal(
    folder.load(path=str(tmp_path)).validation[0]['image'], photos[0]
  )
  grey = folder.load(path=str(tmp_path), channels=1)
  assert grey.train[0]['image'].shape == (32, 32, 1)


def test_folder_split_by_folder_and_broken_files(tmp_path, photos, capsys):
  upstream.image_tree(tmp_path / 'train', photos)
  upstream.image_tree(tmp_path / 'val', photos, count=3)
  whole = tmp_path / 'train' / 'cat' / '0.png'
  whole.write_bytes(whole.read_bytes()[:200])
  (tmp_path / 'train' / 'dog' / 'text.jpg').write_text('no image')
  data = folder.load(path=str(tmp_path))
  assert (len(data.train), len(data.validation)) == (19, 6)
  said = capsys.readouterr().out
  assert '1 left out, damaged' in said and '1 left out, not a file of' in said
  assert '0.png' in said and 'text.jpg' in said


def test_folders_that_do_not_fit(tmp_path, photos):
  with pytest.raises(ValueError, match='path is empty'):
    folder.load()
  with pytest.raises(ValueError, match='is not a folder'):
    folder.load(path=str(tmp_path / 'nowhere'))
  with pytest.raises(ValueError, match='no class sub-folders'):
    folder.load(path=str(tmp_path))
  upstream.image_tree(tmp_path / 'train', photos)
  upstream.image_tree(tmp_path / 'val', photos, classes=('cat', 'horse'))
  with pytest.raises(ValueError, match='classes that .* lacks: horse'):
    folder.load(path=str(tmp_path))
  upstream.image_tree(tmp_path / 'one', photos, classes=('cat',), count=1)
  assert len(folder.load(path=str(tmp_path / 'one')).validation) == 0
  with pytest.raises(ValueError, match='validation_fraction=1.5'):
    folder.load(path=str(tmp_path / 'train'), validation_fraction=1.5)


def test_prepared_sets_are_read_and_unprepared_ones_explained(tmp_path, photos):
  with pytest.raises(
    ValueError, match='no prepared dataset.*mrl_jax.prepare imagenet'
  ):
    prepared.load(str(tmp_path), 'imagenet2012')
  upstream.prepare_imagenet(tmp_path, photos)
  data = prepared.load(
    str(tmp_path), 'imagenet2012', train='train[:75%]', validation='train[75%:]'
  )
  assert (len(data.train), len(data.validation)) == (30, 10)
  assert data.train[0]['image'].shape == (32, 32, 3)
  assert len(data.facts.classes) == 10
  with pytest.raises(ValueError, match='has the splits train, validation'):
    prepared.load(str(tmp_path), 'imagenet2012', validation='test')
