"""A record of a source as the arrays of one example, errors named."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from mrl_jax.contracts import Input, Record
from mrl_jax.errors import UsageError


class Numbered(Sequence):
  """Records together with their index: a failure can be told by it."""

  def __init__(self, records: Sequence[Record], name: str):
    self.records, self.name = records, name

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> tuple[int, Record]:
    try:
      return index, self.records[index]
    except UsageError:
      raise
    except Exception as error:  # any decoder's own kind
      raise UsageError(
        f'record {index} of {self.name} cannot be read: {error}'
      ) from error


class Examples:
  """Records of one split as arrays: each field through its input.

  Args:
    inputs: by field.
    labelled: whether the records have a 'label', a whole number.
    name: of the source, for error messages.
  """

  def __init__(self, inputs: Mapping[str, Input], labelled: bool, name: str):
    self.inputs, self.labelled, self.name = inputs, labelled, name

  def train(
    self, numbered: tuple[int, Record], rng: np.random.Generator
  ) -> dict:
    """The example of a record, augmented by `rng`."""
    return self._of(numbered, lambda field, value: field.train(value, rng))

  def evaluate(self, numbered: tuple[int, Record]) -> dict:
    """The example of a record; always the same."""
    return self._of(numbered, lambda field, value: field.evaluate(value))

  def blank(self) -> dict:
    """An example of zeros that counts for nothing."""
    arrays = {
      field: jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), an_input.shape)
      for field, an_input in self.inputs.items()
    }
    return self._complete(arrays, label=0, mask=0)

  def _of(self, numbered, convert) -> dict:
    index, record = numbered
    arrays = {}
    for field, an_input in self.inputs.items():
      try:
        arrays[field] = convert(an_input, record[field])
        _check_shapes(arrays[field], an_input.shape)
      except UsageError:
        raise
      except Exception as error:  # any input's own kind
        what = f'{type(error).__name__}: ' if not str(error) else ''
        raise UsageError(
          f'record {index} of {self.name}, field {field!r}: {what}{error}'
        ) from error
    return self._complete(arrays, record.get('label', 0), mask=1)

  def _complete(self, arrays: dict, label: int, mask: int) -> dict:
    if self.labelled:
      arrays['label'] = np.int32(label)
    return arrays | {'mask': np.float32(mask)}


def _check_shapes(arrays, expected) -> None:
  if isinstance(expected, jax.ShapeDtypeStruct):  # the usual one, in a hurry
    shapes, wanted = np.shape(arrays), expected.shape
  else:
    shapes = jax.tree.map(np.shape, arrays)
    wanted = jax.tree.map(lambda leaf: leaf.shape, expected)
  if shapes != wanted:
    raise ValueError(
      f'its array is {shapes} where the source promises {wanted}; convert the '
      'file, or remove it'
    )
