"""The definition against loops in numpy, and its pieces by hand."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax.losses.softmax import reference


@pytest.mark.parametrize(
  'per_prefix, smoothing', list(itertools.product([False, True], [0.0, 0.1]))
)
def test_equals_loops_in_numpy(small, per_prefix, smoothing):
  (total, result), _ = small.reference(per_prefix, smoothing)
  case = small.make(per_prefix)
  losses = small.naive(case, smoothing)
  np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
  weighted = np.asarray(small.weights) @ losses @ case.rows
  np.testing.assert_allclose(total, weighted, rtol=1e-12)


def test_cross_entropy_by_hand():
  logits = jnp.log(jnp.asarray([[1.0, 3.0], [1.0, 1.0]]))
  targets = jnp.asarray([[0.0, 1.0], [0.25, 0.75]])
  expected = jnp.asarray([np.log(4 / 3), np.log(2)])
  chex.assert_trees_all_close(
    reference.cross_entropy(logits, targets), expected, rtol=1e-6
  )


def test_an_impossible_class_that_is_no_target_adds_nothing():
  logits = jnp.asarray([[0.0, 0.0, -jnp.inf]])
  target = jnp.asarray([[0.5, 0.5, 0.0]])
  loss, slope = jax.value_and_grad(
    lambda x: reference.cross_entropy(x, target)[0]
  )(logits)
  np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
  np.testing.assert_allclose(slope, np.zeros((1, 3)), atol=1e-6)


def test_smoothed_targets_by_hand():
  def distribution(labels, shares, smoothing):
    z, kernel, bias = jnp.zeros((1, 2)), jnp.zeros((2, 4)), jnp.zeros((1, 4))
    labels, shares = jnp.asarray([labels]), jnp.asarray([shares])
    problem = reference.Problem(z, kernel, bias, None, labels, shares)
    return reference.target_distribution(problem, smoothing)

  one = distribution([2], [1.0], 0.2)
  chex.assert_trees_all_close(one, jnp.asarray([[0.05, 0.05, 0.85, 0.05]]))
  two = distribution([0, 1], [0.5, 0.5], 0.2)
  chex.assert_trees_all_close(two, jnp.asarray([[0.45, 0.45, 0.05, 0.05]]))
