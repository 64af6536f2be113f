"""Runs that end early: after a signal, after a loss that is not finite."""

import re
import signal

import pytest

from mrl_jax import checkpoint
from tests.samples import processes, runs

CODES = {'SIGTERM': 143, 'SIGINT': 130}


@pytest.mark.slow
@pytest.mark.parametrize('name', CODES)
def test_a_signal_saves_first(tmp_path, name):
  words = [
    '--config.train.steps=1000000000',
    '--config.train.eval_every=1000000000',
    '--config.checkpoint.every=1000000000',
    '--config.train.log_every=5',
  ]
  metrics = tmp_path / 'metrics.jsonl'
  argv = ['train.py', runs.SMOKE, f'--workdir={tmp_path}', *words]
  with processes.Child(*argv) as child:
    child.wait_until(lambda: metrics.exists() and metrics.read_text())
    child.process.send_signal(signal.Signals[name])
    code, out, err = child.finish()
  assert code == CODES[name], err
  (step,) = checkpoint.steps(tmp_path / 'checkpoints')
  assert f'stopped by {name} at step {step:,}, saved' in out
  assert (tmp_path / 'checkpoints' / str(step) / 'manifest.json').exists()


@pytest.mark.slow
@pytest.mark.parametrize('log_every', [1, 100])
def test_a_loss_that_is_not_finite_gives_up(run_cli, tmp_path, log_every):
  code, _, err = run_cli(
    'train',
    runs.SMOKE,
    f'--workdir={tmp_path}',
    '--config.optim.name=sgd',
    '--config.optim.learning_rate=1e30',
    '--config.optim.clip_norm=0',
    f'--config.train.log_every={log_every}',
    '--config.train.eval_every=100',
  )
  assert code == 3, err
  assert re.search(r'the (loss|gradient_norm) is (nan|inf) at step \d', err)
  # Step 3 would have been saved, had it not been checked first.
  assert checkpoint.steps(tmp_path / 'checkpoints') == []
