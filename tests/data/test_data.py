"""Sources, transforms and the pipeline, on real pixels."""

import collections
import gzip
import hashlib
import io
import re
import socket
import tarfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mrl_jax import prepare, sharding
from mrl_jax.data import (
  SOURCES,
  cifar,
  digits,
  download,
  fashion_mnist,
  feed,
  folder,
  pipeline,
  prepared,
  randaugment,
  source,
  transforms,
)


def test_digits_are_scikit_learns(data_dir):
  data = digits.load(str(data_dir))
  assert (len(data.train), len(data.validation)) == (1437, 360)
  assert data.classes == tuple('0123456789')
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


def idx(array):
  header = bytes([0, 0, 8, array.ndim])
  return header + np.asarray(array.shape, '>i4').tobytes() + array.tobytes()


@pytest.fixture
def small_fashion(tmp_path, monkeypatch, photos):
  """Four idx files of real patches in the upstream form."""
  grey = photos[:40, :28, :28].mean(-1).astype(np.uint8)
  parts = {
    'train-images-idx3-ubyte.gz': grey[:30],
    'train-labels-idx1-ubyte.gz': (np.arange(30) % 10).astype(np.uint8),
    't10k-images-idx3-ubyte.gz': grey[30:],
    't10k-labels-idx1-ubyte.gz': np.arange(10).astype(np.uint8),
  }
  files = {}
  upstream = tmp_path / 'upstream'
  upstream.mkdir()
  for name, array in parts.items():
    raw = idx(array)
    (upstream / name).write_bytes(gzip.compress(raw))
    files[name] = ('', hashlib.sha256(raw).hexdigest())
  monkeypatch.setattr(fashion_mnist, 'FILES', files)
  return upstream, grey


def test_fashion_mnist_from_a_folder(tmp_path, small_fashion):
  upstream, grey = small_fashion
  data = fashion_mnist.load(str(tmp_path / 'tfds'), str(upstream))
  assert len(data.train) == 30 and len(data.validation) == 10
  by_label = {x['label']: x['image'][..., 0] for x in data.validation}
  for label in range(10):
    np.testing.assert_array_equal(by_label[label], grey[30 + label])


def test_damaged_or_missing_files_are_named(tmp_path, small_fashion):
  upstream, _ = small_fashion
  name = 'train-images-idx3-ubyte.gz'
  good = (upstream / name).read_bytes()
  (upstream / name).write_bytes(good[:-20])
  with pytest.raises(ValueError, match=f'{name} is not a whole gzip'):
    fashion_mnist.read(str(upstream), tmp_path)
  raw = bytearray(gzip.decompress(good))
  raw[100] ^= 1
  (upstream / name).write_bytes(gzip.compress(bytes(raw)))
  with pytest.raises(ValueError, match=f'{name} is damaged'):
    fashion_mnist.read(str(upstream), tmp_path)
  (upstream / name).unlink()
  with pytest.raises(ValueError, match=f'has no {name}'):
    fashion_mnist.read(str(upstream), tmp_path)
  with pytest.raises(ValueError, match='not an idx file'):
    fashion_mnist.parse_idx(b'\x89PNG')


def test_offline_says_what_to_do_at_once(tmp_path, monkeypatch):
  def refuse(*_, **__):
    raise socket.gaierror(-2, 'Name or service not known')

  monkeypatch.setattr(socket, 'getaddrinfo', refuse)
  monkeypatch.setattr(fashion_mnist, 'DEBIAN', tmp_path / 'none')
  started = time.monotonic()
  with pytest.raises(ValueError, match='install the Debian package'):
    fashion_mnist.load(str(tmp_path))
  with pytest.raises(ValueError, match='cifar-10.* put the file in a folder'):
    cifar.load_cifar10(str(tmp_path))
  assert time.monotonic() - started < 10
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


def cifar_archive(path, photos, archive, classes):
  """A .tar.gz in the upstream binary form, of real patches."""

  def record(i):
    coarse = [7] if archive.label_bytes == 2 else []
    planes = photos[i].transpose(2, 0, 1)
    return bytes([*coarse, i % classes]) + planes.tobytes()

  with tarfile.open(path, 'w:gz') as tar:
    for part, name in enumerate((*archive.train, *archive.test)):
      data = b''.join(record(part * 20 + i) for i in range(20))
      member = tarfile.TarInfo(f'cifar-binary/{name}')
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
  ('name', 'classes', 'train'), [('cifar10', 10, 100), ('cifar100', 100, 20)]
)
def test_cifar_from_the_upstream_archive(
  tmp_path, photos, monkeypatch, name, classes, train
):
  import dataclasses

  archive = getattr(cifar, name.upper())
  path = tmp_path / archive.url.rsplit('/', 1)[1]
  cifar_archive(path, photos, archive, classes)
  monkeypatch.setattr(
    cifar,
    name.upper(),
    dataclasses.replace(archive, checksum=download.sha256(path)),
  )
  data = SOURCES[name](str(tmp_path / 'tfds'), str(tmp_path))
  assert len(data.train) == train and len(data.validation) == 20
  assert len(data.classes) == classes
  found = {x['image'].tobytes(): x['label'] for x in data.train}
  for i in range(train):
    assert photos[i].tobytes() in found
  with pytest.raises(ValueError, match='is damaged'):
    monkeypatch.setattr(cifar, name.upper(), archive)
    SOURCES[name](str(tmp_path / 'other'), str(tmp_path))


def test_cifar_records_that_do_not_fit():
  with pytest.raises(ValueError, match='3072 bytes are not records of 3073'):
    cifar.parse_records(b'0' * 3072, 1)


def image_tree(root, photos, classes=('cat', 'dog'), count=10):
  for c, name in enumerate(classes):
    (root / name).mkdir(parents=True)
    for i in range(count):
      Image.fromarray(photos[c * count + i]).save(root / name / f'{i}.png')


def test_folder_split_by_fraction(tmp_path, photos):
  image_tree(tmp_path, photos)
  data = folder.load(path=str(tmp_path), validation_fraction=0.2)
  assert data.classes == ('cat', 'dog')
  assert (len(data.train), len(data.validation)) == (16, 4)
  assert not set(data.train.paths) & set(data.validation.paths)
  np.testing.assert_array_equal(
    folder.load(path=str(tmp_path)).validation[0]['image'], photos[0]
  )
  grey = folder.load(path=str(tmp_path), channels=1)
  assert grey.train[0]['image'].shape == (32, 32, 1)


def test_folder_split_by_folder_and_broken_files(tmp_path, photos, capsys):
  image_tree(tmp_path / 'train', photos)
  image_tree(tmp_path / 'val', photos, count=3)
  whole = tmp_path / 'train' / 'cat' / '0.png'
  whole.write_bytes(whole.read_bytes()[:200])
  (tmp_path / 'train' / 'dog' / 'text.jpg').write_text('no image')
  data = folder.load(path=str(tmp_path))
  assert (len(data.train), len(data.validation)) == (19, 6)
  said = capsys.readouterr().out
  assert '2 broken image files are left out' in said
  assert '0.png' in said and 'text.jpg' in said


def test_folders_that_do_not_fit(tmp_path, photos):
  with pytest.raises(ValueError, match='path is empty'):
    folder.load()
  with pytest.raises(ValueError, match='is not a folder'):
    folder.load(path=str(tmp_path / 'nowhere'))
  with pytest.raises(ValueError, match='no class sub-folders'):
    folder.load(path=str(tmp_path))
  image_tree(tmp_path / 'train', photos)
  image_tree(tmp_path / 'val', photos, classes=('cat', 'horse'))
  with pytest.raises(ValueError, match='classes that train has not: horse'):
    folder.load(path=str(tmp_path))
  (tmp_path / 'one' / 'cat').mkdir(parents=True)
  Image.fromarray(photos[0]).save(tmp_path / 'one' / 'cat' / '0.png')
  assert len(folder.load(path=str(tmp_path / 'one')).validation) == 0
  with pytest.raises(ValueError, match='validation_fraction=1.5'):
    folder.load(path=str(tmp_path / 'train'), validation_fraction=1.5)


class Imagenet2012(source.ArrayBuilder, skip_registration=True):
  """Stands in for the prepared ImageNet: real patches, its folder layout."""

  name = 'imagenet2012'
  SHAPE = (None, None, 3)
  CLASSES = [f'class {i}' for i in range(10)]
  HOMEPAGE = 'https://www.image-net.org'


def prepare_imagenet(folder, photos, splits=('train', 'validation')):
  labels = np.arange(40) % 10
  Imagenet2012(
    read=lambda: {split: (photos[:40], labels) for split in splits},
    data_dir=str(folder),
  ).download_and_prepare()


def test_prepared_sets_are_read_and_unprepared_ones_explained(tmp_path, photos):
  with pytest.raises(
    ValueError, match='no prepared dataset.*mrl_jax.prepare imagenet'
  ):
    prepared.load(str(tmp_path), 'imagenet2012')
  prepare_imagenet(tmp_path, photos)
  data = prepared.load(
    str(tmp_path), 'imagenet2012', train='train[:75%]', validation='train[75%:]'
  )
  assert (len(data.train), len(data.validation)) == (30, 10)
  assert data.train[0]['image'].shape == (32, 32, 3)
  assert len(data.classes) == 10
  with pytest.raises(ValueError, match='has the splits train, validation'):
    prepared.load(str(tmp_path), 'imagenet2012', validation='test')


def test_preparing_without_tensorflow_says_so(monkeypatch, capsys):
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: False)
  assert prepare.main(['cifar10']) == 2
  assert "pip install -e '.[prepare]'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ('dataset', 'words'),
  [
    ('no_such_set', "'no_such_set' is not in the catalogue"),
    ('imagenet2012:0.0.1', "'imagenet2012:0.0.1': .*0.0.1.*"),
    ('imagenet2012', 'downloads/manual .* ILSVRC2012_img_train.tar'),
  ],
)
def test_sets_that_cannot_be_prepared(
  dataset, words, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: True)
  assert prepare.main([dataset, f'--data_dir={tmp_path}']) == 2
  said = capsys.readouterr().err.splitlines()[-1]
  assert re.match(f'error: .*{words}', said), said


# --- transforms ---------------------------------------------------------------


def test_normalise_and_mixup_by_hand():
  images = jnp.asarray([[[[0, 255]]], [[[255, 0]]]], jnp.uint8)
  x = transforms.normalise(images, (0.5, 0.0), (0.5, 2.0))
  np.testing.assert_allclose(x[:, 0, 0], [[-1, 0.5], [1, 0]])
  mixed, labels, shares = transforms.mixup(
    x, jnp.asarray([3, 7]), 0.5, jax.random.key(0)
  )
  np.testing.assert_array_equal(labels, [[3, 7], [7, 3]])
  share = float(shares[0, 0])
  assert 0.5 <= share < 1
  np.testing.assert_allclose(mixed[0], share * x[0] + (1 - share) * x[1])
  np.testing.assert_allclose(shares.sum(1), 1)


def test_pad_crop_only_shifts(photos):
  rng = np.random.default_rng(0)
  for _ in range(20):
    out = transforms.pad_crop(photos[0], (32, 32), 2, rng)
    padded = np.pad(photos[0], ((2, 2), (2, 2), (0, 0)))
    assert any(
      np.array_equal(out, padded[y : y + 32, x : x + 32])
      for y in range(5)
      for x in range(5)
    )


def test_crops_have_the_size_and_stay_inside(photos):
  rng = np.random.default_rng(0)
  wide = np.concatenate([photos[0], photos[1]], axis=1)
  for image in (wide, wide.transpose(1, 0, 2), wide[..., :1]):
    for size in ((16, 24), (48, 48)):
      out = transforms.random_resized_crop(image, size, (0.05, 1.0), rng)
      assert out.shape == (*size, image.shape[-1]) and out.dtype == np.uint8
      assert out.min() >= image.min() and out.max() <= image.max()


def test_centre_crop_takes_the_centre():
  image = np.zeros((64, 96, 1), np.uint8)
  image[4:60, 20:76] = 200  # the centred 56 of 64: share 0.875
  out = transforms.centre_crop(image, (28, 28), 0.875)
  assert out.shape == (28, 28, 1)
  assert (out[1:-1, 1:-1] == 200).all()  # the resize blends at the rim
  assert transforms.centre_crop(image, (64, 96), 0.5) is image


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', randaugment.OPERATIONS)
def test_every_randaugment_operation(photos, name, channels):
  picture = photos[-1][..., :channels]  # dark and bright pixels
  image = Image.fromarray(picture.squeeze())
  rng = np.random.default_rng(0)
  operation = randaugment.OPERATIONS[name]
  out = np.asarray(operation(image, 1.0, 1, rng))
  assert out.shape == picture.squeeze().shape and out.dtype == np.uint8
  if not (name == 'color' and channels == 1):
    assert not np.array_equal(out, picture.squeeze())


def test_train_transform_is_a_function_of_its_generator(photos):
  transform = transforms.make_train_transform(
    (32, 32), 'random_resized', flip=True, randaugment_layers=2
  )
  a, b, c = (transform(photos[0], np.random.default_rng(s)) for s in (0, 0, 1))
  np.testing.assert_array_equal(a, b)
  assert not np.array_equal(a, c)
  with pytest.raises(ValueError, match="crop='centre'"):
    transforms.make_train_transform((8, 8), 'centre')
  with pytest.raises(ValueError, match='scale'):
    transforms.make_train_transform((8, 8), scale=(0.5, 2))


# --- the pipeline -------------------------------------------------------------


def toy(count=25):
  """Examples that carry their own index in every pixel."""
  images = np.tile(
    np.arange(count, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1)
  )
  return source.InMemory(images, np.arange(count))


def noisy(image, rng):
  return np.concatenate(
    [image, np.full((2, 2, 1), rng.integers(256), np.uint8)], axis=-1
  )


def stream(rows, steps, first=0, batch_size=8, **options):
  batches = pipeline.train_batches(
    toy(),
    noisy,
    seed=1,
    batch_size=batch_size,
    rows=np.asarray(rows),
    first_step=first,
    **options,
  )
  return [next(batches) for _ in range(steps)]


def test_every_epoch_is_a_new_permutation():
  labels = np.concatenate([b['label'] for b in stream(range(8), 25)])
  epochs = labels[: 25 * 8].reshape(8, 25)
  for epoch in epochs:
    assert sorted(epoch) == list(range(25))
  assert len({tuple(e) for e in epochs}) == 8


def test_batches_do_not_depend_on_the_number_of_processes():
  whole = stream(range(8), 6)
  halves = [stream(range(0, 4), 6), stream(range(4, 8), 6)]
  odd = stream([0, 1, 6, 7], 6)
  for step in range(6):
    for key in ('image', 'label'):
      joined = np.concatenate([h[step][key] for h in halves])
      np.testing.assert_array_equal(joined, whole[step][key])
      np.testing.assert_array_equal(
        odd[step][key], whole[step][key][[0, 1, 6, 7]]
      )


@pytest.mark.parametrize('threads', [1, 4])
def test_starting_later_gives_the_later_batches(threads):
  whole = stream(range(8), 9)
  tail = stream(range(8), 4, first=5, threads=threads)
  for a, b in zip(whole[5:], tail):
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_array_equal(a['label'], b['label'])
  assert len({b['image'][..., 1].tobytes() for b in whole}) == 9  # augmented


def test_worker_processes_give_the_same_batches():
  for a, b in zip(stream(range(8), 3, first=2), stream_of_workers(3, first=2)):
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_array_equal(a['label'], b['label'])


def stream_of_workers(steps, first):
  return stream(range(8), steps, first=first, workers=2)


@pytest.mark.parametrize('batch_size', [1, 5, 8, 25, 40])
@pytest.mark.parametrize('processes', [1, 2, 4])
def test_evaluation_counts_every_example_once(batch_size, processes):
  size = batch_size * processes  # divisible, as checked at the start
  seen, counts = [], set()
  for process in range(processes):
    rows = np.arange(process * batch_size, (process + 1) * batch_size)
    batches = list(
      pipeline.evaluation_batches(
        toy(), lambda image: image, batch_size=size, rows=rows
      )
    )
    counts.add(len(batches))
    for batch in batches:
      assert batch['image'].shape == (batch_size, 2, 2, 1)
      seen += batch['label'][batch['mask'] > 0].tolist()
  assert sorted(seen) == list(range(25))
  assert len(counts) == 1


def test_feed_puts_batches_on_the_mesh_and_polls(data_dir):
  mesh = sharding.make_mesh(2, 2, 2)
  feeder = feed.Feed(
    digits.load(str(data_dir)),
    mesh,
    train_transform=lambda image, rng: image,
    image_size=(8, 8),
    eval_crop=0.875,
    batch_size=16,
    eval_batch_size=128,
    seed=0,
    threads=1,
    workers=0,
  )
  polled = []
  feeder.poll = lambda: polled.append(True)
  masks = [np.asarray(b['mask']) for b in feeder.batches('validation')]
  assert sum(m.sum() for m in masks) == 360 and len(masks) == len(polled) == 3
  first, second = feeder.training(0), feeder.training(1)
  next(first)
  np.testing.assert_array_equal(
    np.asarray(next(first)['image']), np.asarray(next(second)['image'])
  )
