"""config.json of BERT and its kin: sizes and choices of our encoder."""

from collections.abc import Mapping
from typing import Any

from mrl_jax.pretrained import fields

# model_type -> whether only real tokens are counted, from after the padding's
# number. Other types compute something else, even where their names agree.
COUNTED = {
  'bert': False,
  'roberta': True,
  'xlm-roberta': True,
  'camembert': True,
}
SIZES = {
  'width': 'hidden_size',
  'depth': 'num_hidden_layers',
  'heads': 'num_attention_heads',
  'hidden': 'intermediate_size',
  'positions': 'max_position_embeddings',
  'rows': 'vocab_size',
}
VARIANTS = {
  'is_decoder': (None, False),
  'add_cross_attention': (None, False),
  'position_embedding_type': (None, 'absolute'),
  'auto_map': (None,),
}


def encoder_options(
  config: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], int]:
  """(options of encoders/bert.py, most tokens) from a config.json.

  Args:
    config: what it holds; its model_type is a key of COUNTED.
    path: of the file, for errors.

  Raises:
    UsageError: for a variant that is not built.
  """
  fields.refuse_variants(config, path, VARIANTS)
  sizes = fields.sizes(config, path, SIZES)
  padding = config.get('pad_token_id')
  padding = 1 if padding is None else padding
  first = padding + 1 if COUNTED[config['model_type']] else 0
  options = {
    'name': 'bert',
    **sizes,
    'activation': fields.activation(config, path, 'hidden_act'),
    'epsilon': config.get('layer_norm_eps', 1e-12),
    'types': config.get('type_vocab_size', 2),
    'first_position': first,
  }
  return options, sizes['positions'] - first
