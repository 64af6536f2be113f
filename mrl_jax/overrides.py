"""`--config.KEY=VALUE` words of the command line, applied to a config."""

import ast
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from mrl_jax.config import nearest
from mrl_jax.errors import UsageError
from mrl_jax.migrate import moved


class Change(NamedTuple):
  """One word: the keys from the top, and the text behind `=`."""

  path: tuple[str, ...]
  text: str


def parse(word: str) -> Change:
  """The change that `--config.a.b=value` asks for.

  Raises:
    UsageError: if the word is not of that form.
  """
  if not word.startswith('--config.'):
    hint = f'; did you mean --{word}?' if word.startswith('config.') else ''
    raise UsageError(f'{word!r} is not understood{hint} (see --help)')
  dotted, equals, text = word.removeprefix('--config.').partition('=')
  if not equals:
    raise UsageError(f'{word} has no value; write {word}=VALUE')
  return Change(tuple(dotted.split('.')), text)


def descend(config: Mapping, path: Sequence[str]):
  """What the keys lead to.

  Raises:
    UsageError: for a key that is not there, naming those that are.
  """
  reached, where = config, ''
  for key in path:
    if not isinstance(reached, Mapping | ConfigDict):
      raise UsageError(f'--config.{where}{key}: {where[:-1]} has no keys')
    if key not in reached:
      if now := moved(f'{where}{key}'):
        raise UsageError(f'--config.{where}{key} is now --config.{now}')
      raise UsageError(
        f'--config.{where}{key} is unknown; {nearest(key, reached, where)}'
      )
    reached = reached[key]
    where += f'{key}.'
  return reached


def replace(config: ConfigDict, path: Sequence[str], value) -> None:
  """Sets what the keys lead to, whatever its type was."""
  *parents, last = path
  group = descend(config, parents)
  with group.ignore_type():
    group[last] = ConfigDict(value) if isinstance(value, dict) else value


def apply(config: ConfigDict, change: Change) -> None:
  """Sets one key to the value that its text means.

  Values are Python literals, or plain text for text keys; whole numbers serve
  as floats, `a,b` as a tuple, and a dict replaces a whole group.

  Raises:
    UsageError: for an unknown key or a value of another type.
  """
  old = descend(config, change.path)
  replace(
    config, change.path, _convert(change.text, old, '.'.join(change.path))
  )


def _convert(text: str, old, key: str):
  """`text` as a value of the type of `old`."""
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = {'true': True, 'false': False}.get(text.lower(), text)
  if isinstance(old, ConfigDict):
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
      return ConfigDict(value)
    raise UsageError(
      f'--config.{key} is a group; set one of its keys '
      f'({", ".join(old) or "none yet"}), or all at once as {{"key": value}}'
    )
  many = isinstance(old, (tuple, list))
  if many and not isinstance(value, (tuple, list, str)):
    value = (value,)
  if many and isinstance(value, str) and key != 'weights':  # or a preset
    value = tuple(text.split(',')) if text else ()
  if isinstance(old, str) and not isinstance(value, (str, tuple, list)):
    value = text
  kinds = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str, tuple, list),
    tuple: (tuple, list, str),
    list: (tuple, list, str),
  }
  allowed = kinds.get(type(old), (object,))
  # An image's or a patch's size takes one number or a pair.
  flexible = (
    key.endswith(('.size', '.patch_size'))
    and isinstance(old, (int, tuple, list))
    and isinstance(value, (int, tuple, list))
    and not isinstance(value, bool)
  )
  wrong = not isinstance(value, allowed) or (
    isinstance(value, bool) and type(old) is not bool
  )
  if wrong and not flexible:
    raise UsageError(
      f'--config.{key}={text} must be a {type(old).__name__}, like {old!r}'
    )
  if type(old) is float:
    return float(value)
  return tuple(value) if isinstance(value, list) else value
