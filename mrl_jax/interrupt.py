"""Stopping between steps, with everything saved."""

import signal

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # exit codes 143 and 130


class Stop(Exception):
  """SIGTERM or Ctrl-C arrived."""


def catch(feed):
  """asked_to_stop(step): True, or raises Stop, once a signal has arrived.

  SIGTERM and the first Ctrl-C are heeded between steps and between evaluation
  batches. Among several processes JAX agrees on the step at which all stop.
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


def release(feed) -> None:
  """Gives the signals back."""
  if jax.process_count() == 1:
    feed.poll = lambda: None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
