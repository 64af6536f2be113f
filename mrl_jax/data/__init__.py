"""Data: sources of examples, transforms of one image, the Grain pipeline.

A row here is `load(data_dir, **arguments) -> Source`; its arguments are the
keys of `config.data.source`. A source that can tell its Facts without its
images has a second row, `facts(data_dir, **arguments) -> Facts`.
"""

from mrl_jax.data import cifar, digits, fashion_mnist, folder, prepared

SOURCES = {
  'digits': digits.load,
  'fashion_mnist': fashion_mnist.load,
  'cifar10': cifar.load_cifar10,
  'cifar100': cifar.load_cifar100,
  'tfds': prepared.load,
  'folder': folder.load,
}

FACTS = {
  'digits': digits.MrlDigits.facts,
  'fashion_mnist': fashion_mnist.MrlFashionMnist.facts,
  'cifar10': cifar.MrlCifar10.facts,
  'cifar100': cifar.MrlCifar100.facts,
  'tfds': prepared.facts,
  'folder': folder.facts,
}
