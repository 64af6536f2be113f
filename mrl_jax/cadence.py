"""When a run logs, saves, evaluates and ends: a pure function of the step."""

import dataclasses
from typing import NamedTuple


class Due(NamedTuple):
  """What a run does after an update, in this order."""

  log: bool
  save: bool
  evaluate: bool
  finish: bool


@dataclasses.dataclass(frozen=True)
class Cadence:
  """How often things happen, in steps; `steps` is the length of the run."""

  steps: int
  log_every: int
  eval_every: int
  save_every: int

  def due(self, step: int) -> Due:
    """What is due at `step`; what is evaluated is saved first."""
    last = step >= self.steps
    evaluate = last or (step > 0 and step % self.eval_every == 0)
    return Due(
      log=step > 0 and (last or step % self.log_every == 0),
      save=evaluate or (step > 0 and step % self.save_every == 0),
      evaluate=evaluate,
      finish=last,
    )
