"""Images that a person has: files, folders, arrays, PIL images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mrl_jax import images
from mrl_jax.errors import UsageError
from mrl_jax.shapes import UInt8


class Opened(Sequence):
  """Images, each decoded when it is asked for: uint8 [h w c].

  Attributes:
    names: of each, its path or its number.
  """

  def __init__(self, names: Sequence[str], readers: Sequence[Callable]):
    self.names, self.readers = list(names), list(readers)

  def __len__(self) -> int:
    return len(self.readers)

  def __getitem__(  # type: ignore[override]
    self, index: int
  ) -> UInt8[np.ndarray, 'h w c']:
    try:
      return self.readers[index]()
    except images.ImageError as error:
      raise UsageError(f'image {self.names[index]}: {error}') from error


def open_images(given, channels: int, ground: str) -> Opened:
  """What a person gives as images of `channels`.

  Args:
    given: one of these, or a sequence of them: a path of a file, a path of a
      folder (all images below it, in the order of their paths; what is left
      out is printed), a PIL image, a uint8 array [h w], [h w c], [n h w c] or,
      for several grey images, [n h w].
    ground: what shows through transparent pixels.

  Raises:
    UsageError: for anything else, naming its kind.
  """
  if isinstance(given, Opened):
    return given
  if isinstance(given, str | Path) and Path(given).expanduser().is_dir():
    return _folder(Path(given).expanduser(), channels, ground)
  if isinstance(given, str | Path):
    path = Path(given).expanduser()
    if not path.exists():
      raise UsageError(f'{given} is not there; give a file or a folder')
    return Opened([str(given)], [lambda: images.read(path, channels, ground)])
  if isinstance(given, Image.Image):
    return Opened(['0'], [lambda: images.pixels(given, channels, ground)])
  if isinstance(given, Sequence):
    parts = [open_images(one, channels, ground) for one in given]
    readers = [reader for part in parts for reader in part.readers]
    names = [name for part in parts for name in part.names]
    if not all(isinstance(one, str | Path) for one in given):
      names = [str(i) for i in range(len(readers))]
    return Opened(names, readers)
  return _array(np.asarray(given), channels, ground)


def _folder(folder: Path, channels: int, ground: str) -> Opened:
  found = images.find_files(folder)
  whole = images.check_files(found.paths, channels, ground)
  images.tell(found.skipped | whole.skipped)
  if not whole.paths:
    raise UsageError(
      f'{folder} has no images; {", ".join(images.FORMATS)} are read'
    )
  readers = [
    lambda path=path: images.read(path, channels, ground)
    for path in whole.paths
  ]
  return Opened([str(path) for path in whole.paths], readers)


def _array(array: np.ndarray, channels: int, ground: str) -> Opened:
  if array.dtype != np.uint8 or array.ndim not in (2, 3, 4):
    raise UsageError(
      f'an array of {array.dtype} {list(array.shape)} is not images; give '
      'uint8, 0 to 255, as [h w], [h w c] or [n h w c]: of floats in [0, 1] '
      "(x * 255).round().astype('uint8')"
    )
  if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4)):
    array = array[None]
  if array.ndim == 4 and array.shape[-1] not in (1, 3, 4):
    raise UsageError(
      f'images {list(array.shape)} have {array.shape[-1]} channels; give 1, 3 '
      'or 4, as the last axis'
    )

  def reader(one):
    grey = one.ndim == 3 and one.shape[-1] == 1
    picture = Image.fromarray(one[..., 0] if grey else one)
    return lambda: images.pixels(picture, channels, ground)

  return Opened([str(i) for i in range(len(array))], [reader(x) for x in array])
