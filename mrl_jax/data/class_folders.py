"""Folders of classes and of splits: which files are trained on and held out.

Names of splits are understood in upper and lower case. What could be read in
two ways is refused, with both.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mrl_jax import images

TRAIN = ('train', 'training')
VALIDATION = ('val', 'valid', 'validation', 'dev', 'eval')
TEST = ('test', 'testing')
HELD = (*VALIDATION, *TEST)

Classes = dict[str, list[Path]]


class Layout(NamedTuple):
  """The files of both splits; `held` is None if `train` is to be split."""

  train: Classes
  held: Classes | None
  skipped: dict[Path, str]
  notes: list[str]


def class_files(folder: Path) -> Classes:
  """The image files of each class sub-folder; files and classes are sorted.

  Raises:
    ValueError: if there are none, or the sub-folders are not classes.
  """
  return _classes(images.find_files(folder), folder)


def layout(path: str, validation_path: str) -> Layout:
  """Which files are trained on and held out."""
  if not path:
    raise ValueError('data.source.path is empty; set it to a folder of images')
  root = Path(path).expanduser()
  listing = images.find_files(root)
  given = None
  if validation_path:
    given = Path(validation_path).expanduser()
    beside = [p for p in listing.paths if not p.is_relative_to(given)]
    listing = images.Listing(beside, listing.skipped)
  train_root, held_root, notes = _split_roots(root, listing, given)
  train = _classes(listing, train_root)
  listing.skipped.pop(given, None)  # it holds images, of the other split
  held = None
  if held_root:
    if given:
      skipped = listing.skipped
      listing = images.find_files(given)
      listing.skipped.update(skipped)
    held = _classes(listing, held_root)
    held = _renamed(held, train, held_root, train_root)
  if len(train) == 1:
    name = images.shown(next(iter(train)))
    notes.append(f'one class only ({name}): there is nothing to tell apart')
  return Layout(train, held, listing.skipped, notes)


def _split_roots(
  root: Path, listing: images.Listing, given: Path | None
) -> tuple[Path, Path | None, list[str]]:
  """(folder to train on, folder held out or None, what to say about it)."""
  inner = _inner(root, listing.paths)
  training = [name for name in inner if _is(name, TRAIN) and inner[name]]
  where = images.shown(root)
  if len(training) > 1:
    raise ValueError(f'{where} has {_some(training)}; leave one of them')
  if not training:
    _check_no_splits(where, inner)
    return root, given, []
  train_root = root / training[0]
  if given:
    return train_root, given, []
  chosen = _held_beside(root, inner)
  others = [n for n in inner if not _is(n, HELD) and n not in training]
  if not chosen and len(others) == 1:
    raise ValueError(
      f'{where} has {training[0]}/ and {_some(others)}, but no val/: if '
      f'{training[0]} is a split, set data.source.path={where}/{training[0]}; '
      'if it is a class, rename it'
    )
  if not chosen and others:
    return root, None, [f'{training[0]}/ in {where} is taken as a class']
  unread = [n for n in inner if n not in training and n != chosen]
  notes = [f'not read, beside train: {_some(unread)}'] if unread else []
  return train_root, root / chosen if chosen else None, notes


def _held_beside(root: Path, inner: dict[str, set[str]]) -> str:
  """The folder beside `train/` that is held out, '' if there is none."""
  where = images.shown(root)
  for names in (VALIDATION, TEST):
    named = [
      n.name for n in root.iterdir() if n.is_dir() and _is(n.name, names)
    ]
    found = [name for name in named if inner.get(name)]
    if len(found) > 1:
      raise ValueError(
        f'{where} has {_some(found)}; set data.source.validation_path to one'
      )
    if found:
      return found[0]
    if named and names == VALIDATION:
      raise ValueError(
        f'{where}/{named[0]} has no class sub-folders with images; expected '
        f'{where}/{named[0]}/<class>/<image>.jpg'
      )
  return ''


def _check_no_splits(where: str, inner: dict[str, set[str]]) -> None:
  """Raises ValueError for splits that would become classes."""
  held = [name for name in inner if _is(name, HELD)]
  others = {_same(name) for name in inner if name not in held}
  if held and any(_is(name, TRAIN) for name in inner):
    raise ValueError(
      f'{where} has {_some(inner)}, but train/ has no class sub-folders; '
      f'expected {where}/train/<class>/<image>.jpg'
    )
  for name in held:
    if inner[name] and (not others or {_same(n) for n in inner[name]} & others):
      raise ValueError(
        f'{where} has {name}/ with classes in it, but no train/ beside it; '
        'move the training classes into train/, or set data.source.path and '
        'data.source.validation_path'
      )


def _inner(folder: Path, paths: Sequence[Path]) -> dict[str, set[str]]:
  """The sub-folders of each sub-folder that holds any of the paths."""
  depth = len(folder.parts)
  inner: dict[str, set[str]] = {}
  for path in paths:
    name, *below = path.parts[depth:-1] or ('',)
    inner.setdefault(name, set()).update(below[:1])
  inner.pop('', None)
  return dict(sorted(inner.items()))


def _is(name: str, names: Sequence[str]) -> bool:
  return name.lower() in names


def _some(names: Iterable[str]) -> str:
  names = [images.shown(name) for name in sorted(names)]
  return ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')


def _same(name: str) -> str:
  """What two spellings of one class name share: composed letters."""
  return unicodedata.normalize('NFC', name)


def _classes(listing: images.Listing, folder: Path) -> Classes:
  """The listed files by class; adds those outside of classes to the skipped."""
  found: Classes = {}
  parts = folder.parts
  for path in listing.paths:
    if path.parts[: len(parts)] == parts:
      name, *rest = path.parts[len(parts) :]
      if rest:
        found.setdefault(name, []).append(path)
      else:
        listing.skipped[path] = 'not in a class sub-folder'
  where = images.shown(folder)
  if not folder.is_dir():
    raise ValueError(f'{where} is not a folder')
  if not found:
    raise ValueError(
      f'{where} has no class sub-folders with images; expected '
      f'{where}/<class>/<image>.jpg'
    )
  _check_names(folder, found)
  _check_depth(folder, found)
  for child in sorted(folder.iterdir()):
    known = child.name in found or images.left_over(child.name)
    if child.is_dir() and not known:
      listing.skipped[child] = 'a folder without images'
  return {name: found[name] for name in sorted(found)}


def _check_names(folder: Path, found: Classes) -> None:
  """Raises ValueError for names that are not text, or are equal as text."""
  spelled: dict[str, str] = {}
  for name in found:
    if name != images.utf8(name):
      raise ValueError(
        f'the name of {images.shown(folder / name)} is not UTF-8; rename it'
      )
    other = spelled.setdefault(_same(name), name)
    if other != name:
      raise ValueError(
        f'{images.shown(folder)} has the folders {ascii(other)} and '
        f'{ascii(name)}, which are one name in Unicode; join or rename them'
      )


def _check_depth(folder: Path, found: Classes) -> None:
  """Raises ValueError if the splits or classes are a level below."""
  for name, paths in found.items():
    top = folder / name
    inner = _inner(top, paths)
    where = images.shown(top)
    if any(_is(n, TRAIN) for n in inner) and any(_is(n, HELD) for n in inner):
      raise ValueError(
        f'{where} has splits in it ({_some(inner)}); expected train/<class>/ '
        f'and val/<class>/, so set data.source.path={where} or move them'
      )
    direct = any(path.parent == top for path in paths)
    if len(found) == 1 and len(inner) > 1 and not direct:
      raise ValueError(
        f'{images.shown(folder)} has one folder, {images.shown(name)}, with '
        f'folders of its own ({_some(inner)}); set data.source.path={where}'
      )


def _renamed(
  held: Classes, train: Classes, held_root: Path, train_root: Path
) -> Classes:
  """The held-out files under the names of the training classes.

  Raises:
    ValueError: for a class that training lacks.
  """
  names = {_same(name): name for name in train}
  extra = [name for name in held if _same(name) not in names]
  if extra:
    raise ValueError(
      f'{images.shown(held_root)} has classes that {images.shown(train_root)} '
      f'lacks: {_some(extra)}'
    )
  return {names[_same(name)]: paths for name, paths in held.items()}
