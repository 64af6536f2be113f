"""An evaluation at work: what is done is kept, the rest runs and is written."""

import signal

import numpy as np
import pytest

from mrl_jax import interrupt, parts, rows
from mrl_jax.embed.vectors import Vectors
from mrl_jax.job import Job
from tests.samples.vectors import evidence_of

DIMS = (4, 8)
NAMES = ('first', 'second', 'third')


class Asked:
  """An evaluator that counts its calls; its rows tell its options."""

  needs: tuple[str, ...] = ()
  metrics = ('top1',)

  def __init__(self, name, k=1, stop=None):
    self.name, self.k, self.stop, self.calls = name, k, stop, 0

  def run(self, evidence):
    self.calls += 1
    if self.stop:
      signal.raise_signal(self.stop)
    rng = np.random.default_rng([self.k, len(self.name)])
    right = rng.random((len(evidence.dims), len(evidence.queries))) < 0.5
    found = rows.proportions(self.name, 'top1', evidence.dims, right, k=self.k)
    return found, {'k': self.k}


class Picky(Asked):
  needs = ('logits',)


def material():
  rng = np.random.default_rng(0)
  sides = [Vectors(rng.normal(size=(n, 8))) for n in (20, 9)]
  return evidence_of(*sides, DIMS, trained=(8,))


def job(folder, asked, about='a', **more):
  options = {it.name: {'k': it.k} for it in asked}
  return Job(
    place=parts.Place(folder, 'd', about, DIMS),
    evaluators={it.name: it for it in asked},
    options=options,
    evidence=material(),
    size=1,
    **more,
  )


def all_three(**changed):
  return [Asked(name, **changed.get(name, {})) for name in NAMES]


def plain(found):
  return [rows.without_queries(row) for row in found]


def test_the_same_again_runs_nothing_and_says_so(tmp_path, capsys):
  asked = all_three()
  first = plain(job(tmp_path, asked).run())
  out = capsys.readouterr().out
  assert out.startswith('to run, about') and '3/3 third' in out
  assert [row['trained'] for row in first[:2]] == [False, True]
  again = all_three()
  assert job(tmp_path, again).run() == first
  assert [it.calls for it in asked + again] == [1, 1, 1, 0, 0, 0]
  said = capsys.readouterr().out
  assert said.startswith('first, second, third: done before, kept')
  assert said.count('\n') == 1


@pytest.mark.parametrize(
  ('changed', 'ran'),
  [
    ({'second': {'k': 2}}, [0, 1, 0]),
    ({'about': 'b'}, [1, 1, 1]),
    ({'about': ''}, [1, 1, 1]),
    ({'fresh': True}, [1, 1, 1]),
  ],
)
def test_what_has_changed_runs_again(tmp_path, changed, ran):
  job(tmp_path, all_three()).run()
  asked = all_three(**changed)
  more = {k: v for k, v in changed.items() if k in ('about', 'fresh')}
  found = plain(job(tmp_path, asked, **more).run())
  assert [it.calls for it in asked] == ran
  merged, _ = parts.merged(tmp_path, NAMES)
  assert merged == found
  expected = {'first': 1, 'second': changed.get('second', {}).get('k', 1)}
  assert {row['evaluator']: row['k'] for row in found} == expected | {
    'third': 1
  }


def test_nothing_is_reused_where_nobody_knows_the_state(tmp_path):
  for _ in range(2):
    asked = all_three()
    job(tmp_path, asked, about='').run()
    assert [it.calls for it in asked] == [1, 1, 1]


def test_others_are_added_and_stay(tmp_path):
  whole = plain(job(tmp_path / 'whole', all_three()).run())
  for name in ('third', 'first', 'second'):
    job(tmp_path / 'pieces', [Asked(name)]).run()
  assert parts.merged(tmp_path / 'pieces', NAMES)[0] == whole


def test_those_whose_needs_are_not_met_are_left_out(tmp_path, capsys):
  assert job(tmp_path, [Picky('first')]).run() == []
  assert capsys.readouterr().out == '' and parts.read(tmp_path) == {}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('name', NAMES)
def test_a_signal_stops_at_once_and_what_is_done_stays(tmp_path, name, number):
  whole = plain(job(tmp_path / 'whole', all_three()).run())
  handlers = [signal.getsignal(it) for it in interrupt.SIGNALS]
  asked = all_three(**{name: {'stop': number}})
  with pytest.raises(interrupt.Stop) as stop, interrupt.at_once():
    job(tmp_path / 'broken', asked).run()
  assert stop.value.args[0] == number
  assert [signal.getsignal(it) for it in interrupt.SIGNALS] == handlers
  before = list(NAMES[: NAMES.index(name)])
  assert list(parts.read(tmp_path / 'broken')) == before
  again = all_three()
  assert plain(job(tmp_path / 'broken', again).run()) == whole
  assert [it.calls for it in again] == [it.name not in before for it in again]
  assert parts.merged(tmp_path / 'broken', NAMES)[0] == whole


def test_quiet_jobs_say_nothing_of_what_is_quick(tmp_path, capsys):
  job(tmp_path, all_three(), shown=False, more={'step': 7}).run()
  assert capsys.readouterr().out == ''
  assert {row['step'] for row in parts.merged(tmp_path, NAMES)[0]} == {7}
