"""Losses: pure functions that return one value per example."""

from mrl_jax.losses import softmax

LOSSES = {'softmax': softmax.nested_cross_entropy}
