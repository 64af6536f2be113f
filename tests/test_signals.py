"""Runs that end early: after a signal, after a loss that is not finite."""

import re
import shutil
import signal

import pytest

from mrl_jax import integrity, loop
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
  (step,) = integrity.steps(tmp_path / 'checkpoints')
  assert f'stopped by {name} at step {step:,}, saved' in out
  assert (tmp_path / 'checkpoints' / str(step) / 'manifest.json').exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', CODES)
def test_a_signal_while_compiling_saves_nothing_and_says_so(
  monkeypatch, run_cli, tmp_path, name
):
  """In a fresh run, and in one that goes on: both have made no step."""
  compiled = loop._compile

  def interrupted(*args):
    signal.raise_signal(signal.Signals[name])
    return compiled(*args)

  argv = [
    'train',
    runs.SMOKE,
    f'--workdir={tmp_path}',
    '--config.eval.only=linear',
  ]
  monkeypatch.setattr(loop, '_compile', interrupted)
  code, out, err = run_cli(*argv)
  assert code == CODES[name], err
  assert f'stopped by {name} before its first step, nothing to save' in out
  assert not integrity.steps(tmp_path / 'checkpoints') and 'saved' not in out

  monkeypatch.setattr(loop, '_compile', compiled)
  assert run_cli(*argv)[0] == 0
  shutil.rmtree(tmp_path / 'checkpoints' / '6')
  monkeypatch.setattr(loop, '_compile', interrupted)
  code, out, err = run_cli(*argv)
  assert code == CODES[name], err
  assert f'stopped by {name} at step 3, saved before, nothing new' in out
  assert integrity.steps(tmp_path / 'checkpoints') == [3]


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
  assert integrity.steps(tmp_path / 'checkpoints') == []
