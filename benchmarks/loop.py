"""The training loop against a bare jitted loop over the same step.

  python benchmarks/loop.py --config=configs/vit_mrl.py:fashion_mnist

Both run in one process, in turn, order shuffled every round. The bare loop
calls the compiled step on batches that already lie on the device; the training
loop is `loop.train` itself: data, augmentation, metrics, progress line. Ratios
are loop / bare steps per second. A matrix product before and after every round
is the control: a round in which it moved by more than 10% does not count.
"""

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parent.parent))

import measure  # noqa: E402

from mrl_jax import build, loop, schema  # noqa: E402
from mrl_jax import config as configs  # noqa: E402


def bare(run, steps: int, warm: int) -> float:
  """Steps per second of the step alone."""
  state = run.create()
  batches = list(itertools.islice(run.feed.training(0), 8))
  update = run.learner.step().lower(state, batches[0]).compile()
  for batch in batches[:warm]:
    state, _ = update(state, batch)
  jax.block_until_ready(state)
  started = time.perf_counter()
  for index in range(steps):
    state, _ = update(state, batches[index % len(batches)])
  jax.block_until_ready(state)
  return steps / (time.perf_counter() - started)


def whole(run, log_every: int) -> tuple[float, float]:
  """(steps per second, share of time waiting for data) of loop.train."""
  with tempfile.TemporaryDirectory() as folder:
    run = dataclasses.replace(run, workdir=Path(folder), evaluators={})
    with contextlib.redirect_stdout(io.StringIO()):
      assert loop.train(run) == loop.DONE
    lines = (
      (Path(folder) / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    )
  rows = [json.loads(line) for line in lines]
  rows = [r for r in rows if 'train/examples_per_second' in r][1:]  # warm
  # Equal numbers of steps a row: the harmonic mean is steps over seconds.
  speed = statistics.harmonic_mean(
    [r['train/examples_per_second'] for r in rows]
  )
  waiting = statistics.mean(r['train/data_wait_share'] for r in rows)
  return speed / run.feed.loading.batch_size, waiting


def one_round(run, steps: int, log_every: int) -> dict | None:
  """One round, None if the machine moved under it."""
  before = measure.control()
  found = {}
  for name in random.sample(['bare', 'whole'], 2):
    if name == 'bare':
      found['bare'] = bare(run, steps, warm=3)
    else:
      found['loop'], found['waiting'] = whole(run, log_every)
  moved = abs(measure.control() / before - 1)
  found |= {'ratio': found['loop'] / found['bare'], 'control_moved': moved}
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--config', default='configs/vit_mrl.py:fashion_mnist')
  parser.add_argument('--steps', type=int, default=60)
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument('--json', help='write the rounds here')
  options, words = parser.parse_known_args()
  config, name = configs.load(options.config)
  config = schema.resolve(config, words)
  log_every = max(options.steps // 5, 1)
  config.train.update(
    steps=options.steps + log_every,
    epochs=0.0,
    log_every=log_every,
    eval_every=10**9,
  )
  config.optim.warmup_steps = 1
  config.checkpoint.update(every=10**9, best='')
  run = build.run(config, 'unused')
  rounds = []
  for index in range(options.rounds):
    found = one_round(run, options.steps, log_every)
    kept = found['control_moved'] <= measure.MOVED
    print(
      f'round {index + 1}: bare {found["bare"]:.2f}, loop {found["loop"]:.2f} '
      f'steps/s, ratio {found["ratio"]:.3f}, waiting {found["waiting"]:.1%}'
      + ('' if kept else f'  dropped: control {found["control_moved"]:.0%}'),
      flush=True,
    )
    rounds.append(found | {'kept': kept})
  kept = [r for r in rounds if r['kept']]
  if len(kept) < 2:
    sys.exit('the machine is too busy: fewer than two rounds were steady')
  low, middle, high = statistics.quantiles([r['ratio'] for r in kept], n=4)
  waiting = statistics.median(r['waiting'] for r in kept)
  print(
    f'{name}: loop / bare steps per second {middle:.3f} '
    f'(quartiles {low:.3f} to {high:.3f}), {len(kept)} rounds of '
    f'{options.steps} steps; waiting for data {waiting:.1%}; '
    f'{jax.device_count()} x {jax.devices()[0].device_kind}'
  )
  if options.json:
    Path(options.json).write_text(
      json.dumps(rounds, indent=1), encoding='utf-8'
    )


if __name__ == '__main__':
  main()
