"""Matryoshka Representation Learning in JAX/Flax (arXiv:2205.13147).

model = mrl_jax.load('runs/vit_mrl')
vectors = model.embed('photos/', dim=16)
"""

__version__ = '0.1.0'

# Functions and their files, which are imported when one is asked for: `import
# mrl_jax` costs nothing.
DOOR = {'load': 'model', 'evaluate': 'reporting'}


def __getattr__(name: str):
  import importlib

  if name not in DOOR:
    raise AttributeError(f'module mrl_jax has no attribute {name!r}')
  return getattr(importlib.import_module(f'mrl_jax.{DOOR[name]}'), name)


def __dir__() -> list[str]:
  return [*globals(), *DOOR]
