"""The folder of a run, which belongs to one config."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax import facts, schema
from mrl_jax.config import check_local, differences, plain, to_json
from mrl_jax.contracts import Facts
from mrl_jax.errors import UsageError
from mrl_jax.integrity import steps
from mrl_jax.migrate import migrated


def read_config(workdir: str | Path) -> ConfigDict:
  """The config of a run, from its workdir.

  Raises:
    UsageError: if it has none, or it cannot be read.
  """
  path = Path(workdir) / 'config.json'
  try:
    saved = json.loads(path.read_text())
  except OSError:
    raise UsageError(f'{workdir} is not a run: it has no config.json') from None
  except ValueError as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  return schema.complete(migrated(plain(ConfigDict(saved))))


def claim(workdir: str | Path, config: ConfigDict, known: Facts) -> None:
  """Writes the config and the facts of the data into the workdir.

  Not if it holds a run of another config.

  Raises:
    UsageError: if it cannot be written, or holds a run of another config.
  """
  path = Path(workdir)
  check_local('--workdir', str(workdir))
  try:
    path.mkdir(parents=True, exist_ok=True)
    # A run that never saved a step has nothing to protect.
    if steps(path / 'checkpoints') and (path / 'config.json').exists():
      changed = differences(read_config(path), config)
      if changed:
        raise UsageError(
          f'{path} holds a run of another config ('
          + '; '.join(changed)
          + '); choose another --workdir, or delete it'
        )
    partial = path / f'.config.{os.getpid()}.json'
    partial.write_text(to_json(config))
    partial.rename(path / 'config.json')
    facts.write(path, known)
  except OSError as error:
    raise UsageError(f'--workdir={path} cannot be written: {error}') from error
