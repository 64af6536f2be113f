"""Two processes train together; one process reads what they saved."""

import numpy as np
import pytest

from tests.samples import processes, runs

# The launch chooses gloo for messages between CPUs.
WORKER = """
import sys
import jax
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
from mrl_jax import commands
sys.exit(commands.run_train())
"""


@pytest.mark.slow
def test_two_processes_train_and_one_restores(run_cli, tmp_path):
  """The losses are those of one process."""
  alone, pair = tmp_path / 'alone', tmp_path / 'pair'
  words = [runs.SMOKE, *runs.TWENTY, '--config.train.steps=10']
  assert run_cli('train', *words, f'--workdir={alone}')[0] == 0
  words += [f'--workdir={pair}', '--distributed={place}']
  first, second = processes.connected(WORKER, *words, devices=4)
  assert 'step' in first.out and 'with 95% intervals' in first.out
  assert 'with 95% intervals' not in second.out

  ours, theirs = (
    [line['train/loss'] for line in runs.losses(f)] for f in (pair, alone)
  )
  assert len(ours) == 10
  np.testing.assert_allclose(ours, theirs, rtol=1e-3)
  before = runs.rows(pair, 10)
  check_close(before, runs.rows(alone, 10), 0.02)  # a few near ties of 360
  code, _, err = run_cli('eval', f'--workdir={pair}')
  assert code == 0, err
  check_close(before, runs.rows(pair, 10), 0.01)


def check_close(rows, others, tolerance):
  for row, other in zip(rows, others, strict=True):
    for key in ('evaluator', 'dim', 'n'):
      assert row[key] == other[key]
    assert abs(row['value'] - other['value']) < tolerance
