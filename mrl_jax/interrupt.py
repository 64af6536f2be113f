"""A signal stops a run between steps, so that everything can be saved.

An evaluation, whose evaluators take minutes, it stops at once.
"""

import contextlib
import signal
import threading

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # exit codes 143 and 130


class Stop(KeyboardInterrupt):
  """SIGTERM or Ctrl-C arrived; its arguments: the signal, perhaps words."""


def catch(feed):
  """A function asked_to_stop(step) that tells whether a signal has arrived.

  In a single process it raises Stop, and `feed` calls it before each
  evaluation batch too. Among several processes it returns True at the step
  that JAX has agreed on for all. A second Ctrl-C stops at once.
  """
  if jax.process_count() > 1:
    return multihost_utils.reached_preemption_sync_point
  arrived = []

  def note(number, _):
    if arrived and number == signal.SIGINT:
      raise KeyboardInterrupt
    arrived.append(signal.Signals(number))

  for number in SIGNALS:
    signal.signal(number, note)

  def poll(step=None):
    if arrived:
      raise Stop(arrived[0])
    return False

  feed.poll = poll
  return poll


@contextlib.contextmanager
def at_once():
  """Inside, a signal raises Stop where it arrives.

  Not among several processes, which must stop together, and not in a thread,
  where no signal arrives.
  """
  main = threading.current_thread() is threading.main_thread()
  if not main or jax.process_count() > 1:
    yield
    return

  def stop(number, _):
    raise Stop(signal.Signals(number))

  before = {number: signal.signal(number, stop) for number in SIGNALS}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler or signal.SIG_DFL)


def release(feed) -> None:
  """Restores the default effect of the signals."""
  if jax.process_count() == 1:
    feed.poll = lambda: None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
