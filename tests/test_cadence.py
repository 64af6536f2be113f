"""What is due at a step, as a table."""

import pytest

from mrl_jax.cadence import Cadence, Due

CADENCE = Cadence(steps=20, log_every=4, eval_every=6, save_every=5)


@pytest.mark.parametrize(
  ('step', 'expected'),
  [
    # log, save, evaluate, finish
    (0, Due(False, False, False, False)),
    (1, Due(False, False, False, False)),
    (4, Due(True, False, False, False)),
    (5, Due(False, True, False, False)),
    (6, Due(False, True, True, False)),  # what is evaluated is saved first
    (12, Due(True, True, True, False)),
    (20, Due(True, True, True, True)),
    (25, Due(True, True, True, True)),  # restored beyond the end
  ],
)
def test_due(step, expected):
  assert CADENCE.due(step) == expected


def test_a_run_that_begins_at_its_end_evaluates_and_stops():
  assert Cadence(0, 1, 1, 1).due(0) == Due(False, True, True, True)
