"""Runs of the tests: how they are configured, built, started and read.

Tests of whole runs call these functions and not `config`, `build` and `state`.
"""

import dataclasses
import json
from pathlib import Path

import jax

from mrl_jax import build, config, state
from mrl_jax.data import feed

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


def parameters(train_state):
  """The parameters of a state, as NumPy arrays."""
  return jax.device_get(train_state.params)


def broken(train_state):
  """The state with parameters that are not finite."""
  nan = jax.tree.map(lambda x: x * float('nan'), train_state.params)
  return dataclasses.replace(train_state, params=nan)


def averaged(train_state):
  """The state with its moving average as its parameters, and no average."""
  return dataclasses.replace(
    train_state, params=train_state.average, average={}
  )


def evaluated(run, name: str, train_state):
  """The rows of one evaluator on what a run would deploy of this state."""
  evidence = run.evidence(train_state.best_params, train_state.stats)
  return run.evaluators[name].run(evidence)


def abstract_batch(run, size: int):
  """The shapes and placement of a batch, as plan makes them without data."""
  return feed.abstract_batch(size, run.encoder.image_size, 1, run.mesh)


def bytes_of_a_device(learner) -> tuple[int, int]:
  """(parameters, optimizer) that the first device holds of a fresh state."""
  created = state.create(learner.init, learner.placed, seed=0)

  def held(tree) -> int:
    shards = [x.addressable_shards[0] for x in jax.tree.leaves(tree)]
    return sum(shard.data.nbytes for shard in shards)

  return held(created.params), held(created.opt_state)


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
