"""The four commands: each is a script, a module and an installed command.

  train    python train.py            mrl-train
  eval     python eval.py             mrl-eval
  embed    python -m mrl_jax.embed    mrl-embed
  plan     python -m mrl_jax.plan     mrl-plan

Packages are imported once the words of the command are known to be right, so
that --help and a wrong option are answered at once.
"""

import signal
import sys
from collections.abc import Callable, Sequence

from mrl_jax import cli, errors


def run_train(argv: Sequence[str] | None = None) -> int:
  """Trains an encoder whose every prefix is an embedding; the exit code."""
  return _answered('train', argv, _train)


def run_eval(argv: Sequence[str] | None = None) -> int:
  """Evaluates a run, or any embeddings, at every dimension; the exit code."""
  return _answered('eval', argv, _evaluate)


def run_embed(argv: Sequence[str] | None = None) -> int:
  """Writes the embeddings of files by a trained model; the exit code."""
  return _answered('embed', argv, _embed)


def run_plan(argv: Sequence[str] | None = None) -> int:
  """Prints what a training step costs on a TPU slice; the exit code."""
  return _answered('plan', argv, _plan)


def _answered(
  entry: str, argv: Sequence[str] | None, work: Callable[..., int]
) -> int:
  """What `work` returns; errors that a user can mend are one line."""
  options, words = cli.parse(sys.argv[1:] if argv is None else argv, entry)
  try:
    return work(options, words)
  except errors.EXPECTED as error:
    return errors.tell(error)
  except KeyboardInterrupt as error:
    return _stopped(*error.args)


def _stopped(number: int = signal.SIGINT, said: str = '') -> int:
  """Says in one line that a signal came; the exit code."""
  name = signal.Signals(number).name
  print(f'stopped by {name}{said and ": "}{said}', file=sys.stderr, flush=True)
  return 128 + number


def _train(options, words) -> int:
  from mrl_jax import config as configs
  from mrl_jax import progress, schema, sharding, workdir

  progress.quiet()
  config, name = configs.load(options.config)
  config = schema.resolve(config, words)
  if options.print_config:
    print(configs.to_json(config))
    return 0
  with configs.blame('--distributed'):
    sharding.initialise(options.distributed)
  from mrl_jax import build, inherited, loop  # heavy: the keys are right by now

  folder = options.workdir or f'runs/{name}'
  config = inherited.inherit(config, folder)
  run = build.run(config, folder)
  workdir.claim(run.workdir, config, run.facts, run.cadence.steps)
  return loop.train(run)


def _evaluate(options, words) -> int:
  from mrl_jax import (
    build,
    evaluation,
    foreign,
    interrupt,
    progress,
    schema,
    sharding,
    workdir,
  )
  from mrl_jax import config as configs

  progress.quiet()
  if options.compare:
    runs, output = options.compare, options.output
    return evaluation.compare(runs, output, options.group_seeds)
  if options.workdir:
    config = workdir.read_config(options.workdir)
  else:
    config = foreign.vector_config(options.dims)
  config = schema.resolve(config, [*_short(options), *words])
  with configs.blame('--distributed'):
    sharding.initialise(options.distributed)
  with interrupt.at_once():
    if not options.workdir:
      judged = options.retrieval or options.pairs
      frozen = (
        _judge(config, options) if judged else foreign.frozen(config, options)
      )
      evaluation.of_vectors(frozen, options.fresh)
      return 0
    run = build.run(config, options.workdir)
    if options.export:
      step, folder = options.step, options.export
      return evaluation.exported(run, step, folder, options.dtype)
    evaluation.of_checkpoint(run, options.step, options.fresh)
  return 0


def _judge(config, options):
  """What --retrieval or --pairs asks, of a model or of vectors."""
  from mrl_jax import judge

  return judge.ready(config, options)


def _short(options) -> list[str]:
  """The words of the config that --only and --quick stand for."""
  from mrl_jax import evaluators

  if not options.quick:
    return [f'--config.eval.only={options.only}'] if options.only else []
  return [f'--config.eval.only={",".join(evaluators.QUICK)}'] + [
    f'--config.eval.{name}.{key}={value}'
    for name, changed in evaluators.QUICK.items()
    for key, value in changed.items()
  ]


def _embed(options, words) -> int:
  from pathlib import Path

  import numpy as np

  from mrl_jax import model as door
  from mrl_jax.report import blocks

  output = Path(options.output).expanduser()
  if output.suffix != '.npy':
    raise errors.UsageError(f'--output={output} must end in .npy')
  model = door.load(options.model, options.step)
  field = options.field or ''
  values = model.open(Path(options.inputs), field)
  embeddings = model.embed(values, options.dim, options.normalise, field=field)
  names = output.with_suffix('.txt')
  try:
    output.parent.mkdir(parents=True, exist_ok=True)
    np.save(output, embeddings)
    lines = [blocks.visible(name) + '\n' for name in values.names]
    names.write_text(''.join(lines), encoding='utf-8')
  except OSError as error:
    raise errors.UsageError(f'--output={output}: {error}') from error
  rows, width = embeddings.shape
  print(f'{rows:,} rows of {width} numbers in {output}, their names in {names}')
  return 0


def _plan(options, words) -> int:
  from mrl_jax import plan

  return plan.run(options, words)
