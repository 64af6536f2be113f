"""config.json of ModernBERT: sizes and choices of our encoder."""

from collections.abc import Mapping
from typing import Any

from mrl_jax.errors import UsageError
from mrl_jax.pretrained import fields

SIZES = {
  'width': 'hidden_size',
  'depth': 'num_hidden_layers',
  'heads': 'num_attention_heads',
  'hidden': 'intermediate_size',
  'rows': 'vocab_size',
}
LIMIT = 'max_position_embeddings'
GLOBAL, LOCAL = 'full_attention', 'sliding_attention'
BASES = {GLOBAL: 160_000.0, LOCAL: 10_000.0}
VARIANTS = {
  'norm_bias': (None, False),
  'attention_bias': (None, False),
  'mlp_bias': (None, False),
  'rope_scaling': (None,),
  'auto_map': (None,),
}


def encoder_options(
  config: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], int]:
  """(options of encoders/modernbert.py, most tokens) from a config.json.

  Args:
    config: what it holds.
    path: of the file, for errors.

  Raises:
    UsageError: for a variant that is not built.
  """
  fields.refuse_variants(config, path, VARIANTS)
  sizes = fields.sizes(config, path, SIZES)
  limit = fields.sizes(config, path, {'length': LIMIT})['length']
  bases = _bases(config, path)
  options = {
    'name': 'modernbert',
    **sizes,
    'activation': fields.activation(config, path, 'hidden_activation'),
    'epsilon': config.get('norm_eps', 1e-5),
    'global_every': _global_every(config, path),
    'window': config.get('local_attention', 128),
    'global_base': bases[GLOBAL],
    'local_base': bases[LOCAL],
  }
  return options, limit


def _bases(config: Mapping[str, Any], path: str) -> dict[str, float]:
  """The base of each kind of block, as new files say it or old ones."""
  rotary = config.get('rope_parameters')
  if rotary is None:
    whole = config.get('global_rope_theta', BASES[GLOBAL])
    local = config.get('local_rope_theta', BASES[LOCAL])
    return {
      GLOBAL: float(whole),
      LOCAL: float(whole if local is None else local),
    }
  return {
    kind: fields.rotary_base(rotary.get(kind) or {}, path, default)
    for kind, default in BASES.items()
  }


def _global_every(config: Mapping[str, Any], path: str) -> int:
  """Every how many blocks one looks at all tokens, the first for certain."""
  kinds = config.get('layer_types')
  if kinds is None:
    return config.get('global_attn_every_n_layers', 3)
  after = kinds[1:]
  every = 1 + (after.index(GLOBAL) if GLOBAL in after else len(after))
  expected = [
    LOCAL if i % every else GLOBAL for i in range(config['num_hidden_layers'])
  ]
  if kinds != expected:
    raise UsageError(
      f'{path}: layer_types={kinds} is not read; one block in every so many, '
      f'the first of them, may be {GLOBAL!r} and the others {LOCAL!r}'
    )
  return every
