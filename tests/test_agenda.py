"""What is said before an evaluation and while it runs."""

import io
import sys

import pytest

from mrl_jax import agenda, parts
from mrl_jax.evaluators import EVALUATORS

BUILT = {name: EVALUATORS[name]() for name in ('linear', 'knn', 'examples')}
FACTS = {'details': {}, 'options': {}, 'environment': {}}


class Clock:
  """time.perf_counter that a test moves."""

  def __init__(self):
    self.now = 0.0

  def perf_counter(self):
    return self.now


def record(folder, name, seconds):
  place = parts.Place(folder, 'd', 'a')
  place.write(name, [], FACTS | {'seconds': seconds})


def test_every_evaluator_says_what_it_asks_and_has_an_estimate():
  assert set(agenda.SECONDS) >= set(EVALUATORS)
  for kind in EVALUATORS.values():
    words = agenda._asks(kind())
    assert 15 < len(words) <= agenda.SHOWN and '`' not in words


def test_the_table_names_what_runs_and_about_how_long():
  plan = agenda.Agenda(BUILT, {'linear': 2, 'knn': 65, 'examples': 3.4})
  linear, knn, examples = plan.table().splitlines()
  assert linear.split()[:3] == ['linear', 'top-1', 'and']
  assert knn.endswith('about 1m05s') and examples.endswith('about 3s')
  assert max(map(len, plan.table().splitlines())) <= 79


def test_recorded_seconds_come_before_guesses(tmp_path):
  def seconds(size=1e9):
    return agenda.estimated(tmp_path / '9', BUILT, size)

  start, more = agenda.SECONDS['knn']
  assert seconds()['knn'] == pytest.approx(start + more)
  assert seconds(99e9)['knn'] == pytest.approx(start + 99 * more)
  assert agenda._guess('search', 1e12) < 60 < agenda._guess('knn', 1e12)
  record(tmp_path / '3', 'knn', 11.0)
  record(tmp_path / '3', 'linear', 12.0)
  record(tmp_path / '9', 'knn', 13.0)
  assert seconds()['knn'] == 13 and seconds()['linear'] == 12
  record(tmp_path / '9', 'knn', 0.0)  # of an older version
  assert seconds()['knn'] == 11
  assert agenda.estimated(tmp_path / '9', {'new': BUILT['knn']}, 1)['new'] > 0


def test_a_line_per_evaluator_with_the_time_left(monkeypatch, capsys):
  clock = Clock()
  monkeypatch.setattr(agenda, 'time', clock)
  plan = agenda.Agenda(BUILT, {'linear': 9, 'knn': 100, 'examples': 200})
  assert plan.left() == 309
  for name, spent in (('linear', 19), ('knn', 199), ('examples', 3)):
    with plan.running(name):
      clock.now += spent
  first, second, third = capsys.readouterr().out.splitlines()
  # Twice as slow as expected: (19 + 1) / (9 + 1), then 219 / 110.
  assert first.split() == '1/3 linear 19s, about 10m00s left'.split()
  assert second.split() == '2/3 knn 3m19s, about 6m38s left'.split()
  assert third.split() == '3/3 examples 3s'.split()
  with agenda.Agenda(BUILT, dict.fromkeys(BUILT, 1)).running('knn', False):
    pass
  assert capsys.readouterr().out == ''


def test_what_fails_has_no_line(capsys):
  plan = agenda.Agenda(BUILT, dict.fromkeys(BUILT, 1))
  with pytest.raises(KeyboardInterrupt), plan.running('knn'):
    raise KeyboardInterrupt
  assert capsys.readouterr().out == ''


def test_a_terminal_shows_a_live_line(monkeypatch):
  terminal = io.StringIO()
  monkeypatch.setattr(terminal, 'isatty', lambda: True)
  monkeypatch.setattr(agenda, 'TICK_SECONDS', 0.001)
  monkeypatch.setattr(sys, 'stdout', terminal)
  plan = agenda.Agenda(BUILT, {'linear': 10, 'knn': 100, 'examples': 200})
  with plan.running('linear'):
    while terminal.getvalue().count('\r') < 3:
      pass
  live, end = terminal.getvalue().split('\r\033[K')
  lines = live.strip('\r').split('\r')
  assert all(line.startswith('1/3 linear') for line in lines)
  assert all(line.endswith('left\033[K') for line in lines)
  assert '\n' not in live
  assert end.count('\n') == 1 and end.startswith('1/3 linear')
