"""`fashion_mnist`: 70,000 grey images of clothes (arXiv:1708.07747)."""

import gzip
import hashlib
from pathlib import Path

import numpy as np

from mrl_jax.data import download, source

URL = 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com'
DEBIAN = Path('/usr/share/datasets/fashion-mnist')

# SHA-256 of each downloaded .gz file, and of its decompressed bytes. Copies
# that were compressed again, like Debian's, have the second only.
FILES = {
  'train-images-idx3-ubyte.gz': (
    '3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84',
    'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
  ),
  'train-labels-idx1-ubyte.gz': (
    'a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845',
    'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
  ),
  't10k-images-idx3-ubyte.gz': (
    '346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073',
    '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
  ),
  't10k-labels-idx1-ubyte.gz': (
    '67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5',
    '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
  ),
}

ADVICE = (
  'offline? install the Debian package dataset-fashion-mnist, or put its four '
  '.gz files in a folder and set --config.data.source.path to it'
)


class MrlFashionMnist(source.ArrayBuilder, skip_registration=True):
  """28x28 grey images of ten kinds of clothes, 60,000 train, 10,000 test."""

  name = 'mrl_fashion_mnist'
  SHAPE = (28, 28, 1)
  CLASSES = [
    'T-shirt/top',
    'Trouser',
    'Pullover',
    'Dress',
    'Coat',
    'Sandal',
    'Shirt',
    'Sneaker',
    'Bag',
    'Ankle boot',
  ]
  HOMEPAGE = 'https://github.com/zalandoresearch/fashion-mnist'


def parse_idx(data: bytes) -> np.ndarray:
  """The uint8 array of an idx file: bytes 0 0 8 ndim, the sizes, the data."""
  if len(data) < 4 or data[:3] != b'\0\0\x08':
    raise ValueError('not an idx file of bytes')
  ndim = data[3]
  shape = np.frombuffer(data, '>i4', ndim, offset=4)
  return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _locate(name: str, folder: str, downloads: Path) -> Path:
  """The path of one file: in `folder`, in Debian's package, or downloaded."""
  if folder:
    path = Path(folder).expanduser() / name
    if not path.exists():
      raise ValueError(f'data.source.path={folder} has no {name}')
    return path
  if (DEBIAN / name).exists():
    return DEBIAN / name
  return download.fetch(f'{URL}/{name}', FILES[name][0], downloads, ADVICE)


def read(folder: str, downloads: Path) -> dict:
  """(images, labels) by split, from `folder` or located."""
  arrays = {}
  for name, (_, checksum) in FILES.items():
    path = _locate(name, folder, downloads)
    try:
      data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
      raise ValueError(f'{path} is not a whole gzip file: {error}') from error
    download.verify(path, hashlib.sha256(data).hexdigest(), checksum)
    arrays[name] = parse_idx(data)
  splits = {'train': 'train', 'test': 't10k'}
  return {
    split: (
      arrays[f'{prefix}-images-idx3-ubyte.gz'][..., None],
      arrays[f'{prefix}-labels-idx1-ubyte.gz'],
    )
    for split, prefix in splits.items()
  }


def load(data_dir: str = '', path: str = '') -> source.Split:
  """Fashion-MNIST; `path` is a folder with its four .gz files.

  Without a path, Debian's package is read, or the files are downloaded.
  """
  downloads = Path(data_dir or source.default_data_dir()).expanduser()
  return source.load_built(
    MrlFashionMnist, data_dir, lambda: read(path, downloads / 'downloads')
  )
