"""Encoders: an input becomes an embedding [b d], or one per layer [l b d].

A row here is a class whose constructor arguments are the keys of
`config.encoder`, with `width`, `dtype` and `image_size` among its attributes.
"""

from mrl_jax.encoders import vit

ENCODERS = {'vit': vit.ViT}
