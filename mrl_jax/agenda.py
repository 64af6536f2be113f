"""What an evaluation will run, about how long, and how far it is."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mrl_jax import parts, progress
from mrl_jax.contracts import Evaluator

# Seconds of an evaluator on two cores: a start, and more per 1e9 of rows x
# queries x width. Where it has run before, its own seconds count instead.
SECONDS = {
  'linear': (1, 0),
  'probe': (4, 4),
  'knn': (1, 0.06),
  'retrieval': (1, 0.06),
  'sets': (5, 0),
  'cascade': (1, 0),
  'margin': (1, 0.06),
  'agreement': (1, 0),
  'classes': (1, 0),
  'calibration': (1, 0),
  'few_shot': (1, 0.3),
  'robustness': (30, 0),
  'cosine': (1, 0),
  'baselines': (3, 2),
  'search': (5, 4),
  'stores': (8, 4),
  'lost': (1, 0.1),
  'examples': (2, 0),
  'pairs': (2, 0),
}
UNKNOWN = (1, 1)
ALL_ROWS = (
  'knn',
  'retrieval',
  'margin',
)  # the others draw rows where there are many
MOST = 10.0  # x 1e9, of those
TICK_SECONDS = 1.0
SHOWN = 50  # letters of what an evaluator asks


class Agenda:
  """The evaluators of one evaluation, with the time that each takes.

  Args:
    evaluators: by name, in the order in which they will run.
    expected: seconds of each.
  """

  def __init__(
    self, evaluators: Mapping[str, Evaluator], expected: Mapping[str, float]
  ):
    self.evaluators = evaluators
    self.waiting = {name: expected[name] for name in evaluators}
    self.ended: dict[str, tuple[float, float]] = {}  # expected, spent

  def table(self) -> str:
    """A line per evaluator: its name, what it asks, about how long."""
    lines = [
      f'  {name:<12}{_asks(evaluator):<{SHOWN + 2}}'
      f'about {progress.duration(self.waiting[name])}'
      for name, evaluator in self.evaluators.items()
    ]
    return '\n'.join(lines)

  @contextlib.contextmanager
  def running(self, name: str, shown: bool = True) -> Iterator[None]:
    """Inside runs an evaluator; at its end a line says how long it took.

    On a terminal a line shows all the while what is left.
    """
    started = time.perf_counter()
    expected = self.waiting.pop(name)
    end = threading.Event()

    def tick():
      while not end.wait(TICK_SECONDS):
        spent = time.perf_counter() - started
        line = self._line(name, spent, expected)
        print(f'\r{line}\033[K', end='', flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    terminal = shown and sys.stdout.isatty()
    if terminal:
      ticker.start()
    try:
      yield
    finally:
      end.set()
      if terminal:
        ticker.join()
        print('\r\033[K', end='', flush=True)
    spent = time.perf_counter() - started
    self.ended[name] = expected, spent
    if shown:
      progress.say(self._line(name, spent, 0))

  def _line(self, name: str, spent: float, expected: float) -> str:
    count = len(self.evaluators) - len(self.waiting)
    left = self.left() + max(expected - spent, 0)
    rest = f', about {progress.duration(left)} left' if left else ''
    took = progress.duration(spent)
    return f'{count}/{len(self.evaluators)} {name:<12} {took:>6}{rest}'

  def left(self) -> float:
    """Seconds of those that wait, at the pace of those that have ended."""
    expected = sum(it for it, _ in self.ended.values())
    spent = sum(it for _, it in self.ended.values())
    # A second that is added to both keeps the first small ones from counting.
    return sum(self.waiting.values()) * (spent + 1) / (expected + 1)


def estimated(
  folder: Path, evaluators: Mapping[str, Evaluator], size: float
) -> dict[str, float]:
  """About how many seconds each takes on `size` = rows x queries x width.

  As long as it took in this folder or, for another step of a run, beside it;
  for one that never ran here, by its size.
  """
  known: dict[str, float] = {}
  steps = [path for path in folder.parent.glob('*') if path != folder]
  for place in [*sorted(steps), folder]:
    for name, part in parts.read(place).items():
      if part['seconds']:
        known[name] = part['seconds']
  return {name: known.get(name) or _guess(name, size) for name in evaluators}


def _guess(name: str, size: float) -> float:
  start, more = SECONDS.get(name, UNKNOWN)
  amount = size / 1e9
  return start + more * (amount if name in ALL_ROWS else min(amount, MOST))


def _asks(evaluator: Evaluator) -> str:
  """The first line of its file, without its name, cut to a few words."""
  kind = type(evaluator)
  text = sys.modules[kind.__module__].__doc__ or kind.__doc__ or ''
  text = text.partition('\n')[0].rpartition('`: ')[2].rstrip('.')
  if len(text) <= SHOWN:
    return text
  return text[: SHOWN - 3].rpartition(' ')[0] + ' ...'
