"""Checks of evaluators' options: one line that names the value and the rule."""

from collections.abc import Sequence


def at_least(least: float, **options: float) -> None:
  """Raises ValueError for an option below `least`."""
  for name, value in options.items():
    if value < least:
      raise ValueError(f'{name}={value} must be at least {least}')


def between_0_and_1(**options: float) -> None:
  """Raises ValueError for an option that is not a share between 0 and 1."""
  for name, value in options.items():
    if not 0 < value < 1:
      raise ValueError(f'{name}={value} must be above 0 and below 1')


def whole_numbers(name: str, values: Sequence[int]) -> tuple[int, ...]:
  """The values as integers, each once, increasing; all are at least 1.

  Raises:
    ValueError: for another value.
  """
  values = tuple(values)
  numbers = all(isinstance(value, (int, float)) for value in values)
  if not numbers or any(int(v) != v or v < 1 for v in values):
    raise ValueError(f'{name}={values} must be whole numbers above 0')
  return tuple(sorted({int(value) for value in values}))


def subset(name: str, values: Sequence, allowed: Sequence) -> tuple:
  """The values, once each is allowed and none repeats; all of them for ().

  Raises:
    ValueError: for a value that is not allowed or repeats.
  """
  values = tuple(values)
  for value in values:
    if value not in allowed:
      known = ', '.join(map(str, allowed))
      raise ValueError(f'{name}: {value!r} is not one of {known}')
  if len(set(values)) < len(values):
    raise ValueError(f'{name}={values} repeats one; name each once')
  return values or tuple(allowed)
