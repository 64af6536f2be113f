"""The definition against loops in numpy."""

import numpy as np
import pytest


@pytest.mark.parametrize('plain', [True, False])
def test_equals_loops_in_numpy(small, kind, plain):
  (total, result), _ = small.reference(kind, plain)
  case = small.make_plain_or_full(plain)
  losses, hits = small.naive(kind, case)
  np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
  np.testing.assert_array_equal(result.hits, hits)
  weighted = np.asarray(small.weights) @ losses @ case.rows
  np.testing.assert_allclose(total, weighted, rtol=1e-12)
