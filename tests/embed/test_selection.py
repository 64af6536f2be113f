"""The best of many scores without sorting them all."""

import jax
import numpy as np
import pytest

from mrl_jax.embed import selection


def plain(rows, columns=5):
  ones = jax.numpy.ones
  return selection.Scale(ones(rows, bool), ones(rows), ones(columns))


@pytest.mark.parametrize('rows', [1, 7, 8, 9, 63, 1000])
@pytest.mark.parametrize('k', [1, 3, 60])
def test_groups_of_groups_hold_the_best(rows, k):
  rng = np.random.default_rng(rows)
  # The largest are rare, so that groups of equal scores have other maxima.
  scores = rng.geometric(0.3, (rows, 5)).astype(np.float32)
  naive = [
    scores[start : start + selection.GROUP].max(axis=0)
    for start in range(0, rows, selection.GROUP)
  ]
  np.testing.assert_array_equal(selection.group_maxima(scores), naive)
  best, found = selection.exactly(jax.numpy.array(scores), plain(rows), k)
  expected = np.argsort(-scores.T, axis=1, kind='stable')[:, :k]
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(best, np.take_along_axis(scores.T, expected, 1))
