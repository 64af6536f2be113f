"""Small files of real pixels in the forms that upstream publishes."""

import dataclasses
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from mrl_jax.data import cifar, download, fashion_mnist, source


def idx(array: np.ndarray) -> bytes:
  """The bytes of an idx file."""
  header = bytes([0, 0, 8, array.ndim])
  return header + np.asarray(array.shape, '>i4').tobytes() + array.tobytes()


def fashion(folder: Path, images, training: int) -> dict:
  """Writes the four files; returns them as fashion_mnist.FILES lists them.

  The first `training` of `images` [n h w] are the training split; labels are
  the last digit of an image's place in its split.
  """
  files = {}
  parts = {'train': images[:training], 't10k': images[training:]}
  for split, pixels in parts.items():
    labels = (np.arange(len(pixels)) % 10).astype(np.uint8)
    for kind, array in (('images-idx3', pixels), ('labels-idx1', labels)):
      name, raw = f'{split}-{kind}-ubyte.gz', idx(array)
      (folder / name).write_bytes(gzip.compress(raw))
      files[name] = ('', hashlib.sha256(raw).hexdigest())
  return files


def cifar_archive(folder: Path, photos, archive, classes: int):
  """Writes the .tar.gz; returns `archive` with the checksum of that file.

  Each of its files holds 20 photos; photo i has the label i % classes.
  """

  def record(i):
    coarse = [7] if archive.label_bytes == 2 else []
    planes = photos[i].transpose(2, 0, 1)
    return bytes([*coarse, i % classes]) + planes.tobytes()

  path = folder / archive.url.rsplit('/', 1)[1]
  with tarfile.open(path, 'w:gz') as tar:
    for file, name in enumerate((*archive.train, *archive.test)):
      data = b''.join(record(file * 20 + i) for i in range(20))
      member = tarfile.TarInfo(f'cifar-binary/{name}')
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
  return dataclasses.replace(archive, checksum=download.sha256(path))


def image_tree(
  root: Path, photos, classes=('cat', 'dog'), count=10, suffix='png'
) -> None:
  """Writes root/<class>/<i>.<suffix>, `count` photos for each class."""
  for c, name in enumerate(classes):
    (root / name).mkdir(parents=True)
    for i in range(count):
      image = Image.fromarray(photos[c * count + i])
      image.save(root / name / f'{i}.{suffix}')


class Imagenet2012(source.ArrayBuilder, skip_registration=True):
  """Stands in for the prepared ImageNet: real patches, its folder layout."""

  name = 'imagenet2012'
  SHAPE = (None, None, 3)
  CLASSES = [f'class {i}' for i in range(10)]
  HOMEPAGE = 'https://www.image-net.org'


def prepare_imagenet(folder: Path, photos) -> None:
  """Prepares 40 photos of ten classes for each split."""
  labels = np.arange(40) % 10
  splits = ('train', 'validation')
  Imagenet2012(
    read=lambda: {split: (photos[:40], labels) for split in splits},
    data_dir=str(folder),
  ).download_and_prepare()


def everything(folder: Path, photos, monkeypatch) -> None:
  """Writes small files behind every source of the configs.

  The folder source finds its images in folder/images.
  """
  for name in ('CIFAR10', 'CIFAR100'):
    archive = cifar_archive(folder, photos, getattr(cifar, name), 10)
    monkeypatch.setattr(cifar, name, archive)
  grey = photos[:60, :28, :28].mean(-1).astype(np.uint8)
  monkeypatch.setattr(fashion_mnist, 'FILES', fashion(folder, grey, 40))
  image_tree(folder / 'images', photos, count=20, suffix='jpg')
