"""One evaluation at work: what is done is kept, the rest runs."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import cast

import jax

from mrl_jax import agenda, environment, parts, progress
from mrl_jax.contracts import Evaluator
from mrl_jax.embed.evidence import Evidence
from mrl_jax.rows import Row

SLOW_SECONDS = 10  # unless all is shown, only what takes longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """Evaluators, what they look at, and where their answers are written.

  Attributes:
    options: of every evaluator.
    size: rows x queries x width, by which the time is estimated.
    shown: whether it says what will run and how far it is.
    fresh: whether what is done is done anew.
    more: keys that every row gets.
  """

  place: parts.Place
  evaluators: Mapping[str, Evaluator]
  options: Mapping[str, Mapping]
  evidence: Evidence
  size: float
  shown: bool = True
  fresh: bool = False
  more: Mapping = dataclasses.field(default_factory=dict)

  def run(self) -> list[Row]:
    """The rows of all evaluators whose needs are met.

    Writes a part when an evaluator ends; takes those that are done from
    theirs.
    """
    answers = self._done()
    waiting = {
      name: evaluator
      for name, evaluator in self.evaluators.items()
      if name not in answers and self.evidence.has(*evaluator.needs)
    }
    expected = dict.fromkeys(waiting, 0.0)
    if self.shown:
      expected = agenda.estimated(self.place.folder, waiting, self.size)
    plan = agenda.Agenda(waiting, expected)
    if self.shown:
      _announce(plan, list(answers))
    for name in waiting:
      answers[name] = self._run(name, plan)
    return [row for n in self.evaluators if n in answers for row in answers[n]]

  def _done(self) -> dict[str, list[Row]]:
    """The rows of evaluators that ran on the same under the same options.

    None among several processes, which may not see the same files.
    """
    if self.fresh or jax.process_count() > 1:
      return {}
    there = parts.read(self.place.folder)
    return {
      name: there[name]['rows']
      for name in self.evaluators
      if name in there
      and there[name]['key']
      and there[name]['key'] == self.place.key(self.options[name])
    }

  def _run(self, name: str, plan: agenda.Agenda) -> list[Row]:
    """The rows of an evaluator, after its part is written."""
    started = time.perf_counter()
    with plan.running(name, self.shown):  # it ends once the part is written
      answers, details = answer(self.evaluators[name], self.evidence)
      answers = [cast(Row, {**row, **self.more}) for row in answers]
      seconds = time.perf_counter() - started
      if jax.process_index() == 0:
        facts = {
          'details': details,
          'options': self.options[name],
          'seconds': round(seconds, 3),
          'environment': self._environment,
        }
        self.place.write(name, answers, facts)
    if seconds > SLOW_SECONDS and not self.shown:
      progress.say(f'{name} evaluated in {progress.duration(seconds)}')
    return answers

  @functools.cached_property
  def _environment(self) -> dict:
    return environment.describe()


def answer(evaluator: Evaluator, evidence: Evidence) -> tuple[list[Row], dict]:
  """(rows, details) of an evaluator; each row says if its dim was trained."""
  answers, details = evaluator.run(evidence)
  for row in answers:
    row['trained'] = row['dim'] in evidence.trained
  return answers, details


def _announce(plan: agenda.Agenda, done: Sequence[str]) -> None:
  if done:
    progress.say(
      f'{", ".join(done)}: done before, kept (eval.py --fresh does them anew)'
    )
  if plan.waiting:
    left = progress.duration(plan.left())
    progress.say(f'to run, about {left} in all:\n{plan.table()}')
