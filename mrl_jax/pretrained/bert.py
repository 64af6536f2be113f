"""config.json of BERT and its kin: sizes and choices of our encoder."""

from collections.abc import Mapping
from typing import Any

from mrl_jax.errors import UsageError

# model_type -> whether only real tokens are counted, from after the padding's
# number. Other types compute something else, even where their names agree.
COUNTED = {
  'bert': False,
  'roberta': True,
  'xlm-roberta': True,
  'camembert': True,
}
ACTIVATIONS = {
  'gelu': 'gelu',
  'gelu_python': 'gelu',
  'gelu_new': 'gelu_tanh',
  'gelu_fast': 'gelu_tanh',
  'gelu_accurate': 'gelu_tanh',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
}
SIZES = {
  'width': 'hidden_size',
  'depth': 'num_hidden_layers',
  'heads': 'num_attention_heads',
  'hidden': 'intermediate_size',
  'positions': 'max_position_embeddings',
  'rows': 'vocab_size',
}


def encoder_options(config: Mapping[str, Any], path: str) -> dict[str, Any]:
  """Options of encoders/bert.py from a config.json; `path` is for errors.

  Raises:
    UsageError: for another architecture, or a variant that is not built.
  """
  family = config.get('model_type')
  if family not in COUNTED:
    named = config.get('architectures') or [config.get('model_type')]
    raise UsageError(
      f'{path}: {named[0]} is not an encoder that is read; model_type may be '
      f'{", ".join(COUNTED)} or model2vec'
    )
  for key, allowed in (
    ('is_decoder', (None, False)),
    ('add_cross_attention', (None, False)),
    ('position_embedding_type', (None, 'absolute')),
    ('auto_map', (None,)),
  ):
    if config.get(key) not in allowed:
      raise UsageError(
        f'{path}: {key}={config[key]!r} is another model than {family}; it is '
        'not read'
      )
  if missing := [key for key in SIZES.values() if key not in config]:
    raise UsageError(f'{path} has no {", ".join(missing)}')
  activation = config.get('hidden_act', 'gelu')
  if activation not in ACTIVATIONS:
    raise UsageError(
      f'{path}: hidden_act={activation!r} is not one of '
      f'{", ".join(ACTIVATIONS)}'
    )
  padding = config.get('pad_token_id', 1)
  return {
    'name': 'bert',
    **{ours: config[theirs] for ours, theirs in SIZES.items()},
    'activation': ACTIVATIONS[activation],
    'epsilon': config.get('layer_norm_eps', 1e-12),
    'types': config.get('type_vocab_size', 2),
    'first_position': padding + 1 if COUNTED[family] else 0,
  }
