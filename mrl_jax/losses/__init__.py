"""Losses."""

from mrl_jax.losses import softmax

LOSSES = {'softmax': softmax.Softmax}
