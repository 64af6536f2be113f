"""Encoders: an input becomes an embedding [b d], or one per layer [l b d].

A row here is a class that keeps contracts.Encoder; its options are the keys of
`config.encoder`.
"""

from mrl_jax.encoders import bert, modernbert, qwen3, static, vit

ENCODERS = {
  'vit': vit.ViT,
  'bert': bert.Bert,
  'modernbert': modernbert.ModernBert,
  'qwen3': qwen3.Qwen3,
  'static': static.Static,
}
