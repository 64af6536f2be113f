"""What a config takes over from the weights that its encoder starts from.

`encoder.weights` names a model of others. Its sizes, its pooling, its
tokenizer and its prompts fill what the config leaves at the default, so that
the config of the run is complete and does not need that model again.
"""

from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax import pretrained, schema, workdir
from mrl_jax.config import flatten, plain
from mrl_jax.encoders import ENCODERS
from mrl_jax.errors import UsageError
from mrl_jax.inputs import INPUTS
from mrl_jax.integrity import steps

# Options of an encoder that a run may choose for itself.
CHOICES = ('name', 'weights', 'pool', 'dropout', 'remat', 'dtype')


def inherit(config: ConfigDict, folder: str | Path) -> ConfigDict:
  """The config with what `encoder.weights` says, if it names any.

  Args:
    config: complete.
    folder: of the run. One that has begun says it itself: the model of others
      may be gone.

  Raises:
    UsageError: for a model that cannot be read, or values that differ from
      its own.
  """
  _check_elsewhere(config)
  where = config.encoder.get('weights', '')
  if not where:
    return config
  if config.init_from:
    raise UsageError(
      f'encoder.weights={where} and init_from={config.init_from}: an encoder '
      'starts from one of them'
    )
  groups = _groups(where, Path(folder))
  family = groups['encoder']['name']
  if config.encoder.name != family:
    raise UsageError(
      f'encoder.name={config.encoder.name}: {where} is a {family} encoder; set '
      f'encoder.name={family}'
    )
  changed = plain(config)
  _fill_encoder(changed['encoder'], groups['encoder'], where)
  texts = groups['inputs']
  for field, group in changed['inputs'].items():
    theirs = texts.get(field, next(iter(texts.values())))
    if group['name'] == theirs['name']:
      defaults = schema.options(INPUTS[group['name']])
      changed['inputs'][field] = _filled(group, theirs, defaults)
  changed['dims'] = changed['dims'] or tuple(groups['dims'])
  return schema.complete(changed)


def _groups(where: str, folder: Path) -> Mapping:
  """The groups of a run that began from these weights, or of the model."""
  if steps(folder / 'checkpoints') and (folder / 'config.json').exists():
    saved = plain(workdir.read_config(folder))
    if saved['encoder'].get('weights') == where:
      return saved
  return pretrained.read(where).config


def _fill_encoder(ours: dict, theirs: Mapping, where: str) -> None:
  defaults = schema.options(ENCODERS[ours['name']])
  wrong = [
    f'encoder.{key}={ours[key]!r} where it has {theirs[key]!r}'
    for key in theirs
    if key not in CHOICES and ours[key] not in (defaults[key], theirs[key])
  ]
  if wrong:
    raise UsageError(
      f'encoder.weights={where} is of other sizes: {"; ".join(wrong)}; leave '
      'them out'
    )
  ours |= _filled(ours, theirs, defaults)


def _filled(ours: Mapping, theirs: Mapping, defaults: Mapping) -> dict:
  """Our values, those at the default replaced by theirs."""
  return {
    key: theirs.get(key, value) if value == defaults.get(key) else value
    for key, value in ours.items()
  }


def _check_elsewhere(config: ConfigDict) -> None:
  """Raises UsageError for weights of a second encoder, which nobody reads."""
  for key, value in flatten(config.task).items():
    if key.endswith('encoder.weights') and value:
      raise UsageError(
        f'task.{key}={value} is not read; only encoder.weights is'
      )
