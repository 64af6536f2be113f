"""Training, as one reads it: evaluate -> save -> next batch -> step."""

import datetime
import importlib.metadata
import json
import math
import platform
import signal
import subprocess
import sys
import time

import jax
from clu import parameter_overview
from jax.experimental import multihost_utils

from mrl_jax import config as configs
from mrl_jax import metrics, progress
from mrl_jax.report import page, results, tables

DONE, NON_FINITE, STOPPED = 0, 3, 143


class Stop(Exception):
  """SIGTERM arrived."""


def train(run) -> int:
  """Trains a built run (build.Run) in its workdir; returns the exit code.

  0 done, 3 the loss is not finite, 143 stopped by SIGTERM after saving.
  """
  checkpointer = run.checkpointer()
  step = first = checkpointer.newest() or 0
  if step:
    state, position = checkpointer.restore(step, run.placed)
    check_position(position, run)
    say(f'resuming from step {step:,}')
  else:
    state = run.create()
  describe(run, state)

  writer = metrics.Writer(run.workdir, step, active=jax.process_index() == 0)
  watch = progress.Progress(
    step, run.steps, run.feed.batch_size, shown=jax.process_index() == 0
  )
  asked_to_stop = catch_sigterm(run.feed)
  batches = run.feed.training(step)
  batch = next(batches)
  update = compile_step(run, state, batch) if step < run.steps else None
  late = None  # a step's metrics are read after the next step has started

  try:
    while True:
      values = None
      if evaluation_due(run, step):
        late = log(writer, watch, late)
        watch.pause()
        values = evaluate(run, state, step, writer)
      if step > first and (values or step % run.config.checkpoint.every == 0):
        watch.pause()
        save(run, checkpointer, state, step, values)
      if step >= run.steps:
        return DONE
      if asked_to_stop(step):
        raise Stop
      watch.resume()
      state, values = update(state, batch)
      step += 1
      late = log(writer, watch, late)
      if step % run.config.train.log_every == 0 or step == run.steps:
        late = (step, values)
      started = time.perf_counter()
      batch = next(batches)
      watch.waited += time.perf_counter() - started
      checkpointer.poll()
  except Stop:
    log(writer, watch, late)
    if step > first and checkpointer.latest != step:
      save(run, checkpointer, state, step)
    say(f'stopped by SIGTERM at step {step:,}, saved; run it again to go on')
    return STOPPED
  except FloatingPointError as error:
    return configs.fail(error, NON_FINITE)
  finally:
    watch.pause()
    checkpointer.close()
    writer.close()


def compile_step(run, state, batch):
  say('compiling the training step ...')
  started = time.perf_counter()
  update = run.step().lower(state, batch).compile()
  say(f'compiled in {progress.duration(time.perf_counter() - started)}')
  return update


def log(writer, watch, late) -> None:
  """Writes and shows a logged step; its arrays are ready or nearly so.

  Raises:
    FloatingPointError: if its loss is not finite.
  """
  if late is None:
    return
  step, values = late
  values = {name: float(v) for name, v in jax.device_get(values).items()}
  speed = watch.report(step, values['loss'])
  writer.write(step, {f'train/{n}': v for n, v in (values | speed).items()})
  if not math.isfinite(values['loss']):
    raise FloatingPointError(
      f'the loss is {values["loss"]} at step {step}; not saved. The last '
      'checkpoint is whole: lower optim.learning_rate, or set optim.clip_norm'
    )


def save(run, checkpointer, state, step: int, values=None) -> None:
  position = {
    'examples_seen': step * run.feed.batch_size,
    'examples': run.feed.size('train'),
    'seed': run.config.seed,
  }
  checkpointer.save(step, state, position, values)


def check_position(position: dict, run) -> None:
  """Raises UsageError if the training data is not what the run began with."""
  size = run.feed.size('train')
  if position['examples'] != size:
    raise configs.UsageError(
      f'the training set had {position["examples"]} examples and now has '
      f'{size}; restore the data, or choose another --workdir'
    )


def evaluation_due(run, step: int) -> bool:
  """At the end always; at others unless a stopped run has done it already."""
  if step == run.steps:
    return True
  due = step > 0 and step % run.config.train.eval_every == 0
  return due and not (results_folder(run, step) / 'results.jsonl').exists()


def results_folder(run, step: int):
  return run.workdir / 'eval' / str(step)


def evaluate(
  run, state, step: int, writer=None, all_evaluators: bool = False
) -> dict[str, float]:
  """Runs the evaluators; writes results, curves, pictures and the page.

  Evaluators listed in `config.eval.final` run at the last step only, or with
  `all_evaluators`. Returns the results by flat name.
  """
  last = step >= run.steps or all_evaluators
  rows = []
  for name, evaluator in run.evaluators.items():
    if name in run.config.eval.final and not last:
      continue
    for row in evaluator.run(state.best_params, state.stats):
      trained = row['dim'] in run.trained_dims
      rows.append({**row, 'step': step, 'trained': trained})
  values = {metrics.flat_name(row): row['value'] for row in rows}
  if jax.process_index() == 0 and rows:
    folder = results_folder(run, step)
    results.write(folder, rows)
    report = page.write(folder, run.workdir)
    if writer is not None:
      writer.write(step, values)
    print(f'\nstep {step:,}, %, with 95% intervals\n{tables.text(rows)}')
    print(f'report: {report}\n', flush=True)
  return values


def evaluate_checkpoint(run, step: int | None = None) -> dict[str, float]:
  """Evaluates a saved step, the newest by default, as training would.

  Raises:
    CheckpointError: if the step is missing or damaged.
  """
  checkpointer = run.checkpointer()
  step = checkpointer.newest() if step is None else step
  if step is None:
    raise configs.UsageError(f'{run.workdir} has no checkpoint yet')
  state, _ = checkpointer.restore(step, run.placed)
  values = evaluate(run, state, step, all_evaluators=True)
  checkpointer.close()
  return values


def catch_sigterm(feed):
  """asked_to_stop(step); SIGTERM is also heeded between evaluation batches.

  With several processes JAX agrees on the step at which all stop.
  """
  if jax.process_count() > 1:
    return multihost_utils.reached_preemption_sync_point
  arrived = []
  signal.signal(signal.SIGTERM, lambda *_: arrived.append(True))

  def poll():
    if arrived:
      raise Stop

  feed.poll = poll
  return lambda step: bool(arrived)


def describe(run, state) -> None:
  """Prints the parameters and writes `environment.json`."""
  if jax.process_index() != 0:
    return
  print(
    parameter_overview.get_parameter_overview(state.params, include_stats=False)
  )
  shape = ', '.join(f'{axis} {size}' for axis, size in run.mesh.shape.items())
  print(
    f'{run.feed.size("train"):,} training and '
    f'{run.feed.size("validation"):,} validation images; '
    f'{run.steps:,} steps of {run.feed.batch_size}; mesh {shape}',
    flush=True,
  )
  path = run.workdir / 'environment.json'
  path.write_text(json.dumps(environment(), indent=2))


def environment() -> dict:
  """Versions, commit, devices and the command, for whoever repeats this."""
  packages = (
    'jax jaxlib flax optax orbax-checkpoint grain tensorflow-datasets numpy'
  ).split()
  git = subprocess.run(
    ['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, check=False
  )
  return {
    'time': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'command': ' '.join(sys.argv),
    'python': platform.python_version(),
    'versions': {name: importlib.metadata.version(name) for name in packages},
    'git_commit': git.stdout.strip() or None,
    'processes': jax.process_count(),
    'devices': [f'{jax.device_count()} x {jax.devices()[0].device_kind}'],
    'platform': jax.default_backend(),
  }


def say(text: str) -> None:
  if jax.process_index() == 0:
    print(text, flush=True)
