"""`folder`: your own images, in a sub-folder per class."""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ImageColor

from mrl_jax import images
from mrl_jax.contracts import Facts
from mrl_jax.data import class_folders, source
from mrl_jax.data.class_folders import Classes


class Files(Sequence):
  """Records of image files, decoded when read: uint8 [h w 3] or [h w 1].

  `ids` are their paths below the folder that all of them are in.
  """

  def __init__(
    self,
    paths: Sequence[Path],
    labels: Sequence[int],
    channels: int,
    ground: str = 'white',
  ):
    self.paths, self.labels = list(paths), list(labels)
    self.channels, self.ground = channels, ground

  def __len__(self) -> int:
    return len(self.paths)

  @functools.cached_property
  def ids(self) -> np.ndarray:
    root = os.path.commonpath([path.parent for path in self.paths])
    return np.array([images.shown(p.relative_to(root)) for p in self.paths])

  def __getitem__(self, index: int) -> dict:
    path = self.paths[index]
    try:
      pixels = images.read(path, self.channels, self.ground)
    except images.ImageError as error:
      raise ValueError(f'{images.shown(path)}: {error}') from error
    return {'image': pixels, 'label': self.labels[index]}


def load(
  data_dir: str = '',
  path: str = '',
  validation_path: str = '',
  validation_fraction: float = 0.1,
  channels: int = 3,
  check_files: bool = True,
  ground: str = 'white',
) -> source.Split:
  """Images under `path`/<class>/, split by folder or by fraction.

  Prints what it leaves out, and why.

  Args:
    path: holds the class folders, or `train/` (`training/`) and `val/` (one of
      class_folders.HELD, upper or lower case) that hold them. A class may have
      sub-folders.
    validation_path: a second folder of class folders. With '', the one beside
      `train/` is taken; without one, `validation_fraction` of every class.
    validation_fraction: share of each class that is held out, spread evenly
      over its sorted names.
    channels: 3 colour, 1 grey.
    check_files: whether every file is decoded once at the start, unreadable
      ones are left out, and files that stand on both sides are noted. Without
      it, an unreadable file stops the run when it is read.
    ground: the colour behind transparent pixels, a name or '#rrggbb'.

  Raises:
    ValueError: naming the folder, fraction or class that does not fit.
  """
  del data_dir
  _check_options(channels, ground)
  layout = class_folders.layout(path, validation_path)
  classes = tuple(layout.train)
  if check_files:
    layout = _checked(layout, channels, ground)
  train, held, skipped, notes = layout
  if held is None:
    train, held = _split_off(train, validation_fraction)
  images.tell(skipped)
  notes += _twins(train, held) if check_files else []
  for note in notes:
    print(note, flush=True)
  return source.Split(
    train=_listed(train, classes, channels, ground),
    validation=_listed(held, classes, channels, ground),
    facts=source.image_facts(channels, classes, ground=ground),
  )


def facts(
  data_dir: str = '',
  path: str = '',
  validation_path: str = '',
  channels: int = 3,
  ground: str = 'white',
  **others,
) -> Facts:
  """The facts of `load` with these arguments; no listed file is decoded."""
  del data_dir, others
  _check_options(channels, ground)
  train = class_folders.layout(path, validation_path).train
  return source.image_facts(channels, tuple(train), ground=ground)


def _check_options(channels: int, ground: str) -> None:
  if channels not in (1, 3):
    raise ValueError(f'data.source.channels={channels} must be 1 or 3')
  try:
    ImageColor.getrgb(ground)
  except (ValueError, AttributeError):
    raise ValueError(
      f'data.source.ground={ground!r} must be a colour like white or #8090a0'
    ) from None


def _checked(
  layout: class_folders.Layout, channels: int, ground: str
) -> class_folders.Layout:
  """The files that decode; says which others are left out, or move."""
  moving = []

  def checked(files: Classes) -> Classes:
    kept = {}
    for name, paths in files.items():
      listing = images.check_files(paths, channels, ground)
      layout.skipped.update(listing.skipped)
      moving.extend(map(images.shown, listing.moving))
      kept[name] = listing.paths
    return kept

  train = checked(layout.train)
  held = None if layout.held is None else checked(layout.held)
  for name, paths in train.items():
    if not paths:
      raise ValueError(
        f'no image of the class {name!r} can be read; mend its files in '
        f'{images.shown(layout.train[name][0].parent)}, or remove the folder'
      )
  if moving:
    title = f'{len(moving)} with several frames or pages, the first counts:'
    layout.notes.append(images.first_lines(title, moving))
  return layout._replace(train=train, held=held)


def _twins(train: Classes, held: Classes) -> list[str]:
  """What to say about held-out files that are training files too.

  Only files of a size that both sides have are read.
  """
  left, right = (
    [(os.path.getsize(path), path) for paths in side.values() for path in paths]
    for side in (train, held)
  )
  sizes = {size for size, _ in left} & {size for size, _ in right}
  known = {_digest(path): path for size, path in left if size in sizes}
  twins = [
    f'{images.shown(path)} = {images.shown(known[digest])}'
    for size, path in right
    if size in sizes and (digest := _digest(path)) in known
  ]
  if not twins:
    return []
  title = f'{len(twins)} held-out images are training images too:'
  return [images.first_lines(title, twins)]


def _digest(path: Path) -> bytes:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').digest()


def _split_off(files: Classes, fraction: float) -> tuple[Classes, Classes]:
  if not 0 < fraction < 1:
    raise ValueError(
      f'data.source.validation_fraction={fraction} must be between 0 and 1'
    )
  train, held = {}, {}
  for name, paths in files.items():
    count = max(1, round(len(paths) * fraction)) if len(paths) > 1 else 0
    chosen = set(np.linspace(0, len(paths) - 1, count).round().astype(int))
    held[name] = [p for i, p in enumerate(paths) if i in chosen]
    train[name] = [p for i, p in enumerate(paths) if i not in chosen]
  return train, held


def _listed(
  files: Classes, classes: tuple[str, ...], channels: int, ground: str
) -> Files:
  labels = {name: label for label, name in enumerate(classes)}
  pairs = [
    (path, labels[name]) for name, paths in files.items() for path in paths
  ]
  return Files(
    [p for p, _ in pairs], [label for _, label in pairs], channels, ground
  )
