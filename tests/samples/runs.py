"""Runs of the tests: how they are configured, built, started and read.

Tests of whole runs call these functions and not `config`, `build` and `state`.
"""

import dataclasses
import json
from pathlib import Path

import jax

from mrl_jax import build, config, schema, state, workdir
from mrl_jax.rows import without_queries

SMOKE = '--config=configs/vit_mrl.py:digits,smoke'

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


def loaded(name: str = 'vit_mrl.py:digits,smoke', *words: str):
  """The config of configs/`name`, with --config.key=value words set."""
  return schema.resolve(config.load(f'configs/{name}')[0], words)


def facts(folder: Path) -> tuple[int, tuple[int, ...]]:
  """(training steps, dims that have a classifier) of a run."""
  settings = workdir.read_config(folder)
  head = settings.task.head
  dims = (head.dim,) if head.name == 'ff' else settings.dims
  return settings.train.steps, dims


def built(settings, folder: Path):
  """The run of a config: its task, feed, mesh and evaluators."""
  return build.run(settings, folder)


def host_state(folder: Path, step: int):
  """(state, position) of a saved step, as NumPy arrays."""
  run = built(workdir.read_config(folder), folder)
  saver = run.checkpointer(read_only=True)
  tree, position = saver.restore(step, run.learner.placed.to_tree())
  saver.close()
  return jax.device_get(state.TrainState.from_tree(tree)), position


def parameters(train_state):
  """The parameters of a state, as NumPy arrays."""
  return jax.device_get(train_state.variables.params)


def broken(train_state):
  """The state with variables that are not finite."""
  nan = jax.tree.map(lambda x: x * float('nan'), train_state.variables)
  return dataclasses.replace(train_state, variables=nan)


def averaged(train_state):
  """The state with its moving average as its variables, and no average."""
  return dataclasses.replace(
    train_state, variables=train_state.average, average=None
  )


def evaluated(run, name: str, train_state):
  """(rows, details) of one evaluator on what a run would deploy of a state."""
  found, details = run.evaluators[name].run(run.evidence(train_state.best))
  return [without_queries(row) for row in found], details


def bytes_of_a_device(learner) -> tuple[int, int]:
  """(variables, optimizer) that the first device holds of a fresh state."""
  created = state.create(learner.init, learner.placed, seed=0)

  def held(tree) -> int:
    shards = [x.addressable_shards[0] for x in jax.tree.leaves(tree)]
    return sum(shard.data.nbytes for shard in shards)

  return held(created.variables), held(created.opt_state)


def metrics(folder: Path) -> list[dict]:
  """The lines of metrics.jsonl."""
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def losses(folder: Path) -> list[dict]:
  """The lines of metrics.jsonl that hold losses of training."""
  return [line for line in metrics(folder) if 'train/loss' in line]


def rows(folder: Path, step: int) -> list[dict]:
  """The result rows of one evaluation."""
  path = folder / 'eval' / str(step) / 'results.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()]
