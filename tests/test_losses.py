"""Softmax cross entropy against hand-worked values and a naive formula."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mrl_jax.losses import softmax


def test_cross_entropy_by_hand():
  logits = jnp.log(jnp.asarray([[1.0, 3.0], [1.0, 1.0]]))
  targets = jnp.asarray([[0.0, 1.0], [0.25, 0.75]])
  expected = jnp.asarray([np.log(4 / 3), np.log(2)])
  chex.assert_trees_all_close(
    softmax.cross_entropy(logits, targets), expected, rtol=1e-6
  )


def test_label_smoothing_of_ids_and_of_distributions():
  ids = softmax.smooth_labels(jnp.asarray([2]), 4, 0.2)
  chex.assert_trees_all_close(ids, jnp.asarray([[0.05, 0.05, 0.85, 0.05]]))
  soft = softmax.smooth_labels(jnp.asarray([[0.5, 0.5, 0, 0]]), 4, 0.2)
  chex.assert_trees_all_close(soft, jnp.asarray([[0.45, 0.45, 0.05, 0.05]]))


def test_weighted_sum_not_mean():
  logits = jax.random.normal(jax.random.key(0), (3, 4, 5))
  targets = jax.nn.one_hot(jnp.arange(4), 5)
  weights = jnp.asarray((2.0, 1.0, 0.5))
  rows = softmax.nested_cross_entropy(logits, targets, weights)
  chex.assert_shape(rows, (4,))
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  naive = sum(
    w * -np.log(p[g, np.arange(4), np.arange(4)])
    for g, w in enumerate((2.0, 1.0, 0.5))
  )
  np.testing.assert_allclose(rows, naive, rtol=1e-5)


def test_large_bfloat16_logits_stay_finite_and_float32():
  logits = jnp.asarray([[1000.0, -1000.0]], jnp.bfloat16)
  loss = softmax.cross_entropy(logits, jnp.asarray([[0.0, 1.0]]))
  assert loss.dtype == jnp.float32 and float(loss[0]) == 2000
