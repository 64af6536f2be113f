"""`folder`: your own images, JPEG or PNG files in a sub-folder per class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mrl_jax.contracts import Facts
from mrl_jax.data import source

SUFFIXES = {'.jpg', '.jpeg', '.png'}
SHOWN = 10


class Files(Sequence):
  """Records of image files, decoded when read: uint8 [h w 3] or [h w 1]."""

  def __init__(self, paths: Sequence[Path], labels: Sequence[int], channels):
    self.paths, self.labels = list(paths), list(labels)
    self.mode = {1: 'L', 3: 'RGB'}[channels]

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, index: int) -> dict:
    with Image.open(self.paths[index]) as image:
      pixels = np.asarray(image.convert(self.mode))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return {'image': pixels, 'label': self.labels[index]}


def class_files(folder: Path) -> dict[str, list[Path]]:
  """The image files of each class sub-folder; files and classes are sorted."""
  if not folder.is_dir():
    raise ValueError(f'{folder} is not a folder')
  found = {
    child.name: sorted(
      path
      for path in child.rglob('*')
      if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    for child in sorted(folder.iterdir())
    if child.is_dir()
  }
  if not any(found.values()):
    raise ValueError(
      f'{folder} has no class sub-folders with .jpg, .jpeg or .png files; '
      f'expected {folder}/<class>/<image>.jpg'
    )
  return {name: files for name, files in found.items() if files}


def whole(path: Path) -> bool:
  """Whether the file decodes to its last pixel."""
  try:
    with Image.open(path) as image:
      image.load()
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
    return False
  return True


def _without_broken(files: dict[str, list[Path]]) -> dict[str, list[Path]]:
  """The files that decode; prints the names and the number of the others."""
  kept = {name: [p for p in paths if whole(p)] for name, paths in files.items()}
  broken = sorted(
    set(p for paths in files.values() for p in paths)
    - set(p for paths in kept.values() for p in paths)
  )
  if broken:
    print(f'{len(broken)} broken image files are left out:')
    for path in broken[:SHOWN]:
      print(f'  {path}')
    if len(broken) > SHOWN:
      print(f'  ... and {len(broken) - SHOWN} more', flush=True)
  return kept


def load(
  data_dir: str = '',
  path: str = '',
  validation_path: str = '',
  validation_fraction: float = 0.1,
  channels: int = 3,
  check_files: bool = True,
) -> source.Split:
  """Images under `path`/<class>/, split by folder or by fraction.

  Args:
    path: holds the class folders, or `train/` and `val/` (or `validation/`,
      `test/`) that hold them.
    validation_path: a second folder of class folders. With '', the one beside
      `train/` is taken; without one, `validation_fraction` of every class.
    validation_fraction: share of each class that is held out, spread evenly
      over its sorted names.
    channels: 3 colour, 1 grey.
    check_files: whether every file is decoded once at the start, and broken
      ones are left out. Without it, a broken file stops the run when it is
      read.

  Raises:
    ValueError: naming the folder, fraction or class that does not fit.
  """
  del data_dir
  if not path:
    raise ValueError('data.source.path is empty; set it to a folder of images')
  if channels not in (1, 3):
    raise ValueError(f'data.source.channels={channels} must be 1 or 3')
  train_root, held_root = _split_roots(path, validation_path)
  train = class_files(train_root)
  classes = tuple(train)
  held = class_files(held_root) if held_root else None
  if held and set(held) - set(classes):
    extra = ', '.join(sorted(set(held) - set(classes))[:5])
    raise ValueError(
      f'{held_root} has classes that {train_root} lacks: {extra}'
    )
  if check_files:
    train = _without_broken(train)
    held = _without_broken(held) if held else None
  if held is None:
    train, held = _split_off(train, validation_fraction)
  return source.Split(
    train=_listed(train, classes, channels),
    validation=_listed(held, classes, channels),
    facts=source.image_facts(channels, classes),
  )


def _split_roots(path: str, validation_path: str) -> tuple[Path, Path | None]:
  """The folders of the two splits; None if one folder is to be split."""
  root = Path(path).expanduser()
  train_root = root / 'train' if (root / 'train').is_dir() else root
  if validation_path:
    return train_root, Path(validation_path).expanduser()
  if train_root == root:
    return root, None
  beside = [root / name for name in ('val', 'validation', 'test')]
  return train_root, next((f for f in beside if f.is_dir()), None)


def facts(data_dir: str = '', **arguments) -> Facts:
  """The facts of `load(**arguments)`; no file is decoded."""
  return load(data_dir, **(arguments | {'check_files': False})).facts


def _split_off(files: dict, fraction: float) -> tuple[dict, dict]:
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


def _listed(files: dict, classes: tuple[str, ...], channels: int) -> Files:
  pairs = [
    (path, classes.index(name))
    for name, paths in files.items()
    for path in paths
  ]
  return Files([p for p, _ in pairs], [label for _, label in pairs], channels)
