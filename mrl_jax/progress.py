"""The line that shows the progress of a run, and other messages."""

import sys
import time

import jax
from absl import logging

PATIENCE_SECONDS = 10.0  # before a line, and between two


def quiet() -> None:
  """Hides the warnings of libraries, on which a user cannot act."""
  logging.set_verbosity(logging.ERROR)


class Progress:
  """Shows step, loss, examples/s and time left, in one line on a terminal.

  Only the time of training counts for the speed: call `pause` before other
  work and `resume` after it.
  """

  def __init__(self, first: int, total: int, batch_size: int, shown: bool):
    self.total, self.batch_size, self.shown = total, batch_size, shown
    self.terminal = sys.stdout.isatty()
    self.step, self.seconds = first, 0.0
    self.waited = 0.0
    self.started: float | None = None

  def resume(self) -> None:
    if self.started is None:
      self.started = time.perf_counter()

  def pause(self) -> None:
    if self.started is not None:
      self.seconds += time.perf_counter() - self.started
      self.started = None
      if self.terminal and self.shown:
        print()

  def report(self, step: int, loss: float) -> dict[str, float]:
    """Prints the line; returns examples/s and the share of time waiting."""
    now = time.perf_counter()
    if self.started is not None:
      self.seconds += now - self.started
      self.started = now
    seconds, steps = max(self.seconds, 1e-9), step - self.step
    rate = steps * self.batch_size / seconds
    share = min(self.waited / seconds, 1.0)
    self.step, self.seconds, self.waited = step, 0.0, 0.0
    left = (self.total - step) * self.batch_size / max(rate, 1e-9)
    line = (
      f'step {step:>7,}/{self.total:,}  loss {loss:8.4f}  '
      f'{rate:9,.0f} examples/s  {duration(left)} left'
    )
    if self.shown:
      end = '' if self.terminal else '\n'
      print(('\r' if self.terminal else '') + line, end=end, flush=True)
    return {'examples_per_second': rate, 'data_wait_share': share}


class Counter:
  """A line on how far a long job is; jobs under `PATIENCE_SECONDS` have none.

  Args:
    total: items of the job.
    noun: what they are called.
  """

  def __init__(self, total: int, noun: str):
    self.total, self.noun = total, noun
    self.terminal = sys.stdout.isatty()
    self.started = self.told = time.perf_counter()

  def tell(self, done: int) -> None:
    """Prints the line if one is due, and the last one of a long job."""
    now = time.perf_counter()
    seconds, last = now - self.started, done == self.total
    long = self.told > self.started or seconds > PATIENCE_SECONDS
    if not long or not last and now - self.told < PATIENCE_SECONDS:
      return
    self.told = now
    rate = done / seconds
    line = (
      f'{done:,}/{self.total:,} {self.noun}  {rate:,.0f}/s  '
      f'{duration((self.total - done) / rate)} left '
    )
    end = '' if self.terminal and not last else '\n'
    print(('\r' if self.terminal else '') + line, end=end, flush=True)


def duration(seconds: float) -> str:
  """Seconds as text, like 12s, 3m05s or 2h07m."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds}s'
  if seconds < 3600:
    return f'{seconds // 60}m{seconds % 60:02d}s'
  return f'{seconds // 3600}h{seconds % 3600 // 60:02d}m'


def say(text: str) -> None:
  """Prints the text at once, on the first process only."""
  if jax.process_index() == 0:
    print(text, flush=True)
