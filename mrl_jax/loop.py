"""The training loop: save -> evaluate -> next batch -> step."""

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
    NonFinite: if the loss or its gradient is not finite; the step is not saved.
  """
  training = Training(run)
  try:
    while True:
      due = run.cadence.due(training.step)
      if due.save:
        training.save()
      if due.evaluate:
        training.evaluate(repeat=due.finish)
      if due.finish:
        return DONE
      training.stop_if_asked()
      training.update()
  except interrupt.Stop as stop:
    number = stop.args[0]
    progress.say(f'stopped by {number.name} {training.leave()}; run it again')
    return 128 + number
  finally:
    training.close()


class Training:
  """A run in progress: its state, its batches and its log.

  Attributes:
    step: updates made.
    first: the step that it began or resumed from.
  """

  def __init__(self, run):
    self.run, self.saver = run, run.checkpointer()
    self.state, self.first = _restored(run, self.saver)
    self.step = self.first
    _describe(run, self.state)
    shown = jax.process_index() == 0
    self.writer = journal.Writer(run.workdir, self.first, active=shown)
    self.watch = progress.Progress(
      self.first, run.cadence.steps, run.feed.loading.batch_size, shown
    )
    self.asked_to_stop = interrupt.catch(run.feed)
    self.batches = run.feed.training(self.first)
    self.batch = next(self.batches)
    self.compiled = {}  # by the shapes of a batch
    if self.first < run.cadence.steps:  # a finished run needs no step
      self.program()
    self.values = None  # metrics of the last update
    self.late = None  # logged ones are read after the next step has started

  def update(self) -> None:
    """Makes one update, and fetches the next batch while it runs."""
    compiled = self.program()
    self.watch.resume()
    self.state, self.values = compiled(self.state, self.batch)
    self.step += 1
    self.log()
    if self.run.cadence.due(self.step).log:
      self.late = self.step, self.values
    started = time.perf_counter()
    self.batch = next(self.batches)
    self.watch.waited += time.perf_counter() - started
    self.saver.poll()

  def program(self):
    """The update compiled for batches of the shapes of the next one."""
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(self.batch))
    if shapes not in self.compiled:
      self.watch.pause()
      self.compiled[shapes] = _compile(self.run, self.state, self.batch)
    return self.compiled[shapes]

  def log(self) -> None:
    """Writes and shows a logged step; its arrays are ready or nearly so."""
    if self.late is None:
      return
    (step, values), self.late = self.late, None
    values = {name: float(v) for name, v in jax.device_get(values).items()}
    speed = self.watch.report(step, values['loss'])
    lines = {f'train/{name}': v for name, v in (values | speed).items()}
    self.writer.write(step, lines)
    _check_finite(step, values)

  def save(self) -> None:
    """Saves, unless nothing has changed or the last update was not finite."""
    if self.step == self.first or self.saver.latest == self.step:
      return
    self.log()
    self.watch.pause()
    _check_finite(self.step, self.values)
    position = {
      'examples_seen': self.step * self.run.feed.loading.batch_size,
      'examples': self.run.feed.size('train'),
      'seed': self.run.learner.seed,
    }
    self.saver.save(self.step, self.state.to_tree(), position)

  def leave(self) -> str:
    """Saves what is new, and says where the run stands."""
    self.save()
    if self.step > self.first:
      return f'at step {self.step:,}, saved'
    if self.first:
      return f'at step {self.first:,}, saved before, nothing new'
    return 'before its first step, nothing to save'

  def evaluate(self, repeat: bool) -> None:
    """Evaluates, unless the step was evaluated before and `repeat` is False."""
    again = self.step in self.saver.scores.values
    if again and not repeat:
      return
    self.watch.pause()
    writer = None if again else self.writer
    with interrupt.at_once():
      results = evaluation.of_state(self.run, self.state, self.step, writer)
    if not again:
      self.saver.scores.add(self.step, results)

  def stop_if_asked(self) -> None:
    """Raises Stop once a signal has come, to all processes at one step."""
    if self.asked_to_stop(self.step):
      raise interrupt.Stop(signal.SIGTERM)

  def close(self) -> None:
    self.watch.pause()
    interrupt.release(self.run.feed)
    self.saver.close()
    self.writer.close()


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
  path.write_text(
    json.dumps(environment.describe(), indent=2), encoding='utf-8'
  )
