"""A model of words, and what it is judged by, for tests."""

import types

import numpy as np
from ml_collections import ConfigDict

from tests.samples.texts import write_set

WIDTH = 16
FIELDS = {'text': 0, 'query': 1, 'document': 2}


class WordModel:
  """What `load` returns, as far as it is asked: a mean of a vector per word.

  Attributes:
    asked: every (field, text) that it was given, in order.
  """

  width, dims = WIDTH, (4, WIDTH)
  fields = tuple(FIELDS)

  def __init__(self, seed=0, stop_after=None):
    self.table = np.random.default_rng(seed).normal(size=(997, WIDTH))
    self.variables, self.config = (
      {'table': self.table},
      ConfigDict({'inputs': {}}),
    )
    self.asked, self.stop_after = [], stop_after
    spec = types.SimpleNamespace(inputs=dict.fromkeys(FIELDS))
    self.parts = types.SimpleNamespace(spec=spec)

  def vector(self, text, field):
    words = [sum(word.encode()) % 997 for word in text.split()] or [0]
    words.append(FIELDS[field])
    return self.table[words].mean(axis=0).astype(np.float32)

  def embed(self, values, dim=None, normalise=True, field='', out=None):
    assert dim is None and not normalise
    for i in range(len(values)):
      if len(self.asked) == self.stop_after:
        raise KeyboardInterrupt
      self.asked.append((field, values[i]))
      out[i] = self.vector(values[i], field)
    return out


def set_of(folder, passages=60, queries=25, seed=0):
  """A judged set of random words, with graded judgements."""
  rng = np.random.default_rng(seed)

  def words(count):
    return ' '.join(f'w{i}' for i in rng.integers(0, 80, count))

  corpus = [
    {'_id': f'd{i}', 'title': words(1) * (i % 2), 'text': words(6)}
    for i in range(passages)
  ]
  asked = [{'_id': f'q{i}', 'text': words(3)} for i in range(queries)]
  qrels = {
    f'q{i}': {
      f'd{j}': int(rng.integers(0, 4))
      for j in rng.choice(passages, 6, replace=False)
    }
    for i in range(queries)
  }
  qrels['q0'] = {'d0': 0, 'gone': 2, 'd1': 1}
  qrels['q1'] = {'d0': 0}  # nothing to find
  return write_set(folder, corpus, asked, qrels)


def pairs_of(path, count=40, seed=0):
  """Scored pairs of random words, some of which are in several pairs."""
  rng = np.random.default_rng(seed)
  known = [' '.join(f'w{i}' for i in rng.integers(0, 80, 4)) for _ in range(30)]
  lines = [
    '\t'.join([known[i], known[j], f'{s:g}'])
    for i, j, s in zip(
      *rng.integers(0, 30, (2, count)), rng.integers(0, 6, count)
    )
  ]
  path.write_text('sentence1\tsentence2\tscore\n' + '\n'.join(lines))
  return known, [line.split('\t') for line in lines]
