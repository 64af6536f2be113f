"""Runs of the tests: how they are configured, built, started and read.

Tests of whole runs call these functions and not `config`, `build` and `state`.
"""

import dataclasses
import json
from pathlib import Path

import jax

from mrl_jax import build, config

SMOKE = '--config=configs/vit_mrl.py:smoke'

# Twenty steps with everything that a resume must bring back.
TWENTY = [
  '--config.train.steps=20',
  '--config.checkpoint.every=10',
  '--config.train.eval_every=100',
  '--config.train.log_every=1',
  '--config.encoder.dropout=0.1',
  '--config.task.mixup=0.2',
  '--config.optim.average=0.9',
  '--config.task.dims_per_step=2',
]


def loaded(name: str = 'vit_mrl.py:smoke', *words: str):
  """The config of configs/`name`, with --config.key=value words set."""
  settings, _ = config.load(f'configs/{name}')
  config.override(settings, list(words))
  return settings


def facts(workdir: Path) -> tuple[int, tuple[int, ...]]:
  """(training steps, dims that have a classifier) of a run."""
  settings = config.read_saved(workdir)
  fixed = settings.head.name == 'ff'
  return settings.train.steps, (
    (settings.head.dim,) if fixed else settings.dims
  )


def built(settings, workdir: Path):
  """The run of a config: its task, feed, mesh and evaluators."""
  return build.run(settings, workdir)


def host_state(workdir: Path, step: int):
  """(state, position) of a saved step, as NumPy arrays."""
  run = built(config.read_saved(workdir), workdir)
  saver = run.checkpointer()
  restored, position = saver.restore(step, run.placed)
  saver.close()
  return jax.device_get(restored), position


def parameters(state):
  """The parameters of a state, as NumPy arrays."""
  return jax.device_get(state.params)


def broken(state):
  """The state with parameters that are not finite."""
  nan = jax.tree.map(lambda x: x * float('nan'), state.params)
  return dataclasses.replace(state, params=nan)


def averaged(state):
  """The state with its moving average as its parameters, and no average."""
  return dataclasses.replace(state, params=state.average, average={})


def evaluated(run, name: str, state):
  """The rows of one evaluator on what a run would deploy of this state."""
  evidence = run.evidence(state.best_params, state.stats)
  return run.evaluators[name].run(evidence)


def metrics(workdir: Path) -> list[dict]:
  """The lines of metrics.jsonl."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def losses(workdir: Path) -> list[dict]:
  """The lines of metrics.jsonl that hold losses of training."""
  return [line for line in metrics(workdir) if 'train/loss' in line]


def rows(workdir: Path, step: int) -> list[dict]:
  """The result rows of one evaluation."""
  path = workdir / 'eval' / str(step) / 'results.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()]
