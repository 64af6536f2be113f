"""What a report is made of, before it is a page or Markdown."""

import dataclasses
import math
import re
import unicodedata
from collections.abc import Sequence

from mrl_jax.rows import Granularity


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph; `strong` for the one that answers the question."""

  words: str
  strong: bool = False


@dataclasses.dataclass(frozen=True)
class Key:
  """What a line of a chart is: its colour slot, style and marker."""

  label: str
  colour: int
  style: str
  marker: str


@dataclasses.dataclass(frozen=True)
class Picture:
  """A drawing (inline SVG, trusted), its title and the key to its lines.

  `file` is a picture beside the report, `alt` its name: Markdown shows it.
  """

  title: str
  svg: str
  keys: Sequence[Key] = ()
  note: str = ''
  file: str = ''
  alt: str = ''


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells of text. With `fold` it is closed at first, under that title.

  `chosen` is the index of a line that stands out.
  """

  header: Sequence[str]
  lines: Sequence[Sequence[str]]
  note: str = ''
  fold: str = ''
  chosen: int | None = None


@dataclasses.dataclass(frozen=True)
class Image:
  """A small picture: PNG in base64, words below it, right or not."""

  png: str
  words: str
  right: bool | None = None

  def __post_init__(self):
    if not re.fullmatch(r'[A-Za-z0-9+/=]+', self.png):
      raise ValueError('an image is not base64')


@dataclasses.dataclass(frozen=True)
class Card:
  """Rows of images under one title: (words, images) each."""

  title: str
  rows: Sequence[tuple[str, Sequence[Image]]]


@dataclasses.dataclass(frozen=True)
class Code:
  """Text as it is, folded under a title."""

  title: str
  text: str


@dataclasses.dataclass(frozen=True)
class Section:
  """Blocks under one heading; `link` is its name where that is too long."""

  title: str
  blocks: Sequence
  link: str = ''


def sentences(evaluation, evaluator: str, key: str = 'text'):
  """What an evaluator says in words, one text or several."""
  texts = evaluation.detail(evaluator, key)
  for words in [texts] if isinstance(texts, str) else texts:
    yield Text(str(words))


def size(granularity: Granularity) -> str:
  """`8`, or `l4d8` where the depth is known."""
  if granularity.depth is None:
    return f'{granularity.dim:g}'
  return granularity.name


def visible(words: str) -> str:
  r"""Text of one line: breaks and control characters as escapes, like \n.

  Names of classes and files hold any of them; `Cs` are bytes not UTF-8.
  """
  hidden = ('Cc', 'Cs', 'Zl', 'Zp')
  return ''.join(
    letter.encode('unicode_escape').decode()
    if unicodedata.category(letter) in hidden
    else letter
    for letter in words
  )


def capital(words: str) -> str:
  """Words that begin with a capital letter; nDCG stays as it is."""
  return words if words[1:2].isupper() else words[:1].upper() + words[1:]


def percent(value, digits: int = 2) -> str:
  """A fraction in percent, `-` if there is none."""
  if value is None or not math.isfinite(value):
    return '-'
  return f'{100 * value:.{digits}f}'


def interval(row) -> str:
  """`98.33 (96.4 to 99.2)`, `-` without a row; cosines are no percentages."""
  if row is None or not math.isfinite(row['value']):
    return '-'
  ends = row.get('ci_low'), row.get('ci_high')
  if row.get('evaluator') == 'cosine':
    value, low, high = map(number, (row['value'], *(e or 0.0 for e in ends)))
  else:
    value = percent(row['value'])
    low, high = (percent(end, 1) for end in ends)
  return value if None in ends else f'{value} ({low} to {high})'


def apart(row, key: str = 'difference') -> str:
  """A paired difference in points, `-2.4 (-3.3 to -1.5)`; `-` without one."""
  if key not in row:
    return '-'
  value, low, high = (
    round(100 * row[f'{key}{end}'], 1) + 0.0 for end in ('', '_low', '_high')
  )  # + 0: never -0.0
  return f'{value:+.1f} ({low:.1f} to {high:.1f})'


def number(value) -> str:
  """A number as short as it can be read: 1,234, 12.5, 0.0031."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return str(value)
  if not math.isfinite(value):
    return '-'
  if value == int(value) and abs(value) < 1e15:
    return f'{int(value):,}'
  return f'{value:,.1f}' if abs(value) >= 100 else f'{value:.4g}'
