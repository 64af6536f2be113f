"""A record of a source becomes the arrays of one example.

A record that fails is named by its source and its index.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from mrl_jax.contracts import Input, Record
from mrl_jax.errors import UsageError


class Named(Sequence):
  """Records, each in a pair with words that name it for error messages.

  Args:
    name: of the source and split.
  """

  def __init__(self, records: Sequence[Record], name: str):
    self.records, self.name = records, name

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> tuple[str, Record]:
    which = f'record {index} of {self.name}'
    try:
      return which, self.records[index]
    except UsageError:
      raise
    except Exception as error:  # any decoder's own kind
      raise UsageError(f'{which} cannot be read: {_short(error)}') from error


class Examples:
  """Records of one split as arrays: each field through its input.

  Args:
    inputs: by field.
    labelled: whether the records have a 'label', a whole number.
  """

  def __init__(self, inputs: Mapping[str, Input], labelled: bool):
    self.inputs, self.labelled = inputs, labelled

  def train(self, named: tuple[str, Record], rng: np.random.Generator) -> dict:
    """The example of a record, augmented by `rng`."""
    return self._of(named, lambda field, value: field.train(value, rng))

  def evaluate(self, named: tuple[str, Record]) -> dict:
    """The example of a record, without randomness."""
    return self._of(named, lambda field, value: field.evaluate(value))

  def blank(self) -> dict:
    """An example of zeros and of mask 0, which counts for nothing."""
    arrays = {
      field: jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), an_input.shape)
      for field, an_input in self.inputs.items()
    }
    return self._complete(arrays, label=0, mask=0)

  def _of(self, named, convert) -> dict:
    which, record = named
    arrays = {}
    for field, an_input in self.inputs.items():
      try:
        arrays[field] = convert(an_input, record[field])
        _check_shapes(arrays[field], an_input.shape)
      except UsageError:
        raise
      except Exception as error:  # any input's own kind
        raise UsageError(
          f'{which}, field {field!r}: {_short(error)}'
        ) from error
    return self._complete(arrays, record.get('label', 0), mask=1)

  def _complete(self, arrays: dict, label: int, mask: int) -> dict:
    if self.labelled:
      arrays['label'] = np.int32(label)
    return arrays | {'mask': np.float32(mask)}


def _short(error: Exception) -> str:
  """The first line of an error; its kind stands before it if that helps."""
  text = (str(error).splitlines() or [''])[0]
  plain = isinstance(error, ValueError | OSError) and text
  return text if plain else f'{type(error).__name__} {text}'


def _check_shapes(arrays, expected) -> None:
  if isinstance(expected, jax.ShapeDtypeStruct):  # the usual case, kept fast
    shapes, wanted = np.shape(arrays), expected.shape
  else:
    shapes = jax.tree.map(np.shape, arrays)
    wanted = jax.tree.map(lambda leaf: leaf.shape, expected)
  if shapes != wanted:
    raise ValueError(
      f'its array is {shapes} where the source promises {wanted}; convert the '
      'file, or remove it'
    )
