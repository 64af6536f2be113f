"""Builds all parts of a run from its config; only this file reads configs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mrl_jax import (
  checkpoint,
  facts,
  integrity,
  material,
  nested,
  optim,
  pretrained,
  schema,
  settings,
  sharding,
  state,
)
from mrl_jax.cadence import Cadence
from mrl_jax.config import UsageError, blame, check_local, nearest, plain
from mrl_jax.contracts import Evaluator, Facts, Source, Spec, Task
from mrl_jax.data import FACTS, SOURCES, feed, judged
from mrl_jax.embed import evidence
from mrl_jax.encoders import ENCODERS
from mrl_jax.evaluators import EVALUATORS
from mrl_jax.inputs import INPUTS
from mrl_jax.shapes import PyTree
from mrl_jax.tasks import TASKS
from mrl_jax.variables import Variables


@dataclasses.dataclass(frozen=True)
class Placed:
  """A task and the devices that it runs on; no data."""

  mesh: Mesh
  spec: Spec
  task: Task


@dataclasses.dataclass(frozen=True)
class Learner(Placed):
  """All parts of a training step; no data.

  Attributes:
    init: key -> TrainState.
    placed: the state's shapes with their shardings.
    batch: the shapes of a training batch.
    steps: updates of the whole run.
  """

  optimizer: optax.GradientTransformation
  schedule: optax.Schedule
  init: Callable
  placed: state.TrainState
  batch: PyTree
  steps: int
  seed: int
  accumulate: int
  average: float

  def step(self):
    """The jitted training step."""
    return state.make_step(
      self.task,
      self.optimizer,
      self.schedule,
      self.placed,
      seed=self.seed,
      accumulate=self.accumulate,
      average=self.average,
    )


@dataclasses.dataclass(frozen=True)
class Run:
  """A run ready to train or to evaluate.

  Attributes:
    evaluators: by name, those that `eval.only` leaves.
    often: names of those that run at every evaluation.
    options: of every evaluator, to be written down with the results.
    essence: the values of the config that decide what is computed.
    evidence: variables -> the evidence that evaluators look at.
    facts: of the data; those of its first training if it resumes.
  """

  workdir: Path
  facts: Facts
  learner: Learner
  cadence: Cadence
  feed: feed.Feed
  evaluators: Mapping[str, Evaluator]
  often: tuple[str, ...]
  options: Mapping[str, Mapping[str, Any]]
  essence: Mapping[str, Any]
  evidence: Callable[[Variables], evidence.Evidence]
  checkpoint: settings.Checkpoint
  init_from: str
  weights: str

  def create(self) -> state.TrainState:
    """A fresh state, its encoders from `init_from` or `encoder.weights`."""
    learner, placed = self.learner, self.learner.placed.variables
    fresh = state.create(learner.init, learner.placed, learner.seed)
    if self.weights:
      given = pretrained.read(self.weights).variables(placed)
    elif self.init_from:
      folder = Path(self.init_from) / 'checkpoints'
      given = checkpoint.restore_encoders(folder, placed)
    else:
      return fresh
    params, stats = fresh.variables
    return fresh.with_variables(
      Variables(params | given.params, stats | given.stats)
    )

  def checkpointer(self, read_only: bool = False):
    """The Checkpointer of the run's folder."""
    return checkpoint.Checkpointer(
      self.workdir / 'checkpoints',
      self.checkpoint.keep,
      self.checkpoint.best,
      read_only,
    )


def run(config: ConfigDict, workdir: str | Path) -> Run:
  """The run of a complete config; every value is checked.

  Raises:
    UsageError: one line naming the key, its value, what is allowed, the fix.
  """
  workdir = Path(workdir)
  saved = integrity.steps(workdir / 'checkpoints')
  learned = facts.read(workdir) if saved else None
  base = model(config, learned or source_facts(config))
  train = _settings(config, 'train', settings.Train)
  keeping = _settings(config, 'checkpoint', settings.Checkpoint)
  evaluators = make_evaluators(config)
  dims, often = evaluated_dims(config), tuple(config.eval.often)
  _check_best(keeping.best, evaluators, often, dims)
  sets = judged.read_all(
    config.eval.retrieval_sets if 'sets' in evaluators else ()
  )
  material.check_texts(sets, base.spec.inputs)

  source = _load_source(config)
  if learned:
    source = facts.matched(source, learned)
  parts = learner(config, base, len(source.train))
  batches = _feed(config, source, parts)
  return Run(
    workdir=workdir,
    facts=learned or source.facts,
    learner=parts,
    cadence=Cadence(
      parts.steps, train.log_every, train.eval_every, keeping.every
    ),
    feed=batches,
    evaluators=evaluators,
    often=often,
    options=evaluator_options(config, sets),
    essence=schema.essence(config),
    evidence=material.maker(parts, batches, dims, sets),
    checkpoint=keeping,
    init_from=config.init_from,
    weights=config.encoder.get('weights', ''),
  )


def model(config: ConfigDict, known: Facts, devices=None) -> Placed:
  """The task of a config, for data of which this is known, and its mesh.

  `devices` are those of the mesh, this machine's when None.
  """
  mesh = make_mesh(config, devices)
  spec = _spec(config, known)
  with blame('dims'):
    last = config.dims[-1] if config.dims else 0
    dims = nested.check_dims(config.dims, last)
  with blame('weights'):
    weights = nested.dim_weights(plain(config.weights), dims)
  with blame('task'):
    task = _make(config.task, TASKS, spec, dims, weights, mesh)
  return Placed(mesh, spec, task)


def learner(config: ConfigDict, base: Placed, examples: int) -> Learner:
  """The training step's parts; `examples` turn `train.epochs` into steps."""
  check_local('init_from', config.init_from)
  train = _settings(config, 'train', settings.Train)
  rules = _settings(config, 'optim', settings.Optim)
  for size, key, parts in (
    (train.batch_size, 'train.batch_size', train.accumulate),
    (config.eval.batch_size, 'eval.batch_size', 1),
  ):
    with blame(key):
      sharding.check_batch(size, base.mesh, key, parts)
  steps = train.total(examples)
  with blame('optim'):
    schedule = optim.make_schedule(
      rules.schedule, rules.learning_rate, rules.warmup_steps, steps
    )
    optimizer = optim.make_optimizer(
      rules.name,
      schedule,
      weight_decay=rules.weight_decay,
      clip_norm=rules.clip_norm,
      **rules.options,
    )
  init, shapes = state.abstract(base.task, optimizer, bool(rules.average))
  labelled = bool(base.spec.classes)
  return Learner(
    **vars(base),
    optimizer=optimizer,
    schedule=schedule,
    init=init,
    placed=state.place(shapes, base.mesh),
    batch=feed.abstract_batch(
      base.spec.inputs, labelled, train.batch_size, base.mesh
    ),
    steps=steps,
    seed=config.seed,
    accumulate=train.accumulate,
    average=rules.average,
  )


def make_mesh(config: ConfigDict, devices=None) -> Mesh:
  """The mesh of a config."""
  with blame('mesh'):
    return sharding.make_mesh(**config.mesh, devices=devices)


def source_facts(config: ConfigDict) -> Facts:
  """What is known of the source, without its records where possible."""
  known: Any = FACTS.get(config.data.source.name)
  return _ask_source(config, known) if known else _load_source(config).facts


def _load_source(config: ConfigDict) -> Source:
  """The source of a config, no split of it empty."""
  source = _ask_source(config, SOURCES[config.data.source.name])
  for split in ('train', 'validation'):
    if not len(getattr(source, split)):
      raise UsageError(
        f'data.source.name={config.data.source.name}: its {split} part has no '
        'records'
      )
  return source


def evaluated_dims(config: ConfigDict, dims=()) -> tuple[int, ...]:
  """`dims`, by default those of the config, and `eval.dims` together."""
  dims, extra = tuple(dims or config.dims), tuple(config.eval.dims)
  width = dims[-1]
  wrong = [m for m in extra if not (isinstance(m, int) and 0 < m <= width)]
  if wrong:
    raise UsageError(f'eval.dims={extra}: {wrong[0]} is not in 1 to {width}')
  return tuple(sorted({*dims, *extra}))


def make_evaluators(config: ConfigDict) -> dict[str, Evaluator]:
  """The evaluators of `eval.only`, all of them if it is empty."""
  for key in ('often', 'only'):
    for name in config.eval[key]:
      schema.choose(EVALUATORS, name, f'eval.{key}')
  evaluators = {}
  for name, kind in EVALUATORS.items():
    if not config.eval.only or name in config.eval.only:
      with blame(f'eval.{name}'):
        evaluators[name] = kind(**schema.arguments(config.eval[name], kind))
  return evaluators


def evaluator_options(
  config: ConfigDict, sets: Sequence[judged.JudgedSet] = ()
) -> dict[str, dict]:
  """The options of every evaluator as plain data, and what `sets` is about."""
  options = {name: plain(config.eval[name]) for name in EVALUATORS}
  options['sets'] |= {one.name: one.fingerprint for one in sets}
  return options


def _make(group: ConfigDict, table: Mapping, *given, **more):
  """What a group of a config builds, with arguments that are not in it."""
  kind = table[group.name]
  return kind(*given, **schema.arguments(group, kind), **more)


def _spec(config: ConfigDict, known: Facts) -> Spec:
  """The inputs and the encoder of a config, for data of which this is known."""
  inputs = {}
  for field, group in config.inputs.items():
    if field not in known.fields:
      raise UsageError(
        f'inputs.{field}: {config.data.source.name} has no such field; '
        f'{nearest(field, known.fields)}'
      )
    with blame(f'inputs.{field}'):
      inputs[field] = _make(group, INPUTS, **known.fields[field])

  def encoder(**more):
    with blame('encoder'):
      return _make(config.encoder, ENCODERS, **more)

  return Spec(inputs, known.classes, encoder)


def _settings(config: ConfigDict, name: str, kind: type):
  with blame(name):
    return kind(**schema.arguments(config[name], kind))


def _ask_source(config: ConfigDict, question: Callable):
  """`question` (a load or a facts function) asked with the source's options."""
  group = config.data.source
  options = schema.arguments(group, SOURCES[group.name])
  with blame('data.source'):
    try:
      return question(data_dir=config.data.dir, **options)
    except OSError as error:
      raise UsageError(f'data.source: {error}') from error


def _feed(config: ConfigDict, source: Source, parts: Learner) -> feed.Feed:
  loading = _settings(config, 'data', settings.Data)
  return feed.Feed(
    source,
    parts.spec.inputs,
    parts.mesh,
    feed.Loading(
      name=config.data.source.name,
      seed=config.seed,
      batch_size=config.train.batch_size,
      eval_batch_size=config.eval.batch_size,
      threads=loading.threads,
      workers=loading.workers,
    ),
  )


def _check_best(best: str, evaluators, often, dims) -> None:
  """Raises UsageError unless every evaluation gives `checkpoint.best`."""
  known = [
    f'{name}/{metric}/d{m}'
    for name, evaluator in evaluators.items()
    if name in often
    for metric in evaluator.metrics
    for m in dims
  ]
  if best and best not in known:
    raise UsageError(
      f'checkpoint.best={best!r} is not a result of every evaluation; '
      f'{nearest(best, known)}'
    )
