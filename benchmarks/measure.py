"""Side by side: every variant in one process, order shuffled every round.

A result is the median over rounds of seconds / (seconds of the first variant
in the same round), with quartiles. A matrix product of fixed size before and
after each round is the control; a round in which it moved by more than 10%
does not count.
"""

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

MOVED = 0.10


def control() -> float:
  """Seconds of a fixed matrix product, the best of five."""
  x = jnp.ones((1024, 1024))
  product = jax.jit(lambda x: x @ x)
  jax.block_until_ready(product(x))
  return min(seconds(product, x) for _ in range(5))


def seconds(run: Callable, *arguments) -> float:
  started = time.perf_counter()
  jax.block_until_ready(run(*arguments))
  return time.perf_counter() - started


def race(variants: dict[str, Callable], rounds: int) -> dict[str, dict]:
  """{name: ratios to the first variant, with quartiles, and seconds}."""
  for run in variants.values():
    jax.block_until_ready(run())
  times, tries = {name: [] for name in variants}, 0
  while len(times[next(iter(variants))]) < rounds and tries < 3 * rounds:
    tries += 1
    before = control()
    order = random.sample(list(variants), len(variants))
    found = {name: seconds(variants[name]) for name in order}
    if abs(control() / before - 1) <= MOVED:
      for name, value in found.items():
        times[name].append(value)
  kept = len(times[next(iter(variants))])
  if kept < 4:
    raise SystemExit(
      f'the machine is too busy: {kept} of {tries} rounds were steady'
    )
  base = times[next(iter(variants))]
  return {
    name: {
      'seconds': statistics.median(some),
      'ratio': quartiles([a / b for a, b in zip(some, base)]),
      'rounds': kept,
      'tries': tries,
    }
    for name, some in times.items()
  }


def quartiles(values: list[float]) -> list[float]:
  low, middle, high = statistics.quantiles(values, n=4)
  return [middle, low, high]


def peak_bytes(compiled) -> int:
  """Temporaries and outputs of a compiled function."""
  memory = compiled.memory_analysis()
  return memory.temp_size_in_bytes + memory.output_size_in_bytes


def conditions() -> dict:
  """What the numbers depend on."""
  preloaded = Path(os.environ.get('LD_PRELOAD', 'the default')).name
  return {
    'date': time.strftime('%Y-%m-%d'),
    'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
    'cores': os.cpu_count(),
    'machine': platform.machine(),
    'jax': jax.__version__,
    'allocator': preloaded,
  }


def table(columns: list[str], rows: list[list]) -> str:
  """A Markdown table."""
  lines = [columns, ['---'] * len(columns), *rows]
  return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in lines)


def write(path: str | None, content: dict) -> None:
  if path:
    Path(path).write_text(json.dumps(content, indent=1), encoding='utf-8')
    print(f'written: {path}')
