"""Small pieces that keep the contracts: what a user would add."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mrl_jax.contracts import Facts
from mrl_jax.data.source import Split


class NormNet(nnx.Module):
  """Residual layers with batch statistics; more than ten of them."""

  def __init__(
    self,
    width: int = 16,
    depth: int = 12,
    momentum: float = 0.9,
    *,
    image_size: tuple[int, int],
    channels: int,
    rngs: nnx.Rngs,
  ):
    self.width = width
    pixels = image_size[0] * image_size[1] * channels
    self.enter = nnx.Linear(pixels, width, rngs=rngs)
    self.layers = nnx.List(
      [nnx.Linear(width, width, rngs=rngs) for _ in range(depth)]
    )
    self.norms = nnx.List(
      [nnx.BatchNorm(width, momentum=momentum, rngs=rngs) for _ in range(depth)]
    )

  def __call__(self, arrays, *, train: bool = False, key=None):
    x = self.enter(arrays.reshape(len(arrays), -1))
    for layer, norm in zip(self.layers, self.norms):
      x = x + jax.nn.relu(norm(layer(x), use_running_average=not train))
    return x


class Tokens:
  """A field of text as word numbers: a word is its place in the vocabulary."""

  def __init__(self, length: int = 8, *, vocabulary: tuple[str, ...]):
    self.numbers = {word: i for i, word in enumerate(vocabulary)}
    self.length = length
    self.shape = {
      'ids': jax.ShapeDtypeStruct((length,), np.int32),
      'present': jax.ShapeDtypeStruct((length,), np.float32),
    }
    self.facts = {'vocabulary': len(vocabulary)}

  def evaluate(self, value: str) -> dict:
    ids = [self.numbers[word] for word in value.split()][: self.length]
    space = self.length - len(ids)
    present = np.array([1.0] * len(ids) + [0.0] * space, np.float32)
    return {'ids': np.array(ids + [0] * space, np.int32), 'present': present}

  def train(self, value: str, rng: np.random.Generator) -> dict:
    words = value.split()
    if len(words) > 2:
      words.pop(rng.integers(len(words)))
    return self.evaluate(' '.join(words))

  def on_device(self, arrays: dict) -> dict:
    return arrays


class Table(nnx.Module):
  """The mean of a learned vector per word, then a linear layer."""

  def __init__(self, width: int = 16, *, vocabulary: int, rngs: nnx.Rngs):
    self.width = width
    self.words = nnx.Embed(vocabulary, width, rngs=rngs)
    self.mix = nnx.Linear(width, width, rngs=rngs)

  def __call__(self, arrays: dict, *, train: bool = False, key=None):
    present = arrays['present'][..., None]
    total = jnp.sum(self.words(arrays['ids']) * present, axis=1)
    mean = total / jnp.maximum(jnp.sum(present, axis=1), 1)
    return self.mix(mean).astype(jnp.float32)


TOPICS = ('sea', 'sky', 'sand', 'snow', 'stone')
VOCABULARY = tuple(f'{topic}{i}' for topic in TOPICS for i in range(12))


def sentence(topic: int, rng: np.random.Generator, words: int = 5) -> str:
  """Words of a topic, one of them of any topic."""
  numbers = 12 * topic + rng.integers(0, 12, words)
  numbers[0] = rng.integers(0, len(VOCABULARY))
  return ' '.join(VOCABULARY[number] for number in numbers)


def labelled_texts(data_dir: str = '', size: int = 200, seed: int = 0) -> Split:
  """Sentences with their topic as the class."""
  del data_dir
  rng = np.random.default_rng(seed)
  records = [
    {'text': sentence(i % len(TOPICS), rng), 'label': i % len(TOPICS)}
    for i in range(size)
  ]
  held = size // 4
  facts = Facts({'text': {'vocabulary': VOCABULARY}}, TOPICS)
  return Split(records[held:], records[:held], facts)


class Pairs(Sequence):
  """Record i: two sentences that share all words but one."""

  def __init__(self, size: int, seed: int):
    self.size, self.seed = size, seed

  def __len__(self) -> int:
    return self.size

  def __getitem__(self, index: int) -> dict:
    rng = np.random.default_rng([self.seed, index])
    numbers = rng.choice(len(VOCABULARY), 5, replace=False)
    words = [VOCABULARY[number] for number in numbers]
    return {
      'query': ' '.join(words[:4]),
      'positive': ' '.join(rng.permutation(words[1:])),
    }


def pairs(data_dir: str = '', size: int = 200) -> Split:
  """Pairs of sentences without classes."""
  del data_dir
  fact = {'vocabulary': VOCABULARY}
  facts = Facts({'query': fact, 'positive': fact})
  return Split(Pairs(size, 0), Pairs(size // 4, 1), facts)
