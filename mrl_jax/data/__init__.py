"""Data: where records come from, and how they become batches.

A row of SOURCES is a function `load(data_dir, **options) -> Source`; its
options are the keys of `config.data.source`. If the facts of a source are
known without its records, FACTS has a function `facts(data_dir, **options) ->
Facts` under the same name.
"""

from collections.abc import Callable

from mrl_jax.contracts import Facts
from mrl_jax.data import (
  cifar,
  digits,
  docstrings,
  fashion_mnist,
  folder,
  glyphs,
  pair_files,
  prepared,
)

SOURCES = {
  'glyphs': glyphs.load,
  'digits': digits.load,
  'fashion_mnist': fashion_mnist.load,
  'cifar10': cifar.load_cifar10,
  'cifar100': cifar.load_cifar100,
  'tfds': prepared.load,
  'folder': folder.load,
  'docstrings': docstrings.load,
  'pairs': pair_files.load,
}

FACTS: dict[str, Callable[..., Facts]] = {
  'glyphs': glyphs.facts,
  'digits': digits.MrlDigits.facts,
  'fashion_mnist': fashion_mnist.MrlFashionMnist.facts,
  'cifar10': cifar.MrlCifar10.facts,
  'cifar100': cifar.MrlCifar100.facts,
  'tfds': prepared.facts,
  'folder': folder.facts,
  'docstrings': docstrings.facts,
  'pairs': pair_files.facts,
}
