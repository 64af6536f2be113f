"""Image files: found in a folder, opened safely, and as uint8 pixels.

Only FORMATS are ever opened, by content: the name of a file decides nothing.
Nothing here needs labels.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageOps

from mrl_jax.shapes import UInt8

FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF')
SUFFIXES = frozenset(
  '.jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff'.split()
)
# Folders that other programs leave behind, beside those that are hidden.
LEFT_OVERS = frozenset(
  ('__MACOSX', '@eaDir', '#recycle', '$RECYCLE.BIN', 'lost+found')
)
SHOWN = 10
# A number a little above a scale's top is noise of its arithmetic.
SLACK = 0.05


class Listing(NamedTuple):
  """Paths of image files, and why other files are not among them."""

  paths: list[Path]
  skipped: dict[Path, str]  # reason, as 'kind' or 'kind: detail'
  moving: Sequence[Path] = ()  # with several frames, if they were counted


class ImageError(ValueError):
  """A file that is not read; the text is the reason, without the path."""


def find_files(folder: str | Path) -> Listing:
  """The image files of a folder and of its sub-folders, sorted.

  Links are followed, but not in circles. Hidden files and LEFT_OVERS are
  skipped. A file with a suffix of SUFFIXES is listed unopened (`check_files`
  decodes it); any other is listed if its content is of FORMATS.

  Raises:
    ValueError: if it is not a folder.
  """
  root = Path(folder).expanduser()
  if not root.is_dir():
    raise ValueError(f'{shown(root)} is not a folder')
  listing = Listing([], {})

  def closed(error: OSError) -> None:
    listing.skipped[Path(error.filename)] = 'a folder that cannot be opened'

  for top, folders, files in os.walk(root, onerror=closed, followlinks=True):
    here = Path(top)
    for name in folders:
      reason = _folder_passed_over(here / name)
      if reason:
        listing.skipped[here / name] = reason
    folders[:] = [
      name for name in folders if here / name not in listing.skipped
    ]
    for path in (here / name for name in files):
      reason = _passed_over(path)
      if reason:
        listing.skipped[path] = reason
      else:
        listing.paths.append(path)
  listing.paths.sort()
  return listing


def left_over(name: str) -> bool:
  """Whether a file or folder of this name is hidden, or of another program."""
  return name.startswith('.') or name in LEFT_OVERS


def _folder_passed_over(path: Path) -> str:
  """Why a folder is not read, '' if it is."""
  if left_over(path.name):
    return 'left by another program, or hidden'
  above = (os.path.realpath(parent) for parent in path.absolute().parents)
  if path.is_symlink() and os.path.realpath(path) in above:
    return 'a link to a folder that holds it'
  return ''


def _passed_over(path: Path) -> str:
  """Why a file is not listed, '' if it is."""
  if left_over(path.name):
    return 'left by another program, or hidden'
  if not path.is_file():
    return 'a link to nothing, or not a file'
  if path.suffix.lower() in SUFFIXES:
    return ''
  try:
    with Image.open(path, formats=FORMATS):
      return ''
  except Image.DecompressionBombError:
    return ''
  except Exception:  # whatever a decoder raises
    return 'not an image'


def check_files(
  paths: Iterable[Path], channels: int = 3, ground: str = 'white'
) -> Listing:
  """The files that decode to their last pixel, and why others do not."""
  _colour(ground)
  listing = Listing([], {}, moving := [])
  for path in paths:
    try:
      with _opened(path) as image:
        pixels(image, channels, ground)
        if _moves(image):
          moving.append(path)
    except ImageError as error:
      listing.skipped[path] = str(error)
    else:
      listing.paths.append(path)
  return listing


def read(
  path: str | Path, channels: int = 3, ground: str = 'white'
) -> UInt8[np.ndarray, 'h w c']:
  """The pixels of a file, as a viewer shows them.

  Of several frames or pages the first counts.

  Args:
    channels: 3 colour, 1 grey.
    ground: what shows through transparent pixels: a colour that
      PIL.ImageColor knows, such as 'white' or '#8090a0'.

  Raises:
    ImageError: if it cannot be read, saying why.
  """
  _colour(ground)
  with _opened(path) as image:
    return pixels(image, channels, ground)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
  """The decoded image; what fails, here or in the body, is an ImageError."""
  try:
    if not os.path.getsize(path):
      raise ImageError('empty')
    with Image.open(path, formats=FORMATS) as image:
      image.load()
      yield image
  except ImageError:
    raise
  except Image.UnidentifiedImageError:
    raise ImageError(
      f'not a file of {", ".join(FORMATS)}, or damaged at its start'
    ) from None
  except Image.DecompressionBombError as error:
    # "Image size (n pixels) exceeds limit of m pixels, could be ..."
    raise ImageError(f'too large: {str(error).partition(",")[0]}') from None
  except MemoryError:
    raise ImageError('too large: it does not fit in memory') from None
  except Exception as error:  # whatever a decoder raises
    if isinstance(error, OSError) and error.errno:
      raise ImageError(f'cannot be opened: {error.strerror}') from error
    text = (str(error).splitlines() or [''])[0] or type(error).__name__
    raise ImageError(f'damaged: {text}') from error


def _moves(image: Image.Image) -> bool:
  """Whether it has several frames or pages."""
  try:
    # The second picture of a phone's JPEG (MPO) is not a frame.
    return image.format != 'MPO' and getattr(image, 'n_frames', 1) > 1
  except Exception:  # of a later frame only: the first is decoded
    return True


def pixels(
  image: Image.Image, channels: int = 3, ground: str = 'white'
) -> UInt8[np.ndarray, 'h w c']:
  """The pixels of an open image: turned upright, opaque, in 8 bits.

  Raises:
    ImageError: for levels whose white is not known.
  """
  image = _upright(image)
  if image.mode.startswith('I') or image.mode == 'F':
    image = _eight_bits(image, ground)
  elif image.has_transparency_data:
    colour = image.convert('RGBA')
    behind = Image.new('RGBA', image.size, (*_colour(ground), 255))
    image = Image.alpha_composite(behind, colour).convert('RGB')
  array = np.asarray(image.convert({1: 'L', 3: 'RGB'}[channels]))
  return array.reshape(*array.shape[:2], channels)


def _colour(ground: str) -> tuple[int, ...]:
  return ImageColor.getrgb(ground)[:3]


def _upright(image: Image.Image) -> Image.Image:
  """Turned as its EXIF data says; as it is if that cannot be read."""
  try:
    return ImageOps.exif_transpose(image)
  except Exception:  # of the EXIF data only: the pixels are decoded
    return image


def _eight_bits(image: Image.Image, ground: str) -> Image.Image:
  """Grey of 16 bits or more, or of fractions, in 8 bits.

  65535 is white in 16 bits. Of wider numbers the smallest of 255, 65535 (and
  1, for fractions) that holds all of the image is white.
  """
  levels = np.asarray(image)
  low, high = float(levels.min()), float(levels.max())
  tops = (1, 255, 65535)[{'F': 0, 'I': 1}.get(image.mode, 2) :]
  top = next((t for t in tops if high <= t * (1 + SLACK)), None)
  if top is None or not low >= -SLACK * top:
    raise ImageError(
      f'unknown white: levels {low:g} to {high:g}, but black must be 0 and '
      f'white one of {", ".join(map(str, tops))}; convert the file'
    )
  grey = np.rint(np.clip(levels / top, 0, 1) * 255).astype(np.uint8)
  if 'transparency' not in image.info:
    return Image.fromarray(grey)
  coloured = np.stack([grey] * 3, -1)
  coloured[levels == image.info['transparency']] = _colour(ground)
  return Image.fromarray(coloured)


def tell(skipped: dict[Path, str]) -> None:
  """Prints how many files were skipped, for each reason, and the first."""
  kinds: dict[str, list[str]] = {}
  for path, reason in sorted(skipped.items()):
    kind, _, detail = reason.partition(': ')
    kinds.setdefault(kind, []).append(
      f'{shown(path)}: {detail}' if detail else shown(path)
    )
  for kind, lines in kinds.items():
    print(first_lines(f'{len(lines)} left out, {kind}:', lines), flush=True)


def first_lines(title: str, lines: Sequence[str]) -> str:
  """A title, the first lines, and how many there are beyond them."""
  more = len(lines) - SHOWN
  return '\n  '.join(
    [title, *lines[:SHOWN], *([f'... and {more} more'] if more > 0 else [])]
  )


def shown(path: str | Path) -> str:
  """A path in one line of text, whatever bytes its name has."""
  return ''.join(
    c if c.isprintable() else c.encode('unicode_escape').decode()
    for c in str(path)
  )


def utf8(name: str) -> str:
  """The name with a mark for each byte that is not UTF-8."""
  return os.fsencode(name).decode('utf-8', 'replace')
