"""Losses: every one compares embeddings with targets at every prefix.

A row of LOSSES is a class. Its keywords are the keys of `config.task.loss`;
`mesh` and `tile` come from code. An object of it is called as

  loss(embedding, targets, granularities, row_weights) -> nested.Loss

`targets` is the other side of the comparison, with the parameters that it
learns: `softmax.Targets` or `pairs.Targets`. The total is the sum over
prefixes and rows of weight * row weight * loss, and what is differentiated;
`row_weights` come first because a mean over valid rows is mask / sum(mask).
"""

from mrl_jax.losses import pairs, softmax

LOSSES = {
  'softmax': softmax.Softmax,
  'info_nce': pairs.InfoNCE,
  'sigmoid': pairs.Sigmoid,
}
