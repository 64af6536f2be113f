"""Files that belong to a model: those that the options of its inputs name.

A run and a saved model keep a copy of each, so that they can be loaded when
the file itself is gone.
"""

import copy
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax.errors import UsageError
from mrl_jax.inputs import INPUTS


def keep(folder: Path, config: ConfigDict) -> ConfigDict:
  """The config naming copies of its files, which are written into `folder`.

  A copy is called by its field and option, like text.tokenizer.json. Fields of
  equal files share one.
  """
  config = copy.deepcopy(config)
  names: dict[bytes, str] = {}
  for field, option, path in _named(config):
    data = path.read_bytes()
    name = names.setdefault(data, f'{field}.{option}{path.suffix}')
    config.inputs[field][option] = name
  for data, name in names.items():
    partial = folder / f'.{name}.{os.getpid()}'
    partial.write_bytes(data)
    partial.rename(folder / name)
  return config


def resolved(folder: Path, config: ConfigDict) -> ConfigDict:
  """The config of a folder that `keep` wrote, naming the copies by path."""
  config = copy.deepcopy(config)
  for group in config.inputs.values():
    for option in getattr(INPUTS[group.name], 'files', {}):
      if group[option]:
        group[option] = str(folder / group[option])
  return config


def by_content(config: ConfigDict) -> ConfigDict:
  """The config with what is in its files in place of their paths."""
  config = copy.deepcopy(config)
  for field, option, path in _named(config):
    digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    config.inputs[field][option] = f'{path.suffix} {digest}'
  return config


def _named(config: ConfigDict) -> Iterator[tuple[str, str, Path]]:
  """(field, option, path) of every file of a config."""
  for field, group in config.inputs.items():
    for option, find in getattr(INPUTS[group.name], 'files', {}).items():
      try:
        yield field, option, find(group[option])
      except ValueError as error:
        raise UsageError(f'inputs.{field}: {error}') from error
