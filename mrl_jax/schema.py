"""What a config may contain: every group, its keys and their defaults.

A config names only what differs from the defaults. `complete` adds the
defaults, which it reads from the signatures of what each group builds. So
every option can be shown (`--print_config`) and set, and an unknown key is
refused.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mrl_jax import input_files, optim, overrides, settings, sharding
from mrl_jax.config import FREE, flatten, nearest, plain
from mrl_jax.data import SOURCES
from mrl_jax.encoders import ENCODERS
from mrl_jax.errors import UsageError
from mrl_jax.evaluators import EVALUATORS
from mrl_jax.inputs import INPUTS
from mrl_jax.migrate import moved
from mrl_jax.tasks import TASKS

# Arguments that have a default but are given by the program, not by a config.
GIVEN = ('rngs', 'mesh', 'tile', 'devices', 'data_dir', 'ground')

FIRST = {'seed': 0, 'dims': (), 'weights': 'uniform', 'init_from': ''}


def complete(config: Mapping) -> ConfigDict:
  """The config with every key that it may have.

  Raises:
    UsageError: for a key that nothing takes, an unknown name or a group that
      is not one; the line names the nearest right ones.
  """
  given = plain(ConfigDict(config))
  known = {name: None for name in (*FIRST, *GROUPS)}
  _refuse(given, known, '')
  whole = {key: given.get(key, value) for key, value in FIRST.items()}
  for name, fill in GROUPS.items():
    group = given.get(name, {})
    if not isinstance(group, dict):
      raise UsageError(f'config.{name}={group!r} must be a group of keys')
    whole[name] = fill(group)
  return ConfigDict(whole)


def resolve(config: Mapping, words: Sequence[str]) -> ConfigDict:
  """The complete config with `--config.KEY=VALUE` words applied.

  Names are set first: choosing another name drops the keys of the old choice.
  """
  config = complete(config)
  changes = [overrides.parse(word) for word in words]
  choices = [change for change in changes if change.path[-1] == 'name']
  for change in sorted(choices, key=lambda change: len(change.path)):
    *parents, _ = change.path
    group = overrides.descend(config, parents)
    if group.get('name') != change.text:
      overrides.replace(config, parents, {'name': change.text})
      config = complete(config)
  for change in changes:
    if change not in choices:
      overrides.apply(config, change)
  return complete(config)


def essence(config: Mapping) -> dict[str, Any]:
  """The values by full key that decide what a run learns and computes.

  Of a file that an input reads, what is in it.
  """
  return {
    key: value
    for key, value in flatten(input_files.by_content(config)).items()
    if not any(key == free or key.startswith(f'{free}.') for free in FREE)
  }


def options(kind: Callable) -> dict[str, Any]:
  """The arguments that a config may set, with their defaults."""
  return {
    key: parameter.default
    for key, parameter in _parameters(kind).items()
    if key not in GIVEN and parameter.default is not inspect.Parameter.empty
  }


def _parameters(kind: Callable) -> Mapping[str, inspect.Parameter]:
  # The signature of an nnx module class is that of its metaclass.
  called = kind.__init__ if inspect.isclass(kind) else kind
  parameters = dict(inspect.signature(called).parameters)
  parameters.pop('self', None)
  return parameters


def arguments(group: Mapping, kind: Callable) -> dict[str, Any]:
  """The keys of a complete group as arguments of `kind`.

  A nested choice becomes a function that builds what was chosen; '' is None.
  """
  given = {key: plain(group[key]) for key in options(kind)}
  for key, table in getattr(kind, 'choices', {}).items():
    name = given[key]['name']
    given[key] = _maker(given[key], table[name]) if name else None
  return given


def _maker(group: Mapping, kind: Callable) -> Callable:
  """f(*args, **more): what is built from a group, given what is not in it."""
  chosen = arguments(group, kind)
  return lambda *args, **more: kind(*args, **chosen, **more)


def choose(table: Mapping, name: str, key: str):
  """table[name], or a UsageError that lists the table."""
  if name not in table:
    hint = nearest(name, table)
    meant = f'; {hint}' if hint.startswith('did') else ''
    raise UsageError(f'{key}={name!r} is not one of {", ".join(table)}{meant}')
  return table[name]


def _filled(group: Mapping, kind: Callable, where: str) -> dict:
  """The group's keys, completed by the defaults of what it builds."""
  defaults = options(kind)
  required = [key for key in _parameters(kind) if key not in defaults]
  for key in group:
    if key in required:
      raise UsageError(
        f'{where}.{key} is not for a config to set: the program gives it'
      )
  _refuse(group, defaults, where)
  filled = defaults | dict(group)
  for key, table in getattr(kind, 'choices', {}).items():
    first = next((n for n, row in table.items() if row is defaults[key]), '')
    chosen = filled[key] if isinstance(filled[key], dict) else {}
    filled[key] = _chosen(table, first, f'{where}.{key}')(chosen)
  return filled


def _refuse(group: Mapping, known: Mapping, where: str) -> None:
  for key in group:
    if key in known:
      continue
    dotted = f'{where}.{key}' if where else key
    if now := moved(dotted):
      raise UsageError(f'config.{dotted} is now config.{now}')
    raise UsageError(f'config.{dotted} is unknown; {nearest(key, known)}')


def _chosen(table: Mapping, first: str, where: str) -> Callable:
  """A function that completes a group whose `name` is a row of the table."""

  def fill(group: Mapping) -> dict:
    name = group.get('name', first)
    if not name and not first:
      return {'name': ''}
    kind = choose(table, name, f'{where}.name')
    rest = {key: value for key, value in group.items() if key != 'name'}
    return {'name': name} | _filled(rest, kind, where)

  return fill


def _inputs(group: Mapping) -> dict:
  group = group or {'image': {}}
  return {
    field: _chosen(INPUTS, next(iter(INPUTS)), f'inputs.{field}')(part)
    for field, part in group.items()
  }


def _data(group: Mapping) -> dict:
  rest = {key: value for key, value in group.items() if key != 'source'}
  source = _chosen(SOURCES, next(iter(SOURCES)), 'data.source')
  return {
    'source': source(group.get('source', {})),
    **_filled(rest, settings.Data, 'data'),
  }


def _optim(group: Mapping) -> dict:
  filled = options(settings.Optim) | {'options': {}}
  _refuse(group, filled, 'optim')
  filled |= dict(group)
  kind = choose(optim.OPTIMIZERS, filled['name'], 'optim.name')
  return filled | {'options': _filled(filled['options'], kind, 'optim.options')}


def _eval(group: Mapping) -> dict:
  own = options(settings.Eval)
  _refuse(group, own | EVALUATORS, 'eval')
  parts = {
    name: _filled(group.get(name, {}), kind, f'eval.{name}')
    for name, kind in EVALUATORS.items()
  }
  return own | {k: v for k, v in group.items() if k in own} | parts


# Every group of a config -> what completes it.
GROUPS = {
  'inputs': _inputs,
  'encoder': _chosen(ENCODERS, next(iter(ENCODERS)), 'encoder'),
  'task': _chosen(TASKS, next(iter(TASKS)), 'task'),
  'data': _data,
  'train': lambda group: _filled(group, settings.Train, 'train'),
  'optim': _optim,
  'mesh': lambda group: _filled(group, sharding.make_mesh, 'mesh'),
  'eval': _eval,
  'checkpoint': lambda group: _filled(group, settings.Checkpoint, 'checkpoint'),
}
