"""`cifar10` and `cifar100`: 60,000 32x32 colour images (Krizhevsky, 2009)."""

import dataclasses
import tarfile
from pathlib import Path

import numpy as np

from mrl_jax.data import download, source

HOMEPAGE = 'https://www.cs.toronto.edu/~kriz/cifar.html'
ADVICE = (
  'offline? put the file in a folder and set --config.data.source.path to it'
)


@dataclasses.dataclass(frozen=True)
class Archive:
  """An upstream .tar.gz of records: label bytes, then 3,072 bytes of pixels."""

  url: str
  checksum: str
  train: tuple[str, ...]
  test: tuple[str, ...]
  label_bytes: int


CIFAR10 = Archive(
  'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
  'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
  tuple(f'data_batch_{i}.bin' for i in range(1, 6)),
  ('test_batch.bin',),
  1,
)
CIFAR100 = Archive(
  'https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
  '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec',
  ('train.bin',),
  ('test.bin',),
  2,  # a coarse label, then the fine one
)


class MrlCifar10(source.ArrayBuilder, skip_registration=True):
  """32x32 colour images of ten classes, 50,000 train, 10,000 test."""

  name = 'mrl_cifar10'
  SHAPE = (32, 32, 3)
  CLASSES = (
    'airplane automobile bird cat deer dog frog horse ship truck'.split()
  )
  HOMEPAGE = HOMEPAGE


class MrlCifar100(source.ArrayBuilder, skip_registration=True):
  """32x32 colour images of 100 fine classes, 50,000 train, 10,000 test."""

  name = 'mrl_cifar100'
  SHAPE = (32, 32, 3)
  CLASSES = """apple aquarium_fish baby bear beaver bed bee beetle bicycle
    bottle bowl boy bridge bus butterfly camel can castle caterpillar cattle
    chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
    lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
    mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon
    ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm""".split()
  HOMEPAGE = HOMEPAGE


def parse_records(
  data: bytes, label_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
  """(images [n 32 32 3], labels [n]) of the records of one file.

  Of several label bytes, the last one is taken.

  Raises:
    ValueError: if the size is not a whole number of records.
  """
  size = label_bytes + 3072
  if not data or len(data) % size:
    raise ValueError(f'{len(data)} bytes are not records of {size} bytes')
  records = np.frombuffer(data, np.uint8).reshape(-1, size)
  planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
  return planes.transpose(0, 2, 3, 1), records[:, label_bytes - 1]


def read(archive: Archive, folder: str, downloads: Path) -> dict:
  """(images, labels) by split, from `folder` or downloaded."""
  name = archive.url.rsplit('/', 1)[1]
  if folder:
    path = Path(folder).expanduser() / name
    if not path.exists():
      raise ValueError(f'data.source.path={folder} has no {name}')
    download.verify(path, download.sha256(path), archive.checksum)
  else:
    path = download.fetch(archive.url, archive.checksum, downloads, ADVICE)
  return _read_archive(path, archive)


def _read_archive(path: Path, archive: Archive) -> dict:
  with tarfile.open(path) as tar:
    members = {Path(member.name).name: member for member in tar}

    def split(names):
      parts = [
        parse_records(
          tar.extractfile(members[name]).read(), archive.label_bytes
        )
        for name in names
      ]
      return tuple(np.concatenate(arrays) for arrays in zip(*parts))

    return {'train': split(archive.train), 'test': split(archive.test)}


def load_cifar10(data_dir: str = '', path: str = '') -> source.Split:
  """CIFAR-10; `path` is a folder with the .tar.gz, '' downloads it."""
  return load(MrlCifar10, CIFAR10, data_dir, path)


def load_cifar100(data_dir: str = '', path: str = '') -> source.Split:
  """CIFAR-100; `path` is a folder with the .tar.gz, '' downloads it."""
  return load(MrlCifar100, CIFAR100, data_dir, path)


def load(builder: type, archive: Archive, data_dir: str, path: str):
  """The source of an archive, prepared on first use."""
  downloads = Path(data_dir or source.default_data_dir()).expanduser()
  return source.load_built(
    builder, data_dir, lambda: read(archive, path, downloads / 'downloads')
  )
