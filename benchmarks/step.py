"""The whole training step with MRL, MRL-E and the plain loss (FF).

  python benchmarks/step.py --config=configs/vit_mrl.py:fashion_mnist
  python benchmarks/step.py --config=configs/vit_mrl.py:imagenet,S/16 \\
    --config.train.batch_size=32 --rounds=0
  python benchmarks/step.py --config=configs/vit_mrl.py:fashion_mnist \\
    --devices=8 --rounds=0

FLOPs are those of all matmuls, memory that of the compiled step, both over
FF's; `--rounds=0` only compiles. With `--devices` emulated CPU devices, the
bytes that the devices exchange in a step are compared too. No data is needed:
pixels are random.
"""

import argparse
import functools
import sys
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parent.parent))

import measure  # noqa: E402

from mrl_jax import build, costs, plan, schema  # noqa: E402
from mrl_jax import config as configs  # noqa: E402

HEADS = ('ff', 'mrl', 'mrl_e')


def prepared(config: ConfigDict, head: str):
  """(run one step, its costs)."""
  config = plan.fixed_feature(config) if head == 'ff' else ConfigDict(config)
  config.task.head = ConfigDict({'name': head})
  config = schema.complete(config)
  facts = build.source_facts(config)
  learner = build.learner(config, build.model(config, facts), 1_000_000)
  shapes = learner.batch
  traced = learner.step().trace(learner.placed, shapes)
  program = traced.lower().compile()
  found = {
    'operations': costs.matmul_flops(traced.jaxpr.jaxpr),
    'memory_bytes': program.memory_analysis().temp_size_in_bytes
    + program.memory_analysis().argument_size_in_bytes,
    'exchanged_bytes': sum(
      kind['bytes']
      for kind in costs.collectives(
        program.as_text(), config.train.accumulate
      ).values()
    ),
  }
  return functools.partial(Steps, learner, program, shapes, facts), found


class Steps:
  """Calls the step again and again on one batch of random images."""

  def __init__(self, learner, program, shapes, facts):
    where = jax.tree.map(lambda leaf: leaf.sharding, learner.placed)
    make = jax.jit(learner.init, out_shardings=where)
    self.state = make(jax.random.key(0))
    self.program = program
    rng = np.random.default_rng(0)
    image = shapes['image']
    batch = {
      'image': rng.integers(0, 256, image.shape, np.uint8),
      'label': rng.integers(0, len(facts.classes), image.shape[0], np.int32),
      'mask': np.ones(image.shape[0], np.float32),
    }
    places = {name: shape.sharding for name, shape in shapes.items()}
    self.batch = jax.device_put(batch, places)

  def __call__(self):
    self.state, values = self.program(self.state, self.batch)
    return values


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--config', default='configs/vit_mrl.py:fashion_mnist')
  parser.add_argument('--rounds', type=int, default=20)
  parser.add_argument('--devices', type=int, help='emulated CPU devices')
  parser.add_argument('--json', help='write all numbers here')
  options, words = parser.parse_known_args()
  if options.devices:
    jax.config.update('jax_num_cpu_devices', options.devices)
  config, name = configs.load(options.config)
  config = schema.resolve(config, words)
  made = {head: prepared(config, head) for head in HEADS}
  found = {head: costs for head, (_, costs) in made.items()}
  if options.rounds:
    steps = {head: make() for head, (make, _) in made.items()}
    for head, times in measure.race(steps, options.rounds).items():
      found[head] |= times
  rows = []
  for head, one in found.items():
    row = [head]
    for key in ('operations', 'memory_bytes', 'exchanged_bytes'):
      base = found['ff'][key]
      row.append(f'{one[key] / base:.4f} ({one[key]:,})' if base else '-')
    if options.rounds:
      middle, low, high = one['ratio']
      row.append(f'{middle:.3f} ({low:.3f} to {high:.3f})')
      row.append(f'{one["seconds"] * 1e3:.1f}')
    rows.append(row)
  columns = ['head', 'matmul FLOPs / FF', 'memory / FF', 'exchanged / FF']
  columns += ['time / FF', 'ms'] if options.rounds else []
  size = config.train.batch_size
  print(f'\n{name}, batch {size}, {" ".join(words)}\n')
  print(measure.table(columns, rows))
  conditions = measure.conditions()
  print('\n' + ', '.join(f'{k} {v}' for k, v in conditions.items()))
  measure.write(options.json, {'conditions': conditions, 'steps': found})


if __name__ == '__main__':
  main()
