"""Training, as one reads it: evaluate -> save -> next batch -> step."""

import json
import math
import signal
import time

import jax
from clu import parameter_overview

from mrl_jax import (
  environment,
  errors,
  evaluation,
  interrupt,
  journal,
  progress,
)

DONE = 0


def train(run) -> int:
  """Trains a built run (build.Run) in its workdir; returns the exit code.

  0 done, 143 stopped by SIGTERM (130 by Ctrl-C) after saving.

  Raises:
    NonFinite: if the loss or its gradient is not finite; nothing of it saved.
  """
  checkpointer = run.checkpointer()
  step = first = checkpointer.newest() or 0
  evaluated = False  # was the restored step evaluated before it was saved?
  if step:
    state, position = checkpointer.restore(step, run.placed)
    check_position(position, run)
    evaluated = position['evaluated']
    progress.say(f'resuming from step {step:,}')
  else:
    state = run.create()
  describe(run, state)

  writer = journal.Writer(run.workdir, step, active=jax.process_index() == 0)
  watch = progress.Progress(
    step, run.steps, run.feed.batch_size, shown=jax.process_index() == 0
  )
  asked_to_stop = interrupt.catch(run.feed)
  batches = run.feed.training(step)
  batch = next(batches)
  update = compile_step(run, state, batch) if step < run.steps else None
  values = None
  late = None  # a step's metrics are read after the next step has started

  try:
    while True:
      results_now = None
      repeated = step == first and evaluated
      if step == run.steps or (evaluation_due(run, step) and not repeated):
        late = log(writer, watch, late)
        watch.pause()
        try:
          results_now = evaluation.of_state(
            run, state, step, None if repeated else writer
          )
        except errors.UsageError:
          if step > first:
            save(run, checkpointer, state, step, values)
          raise
      if (step > first and save_due(run, step)) or (
        results_now and not repeated
      ):
        watch.pause()
        save(run, checkpointer, state, step, values, results_now)
      if step >= run.steps:
        return DONE
      if asked_to_stop(step):
        raise interrupt.Stop(signal.SIGTERM)
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
  except interrupt.Stop as stop:
    if step > first and checkpointer.latest != step:
      save(run, checkpointer, state, step, values)
    number = stop.args[0]
    progress.say(
      f'stopped by {number.name} at step {step:,}, saved; run it again'
    )
    return 128 + number
  finally:
    watch.pause()
    interrupt.release(run.feed)
    checkpointer.close()
    writer.close()


def compile_step(run, state, batch):
  progress.say('compiling the training step ...')
  started = time.perf_counter()
  update = run.step().lower(state, batch).compile()
  progress.say(
    f'compiled in {progress.duration(time.perf_counter() - started)}'
  )
  return update


def log(writer, watch, late) -> None:
  """Writes and shows a logged step; its arrays are ready or nearly so."""
  if late is None:
    return
  step, values = late
  values = {name: float(v) for name, v in jax.device_get(values).items()}
  speed = watch.report(step, values['loss'])
  writer.write(step, {f'train/{n}': v for n, v in (values | speed).items()})
  check_finite(step, values)


def check_finite(step: int, values) -> None:
  """Raises NonFinite if the loss or the gradient of a step is not finite."""
  for name in ('loss', 'gradient_norm'):
    value = float(values[name])
    if not math.isfinite(value):
      raise errors.NonFinite(
        f'the {name} is {value} at step {step}, not saved; the last '
        'checkpoint is whole. Lower optim.learning_rate, or set '
        'optim.clip_norm'
      )


def save_due(run, step: int) -> bool:
  return step % run.config.checkpoint.every == 0


def save(run, checkpointer, state, step: int, values, results_now=None) -> None:
  """Saves unless the step behind the state (`values`) was not finite.

  `values` is None for a state that was restored and not changed.
  """
  if values is not None:
    check_finite(step, values)
  position = {
    'examples_seen': step * run.feed.batch_size,
    'examples': run.feed.size('train'),
    'seed': run.config.seed,
    'evaluated': results_now is not None,
  }
  checkpointer.save(step, state, position, results_now)


def check_position(position: dict, run) -> None:
  """Raises UsageError if the training data is not what the run began with."""
  size = run.feed.size('train')
  if position['examples'] != size:
    raise errors.UsageError(
      f'the training set had {position["examples"]} examples and now has '
      f'{size}; restore the data, or choose another --workdir'
    )


def evaluation_due(run, step: int) -> bool:
  return step > 0 and step % run.config.train.eval_every == 0


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
  path.write_text(json.dumps(environment.describe(), indent=2))
