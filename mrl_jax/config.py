"""Configs: loaded from files, compared, written down.

A config is a ConfigDict of plain data from `configs/*.py`. schema.py knows its
keys; the code that uses a value checks it and raises a ValueError. `blame`
turns that into a UsageError, which the command line prints as one line with
exit code 2.
"""

import contextlib
import difflib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax.errors import UsageError

# Keys that may differ when a run resumes: they do not change what is learned,
# or say how long (workdir.py checks that).
FREE = (
  'mesh',
  'task.loss.form',
  'eval',
  'checkpoint',
  'train.steps',
  'train.epochs',
  'train.log_every',
  'train.eval_every',
  'data.dir',
  'data.threads',
  'data.workers',
)


@contextlib.contextmanager
def blame(part: str):
  """Turns a ValueError inside into a UsageError that names the config part."""
  try:
    yield
  except UsageError:
    raise
  except (ValueError, TypeError) as error:
    text = str(error)
    named = text.startswith((part, 'dims=', 'weights='))
    text = text if named else f'{part}: {text}'
    raise UsageError(text) from error


def nearest(word: str, known: Iterable[str], before: str = '') -> str:
  """A question that names close words, else the list of what is known.

  `before` stands before each of them.
  """
  known = [str(k) for k in known]
  close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
  if close:
    return f'did you mean {" or ".join(before + k for k in close)}?'
  return f'known: {", ".join(before + k for k in known) or "nothing"}'


def plain(value):
  """ConfigDicts as dicts, and lists as tuples, all the way down."""
  if isinstance(value, ConfigDict):
    return {k: plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return tuple(plain(v) for v in value)
  return value


def load(flag: str) -> tuple[ConfigDict, str]:
  """(config, run name) of `FILE.py[:ARG]`.

  Raises:
    UsageError: for a missing file, one that fails, or an unknown variant.
  """
  file, _, argument = flag.partition(':')
  path = _found(Path(file))
  if not path.is_file() or path.suffix != '.py':
    there = sorted(str(p) for p in path.parent.glob('*.py'))
    raise UsageError(
      f'--config={file}: no such .py file; {nearest(file, there)}'
    )
  spec = importlib.util.spec_from_file_location('mrl_jax_config', path)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    config = module.get_config(argument)
  except ValueError as error:
    raise UsageError(f'--config={flag}: {error}') from error
  except Exception as error:
    raise UsageError(
      f'--config={flag} fails: {type(error).__name__}: {error}'
    ) from error
  run = path.stem + (f'-{argument}' if argument else '')
  return config, run.replace('/', '').replace(',', '-')


def _found(path: Path) -> Path:
  """The config file itself, or the one of that name that is installed."""
  package = Path(__file__).parent
  places = path, package / path, package.parent / path
  return next((place for place in places if place.is_file()), path)


def to_json(config: ConfigDict) -> str:
  """The config as text that `json.loads` reads."""
  return json.dumps(plain(config), indent=2)


def flatten(config: Mapping, prefix: str = '') -> dict:
  """The values by full key, like {'optim.name': 'adamw'}."""
  flat = {}
  for key, value in plain(ConfigDict(config)).items():
    if isinstance(value, dict):
      flat.update(flatten(value, f'{prefix}{key}.'))
    else:
      flat[prefix + key] = value
  return flat


def differences(saved: ConfigDict, new: ConfigDict) -> list[str]:
  """One line per key whose value differs, free keys left out."""
  old, now = flatten(saved), flatten(new)
  missing = '(absent)'
  return [
    f'{key}: saved {old.get(key, missing)!r}, now {now.get(key, missing)!r}'
    for key in sorted(old.keys() | now.keys())
    if old.get(key, missing) != now.get(key, missing)
    and not any(key == free or key.startswith(f'{free}.') for free in FREE)
  ]


def check_local(key: str, path: str) -> None:
  """Raises UsageError for a URL, which would become a folder of that name.

  Also for a name that the locale cannot read: Orbax could not write there.
  """
  if any('\ud800' <= letter <= '\udfff' for letter in path):
    raise UsageError(
      f'{key}={ascii(path)} is not text in this locale; set PYTHONUTF8=1, or '
      'name it in ASCII'
    )
  if '://' in path:
    raise UsageError(
      f'{key}={path} must be a folder; mount the bucket and name its folder'
    )
