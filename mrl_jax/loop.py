"""Training, as one reads it: save -> evaluate -> next batch -> step."""

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
  stored,
)
from mrl_jax.state import TrainState

DONE = 0


def train(run) -> int:
  """Trains a built run (build.Run) in its workdir; returns the exit code.

  0 done, 143 stopped by SIGTERM (130 by Ctrl-C) after saving.

  Raises:
    NonFinite: if the loss or its gradient is not finite; nothing of it saved.
  """
  first_process = jax.process_index() == 0
  saver = run.checkpointer()
  state, first = _restored(run, saver)
  _describe(run, state)
  writer = journal.Writer(run.workdir, first, active=first_process)
  watch = progress.Progress(
    first, run.cadence.steps, run.feed.loading.batch_size, shown=first_process
  )
  asked_to_stop = interrupt.catch(run.feed)
  batches = run.feed.training(first)
  batch = next(batches)
  update = None
  if first < run.cadence.steps:
    update = _compile(run, state, batch)
  step, values = first, None
  late = None  # a step's metrics are read after the next step has started

  try:
    while True:
      due = run.cadence.due(step)
      if due.save and step > first:
        late = _log(writer, watch, late)
        watch.pause()
        _save(run, saver, state, step, values)
      if due.evaluate:
        watch.pause()
        again = step in saver.scores.values
        if due.finish or not again:
          results = evaluation.of_state(
            run, state, step, None if again else writer
          )
          if not again:
            saver.scores.add(step, results)
      if due.finish:
        return DONE
      if asked_to_stop(step):
        raise interrupt.Stop(signal.SIGTERM)
      watch.resume()
      state, values = update(state, batch)
      step += 1
      late = _log(writer, watch, late)
      if run.cadence.due(step).log:
        late = (step, values)
      started = time.perf_counter()
      batch = next(batches)
      watch.waited += time.perf_counter() - started
      saver.poll()
  except interrupt.Stop as stop:
    if step > first and saver.latest != step:
      _save(run, saver, state, step, values)
    number = stop.args[0]
    progress.say(
      f'stopped by {number.name} at step {step:,}, saved; run it again'
    )
    return 128 + number
  finally:
    watch.pause()
    interrupt.release(run.feed)
    saver.close()
    writer.close()


def _restored(run, saver) -> tuple[TrainState, int]:
  """(the newest whole state, its step), a fresh one at 0 if there is none."""
  step = saver.newest() or 0
  if not step:
    return run.create(), 0
  tree, position = saver.restore(step, run.learner.placed.to_tree())
  _check_position(position, run)
  if position.get('evaluated'):  # format 1 evaluated before it saved
    saver.scores.values.setdefault(step, {})
  progress.say(f'resuming from step {step:,}')
  return TrainState.from_tree(tree), step


def _compile(run, state, batch):
  progress.say('compiling the training step ...')
  started = time.perf_counter()
  update = run.learner.step().lower(state, batch).compile()
  progress.say(
    f'compiled in {progress.duration(time.perf_counter() - started)}'
  )
  return update


def _log(writer, watch, late) -> None:
  """Writes and shows a logged step; its arrays are ready or nearly so."""
  if late is None:
    return
  step, values = late
  values = {name: float(v) for name, v in jax.device_get(values).items()}
  speed = watch.report(step, values['loss'])
  writer.write(step, {f'train/{n}': v for n, v in (values | speed).items()})
  _check_finite(step, values)


def _check_finite(step: int, values) -> None:
  """Raises NonFinite if the loss or the gradient of a step is not finite."""
  for name in ('loss', 'gradient_norm'):
    value = float(values[name])
    if not math.isfinite(value):
      raise errors.NonFinite(
        f'the {name} is {value} at step {step}, not saved; the last '
        'checkpoint is whole. Lower optim.learning_rate, or set '
        'optim.clip_norm'
      )


def _save(run, saver, state: TrainState, step: int, values) -> None:
  """Saves unless the update that led to the state was not finite."""
  _check_finite(step, values)
  position = {
    'examples_seen': step * run.feed.loading.batch_size,
    'examples': run.feed.size('train'),
    'seed': run.learner.seed,
  }
  saver.save(step, state.to_tree(), position)


def _check_position(position: dict, run) -> None:
  """Raises UsageError if the training data is not what the run began with."""
  size = run.feed.size('train')
  if position['examples'] != size:
    raise errors.UsageError(
      f'the training set had {position["examples"]} examples and now has '
      f'{size}; restore the data, or choose another --workdir'
    )


def _describe(run, state: TrainState) -> None:
  """Prints the parameters and writes `environment.json`."""
  if jax.process_index() != 0:
    return
  print(
    parameter_overview.get_parameter_overview(
      stored.to_text(state.variables.params), include_stats=False
    )
  )
  mesh = run.learner.mesh.shape.items()
  print(
    f'{run.feed.size("train"):,} training and '
    f'{run.feed.size("validation"):,} validation examples; '
    f'{run.cadence.steps:,} steps of {run.feed.loading.batch_size}; mesh '
    + ', '.join(f'{axis} {size}' for axis, size in mesh),
    flush=True,
  )
  path = run.workdir / 'environment.json'
  path.write_text(json.dumps(environment.describe(), indent=2))
