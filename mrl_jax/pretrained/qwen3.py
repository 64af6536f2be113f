"""config.json of Qwen3: sizes and choices of our encoder."""

from collections.abc import Mapping
from typing import Any

from mrl_jax.errors import UsageError
from mrl_jax.pretrained import fields

SIZES = {
  'width': 'hidden_size',
  'depth': 'num_hidden_layers',
  'heads': 'num_attention_heads',
  'groups': 'num_key_value_heads',
  'size': 'head_dim',
  'hidden': 'intermediate_size',
  'rows': 'vocab_size',
}
LIMIT = 'max_position_embeddings'
VARIANTS = {
  'attention_bias': (None, False),
  'use_sliding_window': (None, False),
  'rope_scaling': (None,),
  'hidden_act': (None, 'silu'),
  'is_causal': (None, True),
  'use_bidirectional_attention': (None, False),
  'auto_map': (None,),
}


def encoder_options(
  config: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], int]:
  """(options of encoders/qwen3.py, most tokens) from a config.json.

  Args:
    config: what it holds.
    path: of the file, for errors.

  Raises:
    UsageError: for a variant that is not built.
  """
  fields.refuse_variants(config, path, VARIANTS)
  others = set(config.get('layer_types') or ()) - {'full_attention'}
  if others:
    raise UsageError(f'{path}: blocks of {", ".join(others)} are not read')
  sizes = fields.sizes(config, path, SIZES)
  limit = fields.sizes(config, path, {'length': LIMIT})['length']
  options = {
    'name': 'qwen3',
    **sizes,
    'epsilon': config.get('rms_norm_eps', 1e-6),
    'base': fields.rotary_base(
      config.get('rope_parameters') or config, path, None
    ),
    'pool': 'last',
  }
  return options, limit
