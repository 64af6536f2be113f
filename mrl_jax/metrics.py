"""Numbers of a run: written as they come, averaged and bounded correctly."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp

from mrl_jax.shapes import Array, Float


def masked_mean(
  values: Float[Array, '*g b'], mask: Float[Array, 'b']
) -> Float[Array, '*g']:
  """Mean over the examples whose mask is 1; 0 if there is none."""
  total = jnp.sum(values * mask, axis=-1)
  return total / jnp.maximum(jnp.sum(mask), 1)


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> tuple:
  """95% interval of a proportion hits/n (Wilson, 1927); (0, 1) for n == 0."""
  if n == 0:
    return 0.0, 1.0
  p = hits / n
  centre = (p + z * z / (2 * n)) / (1 + z * z / n)
  half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
  return max(0.0, centre - half), min(1.0, centre + half)


def proportion_row(
  evaluator: str, metric: str, dim: int, hits: int, n: int, **extra
) -> dict:
  """One result row for a share of right answers, with its 95% interval."""
  low, high = wilson_interval(hits, n)
  return {
    'evaluator': evaluator,
    'metric': metric,
    'dim': int(dim),
    'value': hits / n if n else math.nan,
    'ci_low': low,
    'ci_high': high,
    'n': int(n),
    **extra,
  }


def flat_name(row: Mapping) -> str:
  """`<evaluator>/<metric>[@k]/d<dim>`, so that one pattern plots any curve."""
  at = f'@{row["k"]}' if 'k' in row else ''
  return f'{row["evaluator"]}/{row["metric"]}{at}/d{row["dim"]}'


class Writer:
  """Appends to `metrics.jsonl` and `tensorboard/` of a workdir.

  Opening at `step` drops what an interrupted run wrote beyond it, so a
  resumed run has each step once. A writer with `active=False` (processes
  other than the first) does nothing.
  """

  def __init__(self, workdir: str | Path, step: int = 0, active: bool = True):
    self.file = self.board = None
    if not active:
      return
    from tensorboardX import SummaryWriter

    path = Path(workdir) / 'metrics.jsonl'
    if path.exists():
      lines = path.read_text().splitlines()
      kept = [line for line in lines if line_step(line) <= step]
      path.write_text(''.join(line + '\n' for line in kept))
    self.file = path.open('a')
    self.board = SummaryWriter(
      str(Path(workdir) / 'tensorboard'), purge_step=step + 1
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """One line and a TensorBoard point per value; nan stays visible."""
    if self.file is None:
      return
    values = {name: float(value) for name, value in values.items()}
    safe = {n: v if math.isfinite(v) else str(v) for n, v in values.items()}
    self.file.write(json.dumps({'step': step, **safe}) + '\n')
    self.file.flush()
    for name, value in values.items():
      self.board.add_scalar(name, value, step)

  def close(self) -> None:
    if self.file is not None:
      self.file.close()
      self.board.close()


def line_step(line: str) -> float:
  """The step of a line of metrics.jsonl; inf for a line cut off by a kill."""
  try:
    return json.loads(line)['step']
  except (ValueError, KeyError, TypeError):
    return math.inf
