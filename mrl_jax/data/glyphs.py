"""`glyphs`: characters drawn from the typefaces that ship inside matplotlib.

A thousand classes: letters, numbers, punctuation and symbols. Faces of one
alphabet are different pictures of one character, and validation shows faces
that training never does. Faces share some drawings, of arrows for example:
those that training has seen are left out of validation. Nothing is downloaded,
nothing is stored: the same fonts give the same drawings.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Container
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mrl_jax.contracts import Facts
from mrl_jax.data import source

VALIDATION = ('DejaVuSerif-Italic', 'DejaVuSansMono-Bold', 'STIXGeneral')
TRAIN = (
  'DejaVuSans',
  'DejaVuSans-Bold',
  'DejaVuSans-Oblique',
  'DejaVuSans-BoldOblique',
  'DejaVuSansMono',
  'DejaVuSansMono-Oblique',
  'DejaVuSansMono-BoldOblique',
  'DejaVuSerif',
  'DejaVuSerif-Bold',
  'DejaVuSerif-BoldItalic',
  'STIXGeneralBol',
  'STIXGeneralBolIta',
  'STIXGeneralItalic',
)
# These three draw fewer characters; a character needs all other faces.
OPTIONAL = TRAIN[-3:]

SIZE = 28  # pixels of a side
EM = 22  # pixels of the font: capitals are 16 high
FINER = 4  # drawn so many times larger, then averaged


def load(data_dir: str = '', characters: int = 1000) -> source.Split:
  """Grey drawings of the first `characters` by code point, by face.

  Raises:
    ValueError: if there are not so many characters, or fewer than two.
  """
  del data_dir
  chosen, drawings = _drawings()
  if not 2 <= characters <= len(chosen):
    raise ValueError(
      f'data.source.characters={characters} must be in 2 to {len(chosen)}, '
      'the different characters of these typefaces'
    )
  chosen = chosen[:characters]

  def split(faces: tuple[str, ...], seen: Container = ()) -> source.InMemory:
    pairs = [
      (drawings[face][character], label)
      for face in faces
      for label, character in enumerate(chosen)
      if character in drawings[face]
      and drawings[face][character].tobytes() not in seen
    ]
    images, labels = map(np.stack, zip(*pairs))
    return source.InMemory(images[..., None], labels)

  train = split(TRAIN)
  validation = split(VALIDATION, {x.tobytes() for x in train.images})
  fingerprint = hashlib.sha256(train.images.tobytes())
  fingerprint.update(validation.images.tobytes())
  names = [unicodedata.name(character) for character in chosen]
  return source.Split(
    train,
    validation,
    Facts(
      {'image': {'channels': 1}}, tuple(names), fingerprint.hexdigest()[:16]
    ),
  )


def facts(data_dir: str = '', characters: int = 1000) -> Facts:
  """The facts of `load` with these arguments."""
  return load(data_dir, characters).facts


@functools.cache
def _drawings() -> tuple[list[str], dict[str, dict[str, np.ndarray]]]:
  """The different characters, by code point, and {face: {character: image}}.

  Characters whose drawings are equal in a face (A, Greek Alpha, Cyrillic A)
  count once: the first stays. Drawings are [h w] uint8, ink 255.
  """
  import matplotlib
  from matplotlib.ft2font import FT2Font

  folder = Path(matplotlib.get_data_path(), 'fonts', 'ttf')
  faces = (*TRAIN, *VALIDATION)
  has = {face: FT2Font(folder / f'{face}.ttf').get_charmap() for face in faces}
  fonts = {
    face: ImageFont.truetype(
      folder / f'{face}.ttf', EM * FINER, layout_engine=ImageFont.Layout.BASIC
    )
    for face in faces
  }
  everywhere = set.intersection(
    *(set(has[face]) for face in faces if face not in OPTIONAL)
  )
  chosen, drawings, seen = [], {face: {} for face in faces}, set()
  for character in map(chr, sorted(everywhere)):
    if unicodedata.category(character)[0] not in 'LNPS':
      continue
    images = {
      face: drawing(character, fonts[face])
      for face in faces
      if ord(character) in has[face]
    }
    keys = {(face, image.tobytes()) for face, image in images.items()}
    if keys & seen or not all(image.any() for image in images.values()):
      continue
    seen |= keys
    chosen.append(character)
    for face, image in images.items():
      drawings[face][character] = image
  return chosen, drawings


def drawing(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
  """The character, antialiased and centred by its ink: [h w] uint8.

  All characters of a font have one scale; one that is wider or higher than
  the picture is made smaller.
  """
  room = SIZE * FINER
  large = Image.new('L', (4 * room, 4 * room))
  ImageDraw.Draw(large).text((room, room), character, 255, font)
  ink = large.crop(large.getbbox())
  ink.thumbnail((room - 2 * FINER, room - 2 * FINER))
  picture = Image.new('L', (room, room))
  picture.paste(ink, ((room - ink.width) // 2, (room - ink.height) // 2))
  return np.asarray(picture.reduce(FINER))
