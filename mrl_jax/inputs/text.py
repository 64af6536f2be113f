"""Texts: from a string to the tokens that an encoder takes.

A tokenizer is a file of the library `tokenizers`, as it comes with a model. It
normalises, splits and adds special tokens. Truncation and padding are ours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mrl_jax.contracts import Values
from mrl_jax.inputs import texts
from mrl_jax.shapes import Int

FILE = 'tokenizer.json'
LENGTH = 512  # of a tokenizer whose file names none
TOGETHER = 256  # texts: what is cut off one is kept until all are tokenised


def _find(given: str) -> Path:
  """The tokenizer file itself, or the one in a folder.

  Raises:
    ValueError: if there is none.
  """
  path = Path(given).expanduser()
  if not given:
    raise ValueError(
      f"tokenizer='' names no file; give the path of a {FILE}, or of a folder "
      'that holds one'
    )
  if path.is_dir():
    path = path / FILE
  if not path.is_file():
    raise ValueError(
      f'tokenizer={given!r}: {path} is not there; give the path of a {FILE} '
      '(transformers writes one: AutoTokenizer.from_pretrained(NAME)'
      '.save_pretrained(FOLDER))'
    )
  return path


# A length -> the quarters of it that are fixed lengths below its double.
STEPS = {16: (4,), 32: (4, 6), 64: (4, 6)}


class Text:
  """A field of strings, as tokens with a mask.

  Its arrays are {'tokens': int32 [n], 'mask': bool [n]}. The mask is True for
  a token and False for the padding, which is on the right.

  Args:
    tokenizer: the path of a tokenizer.json, or of a folder that holds one.
    prompt: words that are put before every text.
    length: of the longest sequence in tokens, special tokens included; longer
      texts are cut and keep their special tokens. 0 takes the length that the
      file says, 512 if it says none.
    lengths: that batches are cut to, below `length`, which is always one of
      them. By default 16, 32, 48, 64, 96, 128, then four in each doubling.

  Raises:
    ValueError: for a file that is not a tokenizer, or an option out of its
      range.
  """

  files = {'tokenizer': _find}

  def __init__(
    self,
    tokenizer: str = '',
    prompt: str = '',
    length: int = 0,
    lengths: Sequence[int] = (),
  ):
    self.tokenizer = _load(_find(tokenizer))
    self.prompt = prompt
    if problem := texts.fault(prompt, blank=True):
      raise ValueError(f'prompt={prompt!r} {problem}')
    cut = self.tokenizer.truncation or {}
    length = length or cut.get('max_length', LENGTH)
    special = self.tokenizer.num_special_tokens_to_add(is_pair=False)
    if length <= special:
      raise ValueError(
        f'length={length} has no room for a text beside the {special} special '
        f'tokens; give at least {special + 1}'
      )
    padding = self.tokenizer.padding or {}
    self.tokenizer.no_padding()
    self.tokenizer.enable_truncation(
      length, direction=cut.get('direction', 'right')
    )
    self.sizes = _sizes(tuple(lengths), length)
    numbers = self.tokenizer.get_vocab(with_added_tokens=True).values()
    self.padding = padding.get('pad_id', 0)
    self.shape = {
      'tokens': jax.ShapeDtypeStruct((length,), np.int32),
      'mask': jax.ShapeDtypeStruct((length,), np.bool_),
    }
    self.facts = {'vocabulary': max(numbers, default=0) + 1, 'length': length}

  def open(self, given: Any) -> Values:
    """The texts in what a person gives: see `texts.open_texts`."""
    return texts.open_texts(given)

  def train(self, value: Any, rng: np.random.Generator) -> dict:
    """The same as `evaluate`, of a text that is not empty."""
    if problem := texts.fault(value):
      raise ValueError(f'its text {problem}')
    return self.evaluate(value)

  def evaluate(self, value: Any) -> dict:
    """The tokens of a text; an empty one has special tokens, or none.

    Raises:
      ValueError: for what is not a text.
    """
    self._check(value)
    arrays = self._padded([self.tokenizer.encode(self.prompt + value).ids])
    return {name: array[0] for name, array in arrays.items()}

  def evaluate_all(self, values: Sequence) -> dict:
    """The tokens of several texts, stacked: faster than one by one."""
    for value in values:
      self._check(value)
    rows: list[list[int]] = []
    for start in range(0, len(values), TOGETHER):
      some = [self.prompt + v for v in values[start : start + TOGETHER]]
      rows += [e.ids for e in self.tokenizer.encode_batch_fast(some)]
    return self._padded(rows)

  def on_device(self, arrays: dict) -> dict:
    """The arrays as they are."""
    return arrays

  def size(self, arrays: dict) -> Int[np.ndarray, '...']:
    """The number of tokens of each text in the arrays."""
    return np.asarray(arrays['mask'].sum(-1))

  def cut(self, arrays: dict, size: int) -> dict:
    """The first `size` tokens of every text."""
    return {name: array[..., :size] for name, array in arrays.items()}

  def _check(self, value) -> None:
    if problem := texts.fault(value, blank=True):
      raise ValueError(f'its text {problem}')

  def _padded(self, rows: Sequence[Sequence[int]]) -> dict:
    shape = len(rows), self.sizes[-1]
    tokens = np.full(shape, self.padding, np.int32)
    mask = np.zeros(shape, bool)
    for i, row in enumerate(rows):
      tokens[i, : len(row)] = row
      mask[i, : len(row)] = True
    return {'tokens': tokens, 'mask': mask}


def _load(path: Path):
  from tokenizers import Tokenizer

  try:
    return Tokenizer.from_file(str(path))
  except Exception as error:  # the library raises nothing narrower
    problem = (str(error).splitlines() or [''])[0]
    raise ValueError(
      f'tokenizer={str(path)!r} is not a file of the library tokenizers '
      f'({problem}); give the {FILE} of the model'
    ) from error


def _sizes(given: tuple[int, ...], length: int) -> tuple[int, ...]:
  """The lengths that batches are cut to, increasing; the last is `length`."""
  if not given:
    powers = [1 << i for i in range(4, length.bit_length())]
    given = tuple(
      power * quarters // 4
      for power in powers
      for quarters in STEPS.get(power, (4, 5, 6, 7))
    )
    given = tuple(size for size in given if size < length)
  whole = all(isinstance(size, int) and size > 0 for size in given)
  if (
    not whole
    or list(given) != sorted(set(given))
    or max(given, default=0) > length
  ):
    raise ValueError(
      f'lengths={given} must be whole numbers that increase, from 1 to the '
      f'length {length}'
    )
  return tuple(sorted({*given, length}))
