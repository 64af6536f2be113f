"""Numbers of a run: written as they come, averaged and bounded correctly."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

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
  low = 0.0 if hits == 0 else max(0.0, centre - half)
  return low, 1.0 if hits == n else min(1.0, centre + half)


def proportion_row(
  evaluator: str, metric: str, dim: int, hits: int, n: int, **extra
) -> dict:
  """One result row for a share of right answers, with its 95% interval."""
  value = hits / n if n else math.nan
  interval = wilson_interval(hits, n)
  return row(evaluator, metric, dim, value, interval, n, **extra)


def mean_row(
  evaluator: str, metric: str, dim: float, values: Float, **extra
) -> dict:
  """One result row for the mean of a value in [0, 1] per query."""
  values = np.asarray(values, np.float64)
  value = float(values.mean()) if len(values) else math.nan
  interval = mean_interval(values)
  return row(evaluator, metric, dim, value, interval, len(values), **extra)


def row(evaluator, metric, dim, value, interval, n, **extra) -> dict:
  """A result row; `variant` and `k` in `extra` become part of its name."""
  dim = int(dim) if dim == int(dim) else round(float(dim), 2)
  return {
    'evaluator': evaluator,
    'metric': metric,
    'dim': dim,
    'value': float(value),
    'ci_low': float(interval[0]),
    'ci_high': float(interval[1]),
    'n': int(n),
    **extra,
  }


def mean_interval(
  values: Float[np.ndarray, 'n'], z: float = 1.959964
) -> tuple[float, float]:
  """95% interval of the mean of independent values in [0, 1].

  Agresti and Coull's (1998), carried over from hits to any value in [0, 1]:
  z^2/2 observations of 0 and as many of 1 are added before mean and variance
  are taken. So it never has width 0, and for hits it is theirs exactly.
  """
  n = len(values)
  if n == 0:
    return 0.0, 1.0
  total = n + z * z
  mean = (np.sum(values) + z * z / 2) / total
  square = (np.sum(np.square(values)) + z * z / 2) / total
  half = z * math.sqrt(max(square - mean * mean, 0) / total)
  return max(0.0, mean - half), min(1.0, mean + half)


def paired_ratio_interval(
  both: int, first: int, second: int, z: float = 1.959964
) -> tuple[float, float]:
  """95% interval of a ratio of two shares over the same examples.

  The ratio is (both + first) / (both + second): `both` examples are hits of
  the two, `first` and `second` of one only. Bonett and Price (2006): Wilson
  intervals of the two shares, each at a level that accounts for the pairing.
  """
  if both + first + second == 0:
    return 0.0, math.inf
  n = both + first + second
  one, two = both + first + 1, both + second + 1
  shares = one / (n + 2), two / (n + 2)
  joint = math.sqrt((first + second + 2) / (one * two))
  apart = sum(math.sqrt((1 - p) / x) for p, x in zip(shares, (one, two)))
  z = z * joint / apart
  (low1, high1), (low2, high2) = (
    wilson_interval(hits, n, z) for hits in (both + first, both + second)
  )
  return low1 / high2, high1 / low2 if low2 > 0 else math.inf


def flat_name(row: Mapping) -> str:
  """`<evaluator>/<metric>[@k][.variant]/d<dim>`: one pattern for any curve."""
  at = f'@{row["k"]}' if 'k' in row else ''
  variant = f'.{row["variant"]}' if 'variant' in row else ''
  return f'{row["evaluator"]}/{row["metric"]}{at}{variant}/d{row["dim"]:g}'


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
