"""What a run logs while it trains: `metrics.jsonl` and TensorBoard."""

import json
import math
from collections.abc import Container, Mapping
from pathlib import Path


class Writer:
  """Appends to `metrics.jsonl` and `tensorboard/` of a workdir.

  A writer that is opened at `step` removes the lines of later steps, which an
  interrupted run has left. So each step appears once. A writer with
  `active=False` does nothing; processes other than the first have one.
  """

  def __init__(self, workdir: str | Path, step: int = 0, active: bool = True):
    self.file = self.board = None
    if not active:
      return
    from tensorboardX import SummaryWriter

    path = Path(workdir) / 'metrics.jsonl'
    if path.exists():
      lines = path.read_text(encoding='utf-8').splitlines()
      kept = [line for line in lines if _line_step(line) <= step]
      path.write_text(''.join(line + '\n' for line in kept), encoding='utf-8')
    self.file = path.open('a', encoding='utf-8')
    self.board = SummaryWriter(
      str(Path(workdir) / 'tensorboard'), purge_step=step + 1
    )

  def write(
    self,
    step: int,
    values: Mapping[str, float],
    drawn: Container[str] | None = None,
  ) -> None:
    """Writes a line, and TensorBoard points; nan is kept as text.

    TensorBoard gets the values named in `drawn`, by default all: a value that
    is measured once has no curve.
    """
    if self.file is None:
      return
    values = {name: float(value) for name, value in values.items()}
    safe = {n: v if math.isfinite(v) else str(v) for n, v in values.items()}
    self.file.write(json.dumps({'step': step, **safe}) + '\n')
    self.file.flush()
    for name, value in values.items():
      if drawn is None or name in drawn:
        self.board.add_scalar(name, value, step)

  def close(self) -> None:
    if self.file is not None:
      self.file.close()
      self.board.close()


def _line_step(line: str) -> float:
  """The step of a line of metrics.jsonl; inf if the line was cut off."""
  try:
    return json.loads(line)['step']
  except (ValueError, KeyError, TypeError):
    return math.inf
