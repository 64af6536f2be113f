"""Config -> everything a run is made of; the only reader of configs."""

import dataclasses
import functools
import math
from pathlib import Path

import jax
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mrl_jax import checkpoint, heads, nested, optim, sharding, state
from mrl_jax import config as configs
from mrl_jax.config import UsageError, blame
from mrl_jax.data import FACTS, SOURCES, feed, transforms
from mrl_jax.data.source import Facts
from mrl_jax.embed import encode, evidence
from mrl_jax.encoders import ENCODERS
from mrl_jax.evaluators import EVALUATORS
from mrl_jax.tasks import TASKS

KEYS = (
  'seed dims weights head encoder task data train optim mesh eval checkpoint '
  'init_from'
).split()


# The keys each group must have; the closed groups may have no others.
GROUPS = {
  'encoder': ['name'],
  'head': ['name'],
  'task': ['name'],
  'data': 'source dir augment eval_crop mean std threads workers'.split(),
  'data.source': ['name'],
  'train': 'steps epochs batch_size accumulate log_every eval_every'.split(),
  'optim': (
    'name learning_rate schedule warmup_steps weight_decay clip_norm options '
    'average'
  ).split(),
  'eval': 'batch_size dims'.split(),
  'mesh': 'data fsdp tensor'.split(),
  'checkpoint': 'every keep best'.split(),
}
CLOSED = ('data', 'train', 'optim', 'mesh', 'checkpoint')

# `eval` may have these besides: what runs at every evaluation, not just the
# last, and what runs at all, () for everything.
EVALUATION = {'often': ('linear',), 'only': ()}


@dataclasses.dataclass(frozen=True)
class Checked:
  """What is known, and found right, before any data is looked at."""

  mesh: Mesh
  make_encoder: object  # nnx.Rngs -> encoder
  encoder: nnx.Module  # shapes only
  dims: tuple[int, ...]
  weights: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Learner:
  """All that a training step is made of; holds no data."""

  config: ConfigDict
  mesh: Mesh
  encoder: nnx.Module  # shapes only
  task: object
  optimizer: optax.GradientTransformation
  schedule: optax.Schedule
  steps: int
  init: object  # key -> TrainState
  placed: state.TrainState  # shapes with shardings
  trained_dims: tuple[int, ...]

  def step(self):
    """The jitted training step."""
    return state.make_step(
      self.task,
      self.optimizer,
      self.schedule,
      self.placed,
      self.mesh,
      seed=self.config.seed,
      accumulate=self.config.train.accumulate,
      average=self.config.optim.average,
    )


@dataclasses.dataclass(frozen=True)
class Run(Learner):
  """A run ready to train or to evaluate."""

  workdir: Path
  feed: feed.Feed
  evaluators: dict  # name -> evaluator
  evidence: object  # (params, stats) -> embed.evidence.Evidence

  def create(self) -> state.TrainState:
    """A fresh state, its encoder from `init_from` where that is set."""
    fresh = state.create(self.init, self.placed, self.config.seed)
    if not self.config.init_from:
      return fresh
    placed = self.placed.params['encoder']
    encoder = checkpoint.restore_encoder(
      Path(self.config.init_from) / 'checkpoints', placed
    )
    params = fresh.params | {'encoder': encoder}
    average = fresh.average
    if average:
      average = jax.tree.map(lambda x: x.copy(), params)
    return dataclasses.replace(fresh, params=params, average=average)

  def checkpointer(self, read_only: bool = False) -> checkpoint.Checkpointer:
    options = self.config.checkpoint
    return checkpoint.Checkpointer(
      self.workdir / 'checkpoints', options.keep, options.best, read_only
    )


def run(config: ConfigDict, workdir: str | Path) -> Run:
  """Builds a run, checking the whole config on the way.

  Raises:
    UsageError: one line naming the key, its value, what is allowed, the fix.
  """
  checked = check(config)
  source = load_source(config)
  base = learner(config, checked, source.facts, len(source.train))
  data = make_feed(config, source, base.encoder, base.mesh)
  dims = evaluated_dims(config, checked.dims)
  evaluators = make_evaluators(config)
  return Run(
    **vars(base),
    workdir=Path(workdir),
    feed=data,
    evaluators=evaluators,
    evidence=evidence_maker(base, data, source.classes, dims),
  )


def check(config: ConfigDict, devices=None) -> Checked:
  """Checks all of a config that needs no data.

  `devices` are those of the mesh, this machine's when None.
  """
  check_keys(config)
  mesh = make_mesh(config, devices)
  make_encoder, encoder = encoder_maker(config)
  with blame('dims'):
    dims = nested.check_dims(config.dims, encoder.width)
  weights = loss_weights(config, dims)
  check_sizes(config, mesh)
  return Checked(mesh, make_encoder, encoder, dims, weights)


def learner(
  config: ConfigDict, checked: Checked, facts: Facts, examples: int
) -> Learner:
  """The training step's parts; `examples` turn `train.epochs` into steps."""
  check_pixels(config, checked.encoder, facts.channels)
  dims = checked.dims
  make_head, head_dims = head_maker(config, dims, facts.classes)
  steps = total_steps(config, examples)

  task_class = configs.look_up(TASKS, config.task.name, 'task.name')
  options = configs.arguments(config.task, task_class, 'task')
  with blame('task'):
    task = task_class(
      checked.make_encoder,
      make_head,
      weights=checked.weights if head_dims == dims else (1.0,) * len(head_dims),
      classes=facts.classes,
      mean=config.data.mean,
      std=config.data.std,
      mesh=checked.mesh,
      **options,
    )
  optimizer, schedule = make_optimizer(config, steps)
  init, shapes = state.abstract(task, optimizer, bool(config.optim.average))
  return Learner(
    config=config,
    mesh=checked.mesh,
    encoder=checked.encoder,
    task=task,
    optimizer=optimizer,
    schedule=schedule,
    steps=steps,
    init=init,
    placed=state.place(shapes, checked.mesh),
    trained_dims=head_dims,
  )


def check_keys(config: ConfigDict) -> None:
  missing = [key for key in KEYS if key not in config]
  unknown = [key for key in config if key not in KEYS]
  if missing:
    raise UsageError(f'the config lacks {", ".join(missing)}')
  if unknown:
    raise UsageError(
      f'config.{unknown[0]} is unknown; {configs.nearest(unknown[0], KEYS)}'
    )
  for group, needed in GROUPS.items():
    part = config.data.source if group == 'data.source' else config[group]
    missing = [key for key in needed if key not in part]
    unknown = [key for key in part if key not in needed]
    if missing:
      raise UsageError(f'config.{group} lacks {", ".join(missing)}')
    if unknown and group in CLOSED:
      raise UsageError(
        f'config.{group}.{unknown[0]} is unknown; '
        f'{configs.nearest(unknown[0], needed)}'
      )
  configs.check_local('init_from', config.init_from)


def make_mesh(config: ConfigDict, devices=None) -> Mesh:
  with blame('mesh'):
    return sharding.make_mesh(**config.mesh, devices=devices)


def encoder_maker(config: ConfigDict):
  """(nnx.Rngs -> encoder, the encoder's shapes)."""
  kind = configs.look_up(ENCODERS, config.encoder.name, 'encoder.name')
  options = configs.arguments(config.encoder, kind, 'encoder')
  make = functools.partial(call_with_rngs, kind, options)
  with blame('encoder'):
    try:
      return make, nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    except TypeError as error:
      raise UsageError(f'encoder: {error}') from error


def call_with_rngs(kind, options, rngs):
  return kind(**options, rngs=rngs)


def loss_weights(config: ConfigDict, dims) -> tuple[float, ...]:
  with blame('weights'):
    return nested.dim_weights(configs.plain(config.weights), dims)


def head_maker(config: ConfigDict, dims, classes: int):
  """(nnx.Rngs -> head, the prefixes it is trained at)."""
  kind = configs.look_up(heads.HEADS, config.head.name, 'head.name')
  options = configs.arguments(config.head, kind, 'head')
  options |= {'dims': dims, 'classes': classes}
  make = functools.partial(call_with_rngs, kind, options)
  with blame('head'):
    return make, nnx.eval_shape(lambda: make(nnx.Rngs(0))).dims


def check_sizes(config: ConfigDict, mesh: Mesh) -> None:
  train = config.train
  with blame('train'):
    sharding.check_batch(
      train.batch_size, mesh, 'train.batch_size', max(train.accumulate, 1)
    )
  with blame('eval'):
    sharding.check_batch(config.eval.batch_size, mesh, 'eval.batch_size')
  positive = {
    'train.log_every': train.log_every,
    'train.eval_every': train.eval_every,
    'train.accumulate': train.accumulate,
    'checkpoint.every': config.checkpoint.every,
    'checkpoint.keep': config.checkpoint.keep,
  }
  for key, value in positive.items():
    if value < 1:
      raise UsageError(f'{key}={value} must be at least 1')
  for key in ('clip_norm', 'weight_decay', 'learning_rate'):
    if config.optim[key] < 0:
      raise UsageError(f'optim.{key}={config.optim[key]} must be at least 0')
  if not 0 <= config.optim.average < 1:
    raise UsageError(f'optim.average={config.optim.average} must be in [0, 1)')


def source_facts(config: ConfigDict) -> Facts:
  """The source's classes and channels, without its images where possible."""
  known = FACTS.get(config.data.source.name)
  return ask_source(config, known) if known else load_source(config).facts


def ask_source(config: ConfigDict, question=None):
  """`question`, by default the source's `load`, asked with its arguments."""
  part = config.data.source
  load = configs.look_up(SOURCES, part.name, 'data.source.name')
  options = configs.arguments(part, load, 'data.source')
  with blame('data.source'):
    try:
      return (question or load)(data_dir=config.data.dir, **options)
    except OSError as error:
      raise UsageError(f'data.source: {error}') from error


def load_source(config: ConfigDict):
  part = config.data.source
  source = ask_source(config)
  for split in ('train', 'validation'):
    if not len(getattr(source, split)):
      raise UsageError(
        f'data.source.name={part.name}: its {split} part has no images'
      )
  return source


def check_pixels(config: ConfigDict, encoder, channels: int) -> None:
  if channels != encoder.channels:
    raise UsageError(
      f'encoder.channels={encoder.channels}, but {config.data.source.name} '
      f'has {channels}; set --config.encoder.channels={channels}'
    )
  for key in ('mean', 'std'):
    values = config.data[key]
    if len(values) not in (1, channels) or (key == 'std' and min(values) <= 0):
      raise UsageError(
        f'data.{key}={tuple(values)} must be {channels} numbers'
        + (' above 0' if key == 'std' else '')
      )


def make_feed(config: ConfigDict, source, encoder, mesh: Mesh) -> feed.Feed:
  augment = transforms.make_train_transform
  options = configs.arguments(config.data.augment, augment, 'data.augment')
  with blame('data.augment'):
    transform = augment(encoder.image_size, **options)
  if not 0 < config.data.eval_crop <= 1:
    raise UsageError(
      f'data.eval_crop={config.data.eval_crop} must be in (0, 1]'
    )
  if config.data.threads < 1 or config.data.workers < 0:
    raise UsageError('data.threads must be at least 1, data.workers at least 0')
  return feed.Feed(
    source,
    mesh,
    train_transform=transform,
    image_size=encoder.image_size,
    eval_crop=config.data.eval_crop,
    batch_size=config.train.batch_size,
    eval_batch_size=config.eval.batch_size,
    seed=config.seed,
    threads=config.data.threads,
    workers=config.data.workers,
  )


def total_steps(config: ConfigDict, examples: int) -> int:
  """Updates of the run, from `train.steps` or from `train.epochs`."""
  steps, epochs = config.train.steps, config.train.epochs
  if (steps > 0) == (epochs > 0):
    raise UsageError(
      f'train.steps={steps} and train.epochs={epochs}: set exactly one above 0'
    )
  return steps or max(1, math.ceil(epochs * examples / config.train.batch_size))


def make_optimizer(config: ConfigDict, steps: int):
  part = config.optim
  with blame('optim'):
    schedule = optim.make_schedule(
      part.schedule, part.learning_rate, part.warmup_steps, steps
    )
    optimizer = optim.make_optimizer(
      part.name,
      schedule,
      weight_decay=part.weight_decay,
      clip_norm=part.clip_norm,
      **configs.plain(part.options),
    )
  return optimizer, schedule


def evaluated_dims(config: ConfigDict, dims) -> tuple[int, ...]:
  """The trained dims and `eval.dims` together."""
  extra = tuple(config.eval.dims)
  width = dims[-1]
  with blame('eval.dims'):
    wrong = [m for m in extra if not (isinstance(m, int) and 0 < m <= width)]
    if wrong:
      raise UsageError(f'eval.dims={extra}: {wrong[0]} is not in 1 to {width}')
  return tuple(sorted({*dims, *extra}))


def evidence_maker(base: Learner, data, names, dims):
  """(params, stats) -> what evaluators look at; compiles each function once."""
  task = base.task
  embed = encode.Embedder(
    lambda variables, batch: task.embed(*variables, batch), data, base.mesh
  )
  logits = jax.jit(task.logits, static_argnums=3)
  saliency = jax.jit(
    task.saliency,
    static_argnums=4,
    out_shardings=sharding.replicated(base.mesh),
  )
  looks = hasattr(base.encoder, 'tokens')

  def make(params, stats) -> evidence.Evidence:
    vectors = functools.partial(embed, (params, stats))
    functions = {
      'embed': vectors,
      'logits': functools.partial(logits, params, stats),
      'images': data.images,
    }
    if looks:
      functions['saliency'] = functools.partial(saliency, params, stats)
    return evidence.Evidence(
      dims=dims,
      trained=base.trained_dims,
      mesh=base.mesh,
      make_database=functools.partial(vectors, 'train'),
      make_queries=functools.partial(vectors, 'validation'),
      names=names,
      functions=functions,
    )

  return make


def complete(config: ConfigDict) -> ConfigDict:
  """Gives `eval` the keys it lacks, so that each can be set: all evaluators."""
  part = config.get('eval')
  if isinstance(part, ConfigDict):
    groups = {name: ConfigDict() for name in EVALUATORS}
    configs.fill(part, EVALUATION | groups)
    for name, kind in EVALUATORS.items():
      if isinstance(part[name], ConfigDict):
        configs.fill(part[name], configs.defaults(kind))
  return config


def make_evaluators(config: ConfigDict) -> dict:
  """The evaluators of `eval.only`, all of them if it is empty."""
  for name, value in config.eval.items():
    if isinstance(value, ConfigDict):
      configs.look_up(EVALUATORS, name, 'eval')
  known = [*GROUPS['eval'], *EVALUATION, *EVALUATORS]
  for key in config.eval:
    if key not in known and key != 'final':  # a key of older runs
      raise UsageError(
        f'config.eval.{key} is unknown; {configs.nearest(key, known)}'
      )
  for key in EVALUATION:
    for name in config.eval.get(key, ()):
      configs.look_up(EVALUATORS, name, f'eval.{key}')
  only = config.eval.get('only') or tuple(EVALUATORS)
  evaluators = {}
  for name, kind in EVALUATORS.items():
    if name not in only:
      continue
    group = config.eval.get(name, ConfigDict())
    options = configs.arguments(group, kind, f'eval.{name}')
    with blame(f'eval.{name}'):
      evaluators[name] = kind(**options)
  return evaluators


def check_best(run: Run) -> None:
  """Raises UsageError unless every evaluation gives `checkpoint.best`."""
  best = run.config.checkpoint.best
  known = [
    f'{name}/{metric}/d{m}'
    for name, evaluator in run.evaluators.items()
    if name in run.config.eval.get('often', EVALUATION['often'])
    for metric in evaluator.metrics
    for m in evaluated_dims(run.config, run.config.dims)
  ]
  if best and best not in known:
    raise UsageError(
      f'checkpoint.best={best!r} is no result of every evaluation; '
      f'{configs.nearest(best, known)}'
    )
