"""What a training step costs on a TPU slice, compiled without a TPU.

python -m mrl_jax.plan --config=configs/vit_mrl.py:imagenet,B/16 \
  --topology=v5e:4x4

The step is the one that training runs. Beside it stands the step of the plain
loss at full width (FF): the ratio is the price of nesting. See docs/scaling.md.
"""

import copy
import dataclasses
import importlib.metadata
import json
import math
import sys
import time
from collections.abc import Callable, Sequence

import jax
from ml_collections import ConfigDict

from mrl_jax import build, chips, costs, errors, inherited, schema
from mrl_jax import config as configs
from mrl_jax.contracts import Facts
from mrl_jax.report import plans

# The number of examples decides the length of the learning-rate schedule only.
# It changes no shape, and so neither memory nor FLOPs.
EXAMPLES = 1_000_000

# The search for the largest batch ends when a guess gains less than the share
# CLOSE, or after TRIES compilations.
CLOSE, TRIES = 0.02, 3

RATIOS = {
  'memory': 'memory/total',
  'flops': 'flops',
  'matmul_flops': 'matmul_flops',
  'bytes_accessed': 'bytes_accessed',
  'roofline_seconds': 'roofline_seconds',
}


@dataclasses.dataclass(frozen=True)
class Planner:
  """Compiles configs for one topology.

  Attributes:
    topology, devices, chip: what to compile for.
    classes: of the data, None to ask the source.
  """

  topology: str
  devices: Sequence
  chip: chips.Chip
  classes: int | None = None

  def learner(self, config: ConfigDict) -> build.Learner:
    """The parts of the step, for data that may be elsewhere."""
    if self.classes:
      facts = self._facts(config)
    else:
      try:
        facts = build.source_facts(config)
      except errors.UsageError as error:
        raise errors.UsageError(
          f'{error} (or, if the data is elsewhere, give --classes=N)'
        ) from error
    base = build.model(config, facts, self.devices)
    return build.learner(config, base, EXAMPLES)

  def _facts(self, config: ConfigDict) -> Facts:
    """The facts of data with `classes` classes, of colour images if unknown."""
    classes = tuple(str(label) for label in range(self.classes))
    try:
      return Facts(build.source_facts(config).fields, classes)
    except errors.UsageError:
      channels = config.data.source.get('channels', 3)
      return Facts({'image': {'channels': channels}}, classes)

  def measure(self, config: ConfigDict) -> dict:
    """What one step of `config` costs on one chip; progress goes to stderr.

    If the program is too large for the chip, its memory is what the compiler
    counted before it stopped, and what only a compiled program has is None.
    """
    learner = self.learner(config)
    size, batch = config.train.batch_size, learner.batch
    traced = learner.step().trace(learner.placed, batch)
    started = time.perf_counter()
    tell(f'compiling {_name_of(config)}, batch {size:,}, for {self.topology} ')
    try:
      compiled, needed = traced.lower().compile(), None
    except jax.errors.JaxRuntimeError as error:
      compiled, needed = None, costs.hbm_needed(str(error))
    seconds = time.perf_counter() - started
    tell(f'... {seconds:.0f} s' + (', too large' if needed else '') + '\n')

    memory = costs.memory_of(learner.placed, batch, compiled, needed)
    memory['usable'] = round(self.chip.usable * chips.GIB)
    memory['share'] = memory['total'] / memory['usable']
    memory['fits'] = not needed and memory['share'] <= 1
    return {
      'batch_size': size,
      'compile_seconds': round(seconds, 1),
      'memory': memory,
    } | self.work(traced.jaxpr, compiled, config)

  def work(self, jaxpr, compiled, config: ConfigDict) -> dict:
    """FLOPs, memory traffic, roofline and messages of a step on one chip."""
    matmuls = costs.matmul_flops(jaxpr) / len(self.devices)
    work = {'matmul_flops': matmuls}
    if compiled is None:
      unknown = 'flops bytes_accessed roofline_seconds bound_by collectives'
      return work | dict.fromkeys(unknown.split())
    # The compiler's analysis counts the body of a scan once.
    once = costs.matmul_flops(jaxpr, loops=False) / len(self.devices)
    analysis = compiled.cost_analysis()
    flops = analysis['flops'] * matmuls / once
    traffic = analysis['bytes accessed'] * matmuls / once
    sent = costs.collectives(compiled.as_text(), config.train.accumulate)
    return (
      work
      | {'flops': flops, 'bytes_accessed': traffic, 'collectives': sent}
      | costs.roofline(flops, traffic, self.chip.peak, self.chip.bandwidth)
    )


def tell(text: str) -> None:
  """Prints progress on stderr."""
  print(text, end='', file=sys.stderr, flush=True)


def largest_batch(
  total: Callable[[int], tuple[int, bool]],
  first: tuple[int, int, bool],
  fixed: int,
  usable: int,
  unit: int,
) -> list[tuple[int, int, bool]]:
  """The batches tried until one nearly fills a chip, as (size, bytes, fits).

  Memory is close to affine in the batch. So a guess is where the straight line
  through `fixed` and the largest batch that fits meets `usable`, or half way
  to the smallest one that does not fit.

  Args:
    total: compiles a batch size and returns (bytes, fits).
    first: the first try, already made.
    fixed: bytes that do not depend on the batch.
    usable: bytes of the chip.
    unit: what every batch divides by.
  """
  tries = [first]
  for _ in range(TRIES):
    fitting = max((t for t in tries if t[2]), default=None)
    failing = min((t for t in tries if not t[2]), default=None)
    size, used, _ = fitting or failing
    guess = size * (usable - fixed) / max(used - fixed, 1)
    if fitting and failing and guess >= failing[0]:
      guess = (size + failing[0]) / 2
    guess = int(guess) // unit * unit
    if guess < unit or fitting and guess < size * (1 + CLOSE):
      break
    tries.append((guess, *total(guess)))
  return tries


def plan(
  planner: Planner, config: ConfigDict, search: bool, examples: int | None
) -> dict:
  """The whole plan of a config, as plain data.

  `examples` of the training data turn epochs into steps; None if unknown.
  """
  name = _name_of(config)
  steps = {name: planner.measure(config)}
  if name != 'ff':
    steps['ff'] = planner.measure(fixed_feature(config))
  report = {
    'topology': planner.topology,
    'chips': len(planner.devices),
    'mesh': dict(build.make_mesh(config, planner.devices).shape),
    'batch_size': config.train.batch_size,
    'accumulate': config.train.accumulate,
    'dims': list(config.dims),
    'chip': dataclasses.asdict(planner.chip),
    'versions': {
      name: importlib.metadata.version(name) for name in ('jax', 'libtpu')
    },
    'steps': steps,
    'run': whole_run(config, steps[name], len(planner.devices), examples),
  }
  if name != 'ff':
    report['ratios'] = ratios(steps[name], steps['ff'])
  if search:
    report['largest_batch'] = _search_batch(planner, config, steps[name])
  return report


def whole_run(
  config: ConfigDict, step: dict, chip_count: int, examples: int | None
) -> dict:
  """Steps of a run and, at the roofline, its hours and chip-hours.

  Training takes longer than at the roofline, and evaluation comes on top. What
  is not known is None.
  """
  train, seconds = config.train, step['roofline_seconds']
  steps = train.steps or None
  if train.epochs and examples:
    steps = math.ceil(train.epochs * examples / train.batch_size)
  hours = steps * seconds / 3600 if steps and seconds else None
  return {
    'steps': steps,
    'hours': hours,
    'chip_hours': hours and hours * chip_count,
  }


def _name_of(config: ConfigDict) -> str:
  """The name of a step: that of its head, or of its task if it has no head."""
  head = config.task.get('head', {})
  return head.get('name') or config.task.name


def fixed_feature(config: ConfigDict) -> ConfigDict:
  """The config with the plain loss at full width instead of a nested one."""
  plain = copy.deepcopy(config)
  plain.dims, plain.weights = plain.dims[-1:], 'uniform'
  if 'dims_per_step' in plain.task:
    plain.task.dims_per_step = 0
  return plain


def ratios(step: dict, plain: dict) -> dict:
  """The costs of a step divided by those of FF; None if one is unknown."""
  pairs = {
    key: (plans.at(step, path), plans.at(plain, path))
    for key, path in RATIOS.items()
  }
  return {key: a / b if a and b else None for key, (a, b) in pairs.items()}


def _search_batch(planner: Planner, config: ConfigDict, step: dict) -> dict:
  """The largest global batch that fits, of those that were compiled."""

  def total(size: int) -> tuple[int, bool]:
    other = copy.deepcopy(config)
    other.train.batch_size = size
    memory = planner.measure(other)['memory']
    return memory['total'], memory['fits']

  memory, mesh = step['memory'], build.make_mesh(config, planner.devices).shape
  held = ('parameters', 'optimizer', 'average', 'program')
  tries = largest_batch(
    total,
    (config.train.batch_size, memory['total'], memory['fits']),
    fixed=sum(memory[key] for key in held),
    usable=memory['usable'],
    unit=mesh['data'] * mesh['fsdp'] * config.train.accumulate,
  )
  fitting = [size for size, _, fits in tries if fits]
  return {
    'size': max(fitting, default=None),
    'tries': [
      {'batch_size': size, 'total': used, 'fits': fits}
      for size, used, fits in tries
    ],
  }


def run(options, words: Sequence[str]) -> int:
  """Prints the plan of a step; returns the exit code."""
  jax.config.update('jax_platforms', 'cpu')
  config, _ = configs.load(options.config)
  config = inherited.inherit(schema.resolve(config, words), '')
  with configs.blame('--topology'):
    chip = chips.find(options.topology)
    devices = chips.devices(options.topology)
  for name in ('classes', 'examples'):
    value = getattr(options, name)
    if value is not None and value < 1:
      raise errors.UsageError(f'--{name}={value} must be above 0')
  planner = Planner(options.topology, devices, chip, options.classes)
  report = plan(planner, config, options.largest_batch, options.examples)
  report = {'config': options.config, 'overrides': words} | report
  print(json.dumps(report, indent=2) if options.json else plans.text(report))
  return 0


if __name__ == '__main__':
  from mrl_jax import commands

  sys.exit(commands.run_plan())
