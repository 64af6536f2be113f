"""The design of the paper's tables on Fashion-MNIST, sized for two cores.

  python train.py --config=configs/reproduce/fashion_mnist.py:mrl,seed=1
  python train.py --config=configs/reproduce/fashion_mnist.py:mrl_e
  python train.py --config=configs/reproduce/fashion_mnist.py:ff=8,seed=2

All of them, and their table: python benchmarks/reproduce.py --help
"""

import importlib.util
from pathlib import Path

from ml_collections import ConfigDict

DIMS = (4, 8, 16, 32, 64)
TABLES = (
  'linear',
  'knn',
  'retrieval',
  'cascade',
  'agreement',
  'baselines',
  'search',
)
SEEDS = (0, 1, 2)
METHODS = ('mrl', 'mrl_e', *(f'ff={m}' for m in DIMS))


def base() -> ConfigDict:
  path = Path(__file__).parent.parent / 'vit_mrl.py'
  spec = importlib.util.spec_from_file_location('vit_mrl', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config('fashion_mnist')


def get_config(arg: str = '') -> ConfigDict:
  words = [word for word in arg.split(',') if word]
  config = base()
  config.dims = DIMS
  config.encoder.update(width=DIMS[-1], depth=4, heads=4, patch_size=7)
  config.train.update(
    steps=0, epochs=12.0, batch_size=128, eval_every=10_000, log_every=100
  )
  config.optim.update(learning_rate=2e-3, warmup_steps=200)
  config.eval.update(batch_size=512, dims=(), only=TABLES)
  config.eval.baselines = ConfigDict(dict(examples=60_000))
  config.eval.search = ConfigDict(dict(queries=2_000))
  config.checkpoint.update(every=1000, keep=1)
  for word in words:
    name, _, value = word.partition('=')
    if name in ('mrl', 'mrl_e') and not value:
      config.task.head.name = name
      if name == 'mrl_e':
        config.eval.only = TABLES[:3]
    elif name == 'ff' and value.isdigit() and int(value) in DIMS:
      config.task.head = ConfigDict(dict(name='ff', dim=int(value)))
      if int(value) < DIMS[-1]:
        config.eval.only = TABLES[:3]
    elif name == 'seed' and value.isdigit():
      config.seed = int(value)
    elif name == 'smoke' and not value:
      config.train.update(steps=4, epochs=0.0, batch_size=16, log_every=2)
      config.optim.warmup_steps = 2
      config.checkpoint.every = 4
      config.eval.update(batch_size=64, dims=(12,), only=('linear', 'knn'))
    else:
      raise ValueError(
        f'{word!r} is not a variant; choose from {", ".join(METHODS)}, '
        'seed=NUMBER, smoke'
      )
  return config
