"""Fields of a config.json that several families read."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrl_jax.errors import UsageError

# Their names of activations and ours.
ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_python': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'gelu_accurate': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
}


def sizes(
  config: Mapping[str, Any], path: str, names: Mapping[str, str]
) -> dict[str, Any]:
  """{our option: the value under their name}.

  Raises:
    UsageError: for names that the config lacks.
  """
  if missing := [key for key in names.values() if config.get(key) is None]:
    raise UsageError(f'{path} has no {", ".join(missing)}')
  return {ours: config[theirs] for ours, theirs in names.items()}


def refuse_variants(
  config: Mapping[str, Any], path: str, allowed: Mapping[str, Sequence[Any]]
) -> None:
  """Raises UsageError for a key whose value is not one of those allowed.

  A key that is not there counts as None.
  """
  for key, values in allowed.items():
    if config.get(key) not in values:
      raise UsageError(
        f'{path}: {key}={config[key]!r} is another model than '
        f'{config["model_type"]}; it is not read'
      )


def activation(config: Mapping[str, Any], path: str, key: str) -> str:
  """Our name of the activation under a key, which is 'gelu' by default.

  Raises:
    UsageError: for one that is not built.
  """
  value = config.get(key, 'gelu')
  if value not in ACTIVATIONS:
    raise UsageError(
      f'{path}: {key}={value!r} is not one of {", ".join(ACTIVATIONS)}'
    )
  return ACTIVATIONS[value]


def rotary_base(
  rotary: Mapping[str, Any], path: str, default: float | None
) -> float:
  """The base of rotary angles that are not scaled.

  `rotary` holds rope_theta, and perhaps how angles are scaled.

  Raises:
    UsageError: for scaled angles, and without a base.
  """
  kind = rotary.get('rope_type', rotary.get('type'))
  if kind not in (None, 'default'):
    raise UsageError(
      f'{path}: rotary positions scaled by {kind!r} are not read'
    )
  base = rotary.get('rope_theta', default)
  if base is None:
    raise UsageError(f'{path} has no rope_theta')
  return float(base)
