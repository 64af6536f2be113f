"""The folder of a run, which belongs to one config."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax import facts, input_files, progress, schema
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
    saved = json.loads(path.read_text(encoding='utf-8'))
  except OSError:
    raise UsageError(f'{workdir} is not a run: it has no config.json') from None
  except ValueError as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  config = schema.complete(migrated(plain(ConfigDict(saved))))
  return input_files.resolved(Path(workdir), config)


def claim(
  workdir: str | Path, config: ConfigDict, known: Facts, length: int
) -> None:
  """Writes the config, its files and the facts of the data into the workdir.

  Not if it holds a run of another config.

  `length` is the number of steps of the whole run. It may be raised.

  Raises:
    UsageError: if it cannot be written, holds a run of another config, or one
      that has saved a later step than the last.
  """
  path = Path(workdir)
  check_local('--workdir', str(workdir))
  try:
    path.mkdir(parents=True, exist_ok=True)
    # A run that never saved a step has nothing to protect.
    if steps(path / 'checkpoints') and (path / 'config.json').exists():
      saved = read_config(path)
      changed = differences(
        input_files.by_content(saved), input_files.by_content(config)
      )
      if changed:
        raise UsageError(
          f'{path} holds a run of another config ('
          + '; '.join(changed)
          + '); choose another --workdir, or delete it'
        )
      _check_length(path, saved, config, length)
    partial = path / f'.config.{os.getpid()}.json'
    kept = input_files.keep(path, config)
    partial.write_text(to_json(kept), encoding='utf-8')
    partial.rename(path / 'config.json')
    facts.write(path, known)
  except OSError as error:
    raise UsageError(f'--workdir={path} cannot be written: {error}') from error


def _check_length(path: Path, saved, config: ConfigDict, length: int) -> None:
  """Raises UsageError if the run is past its end; says if its end has moved."""
  newest = max(steps(path / 'checkpoints'))
  if length < newest:
    raise UsageError(
      f'{path} has saved step {newest:,} and the config ends at {length:,}; '
      'raise train.steps (or epochs), or choose another --workdir'
    )
  keys = ('steps', 'epochs')
  schedule = config.optim.schedule
  if any(saved.train[k] != config.train[k] for k in keys):
    bent = f', so its {schedule} schedule differs from here on'
    progress.say(
      f'the run is now {length:,} steps long'
      + (bent if schedule != 'constant' else '')
    )
