"""`knn` and `linear` against naive counts, for any size of batch."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import nested, sharding
from mrl_jax.embed import encode, evidence
from mrl_jax.evaluators import knn, linear
from tests.samples.vectors import naive_top_k

DIMS = (4, 6, 16)


def test_weighted_vote_against_a_loop():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 5, (50, 7))
  scores = np.sort(rng.uniform(-1, 1, (50, 7)))[:, ::-1]
  chosen = knn.weighted_vote(labels, scores, 0.07)
  for row in range(50):
    votes = dict.fromkeys(range(5), 0.0)
    for label, score in zip(labels[row], scores[row]):
      votes[label] += np.exp(score / 0.07)
    assert chosen[row] == max(votes, key=votes.get)


class Toy:
  """Vectors as data: `embed` is the identity, padding would be seen."""

  def __init__(self, size):
    rng = np.random.default_rng(0)
    queries, database = (
      rng.normal(size=(n, 16)).astype(np.float32) for n in (90, 200)
    )
    labels = np.random.default_rng(1).integers(0, 4, 290)
    self.splits = {
      'train': (database, labels[:200]),
      'validation': (queries, labels[200:]),
    }
    self.batch = size

  def size(self, split):
    return len(self.splits[split][0])

  def batches(self, split):
    x, y = self.splits[split]
    for start in range(0, len(x), self.batch):
      part, label = x[start : start + self.batch], y[start : start + self.batch]
      fill = self.batch - len(part)
      yield {
        'image': np.pad(part, ((0, fill), (0, 0)), constant_values=7),
        'label': np.pad(label, (0, fill)),
        'mask': np.pad(np.ones(len(part)), (0, fill)),
      }


WEIGHTS = jnp.asarray(
  np.random.default_rng(2).normal(size=(16, 4)), jnp.float32
)


def material(size):
  data, mesh = Toy(size), sharding.make_mesh()
  embed = encode.Embedder(lambda _, batch: batch['image'], data, mesh)
  return evidence.Evidence(
    dims=DIMS,
    trained=DIMS,
    mesh=mesh,
    make_database=lambda: embed(None, 'train'),
    make_queries=lambda: embed(None, 'validation'),
    functions={
      'logits': lambda z, dims: nested.prefix_products(
        jnp.asarray(z), WEIGHTS, dims
      )
    },
  )


@pytest.mark.parametrize('size', [7, 90, 128])
def test_knn_and_linear_equal_naive_counts_for_any_batch_size(size):
  seen = material(size)
  queries, labels = Toy(size).splits['validation']
  database, classes = Toy(size).splits['train']
  found = {
    (r['metric'], r['dim']): r for r in knn.KNN(neighbours=9).run(seen)[0]
  }
  scored = {(r['metric'], r['dim']): r for r in linear.Linear().run(seen)[0]}
  for m in DIMS:
    _, order = naive_top_k(queries, database, m, 9)
    hits = (classes[order[:, 0]] == labels).sum()
    assert found['top1', m]['value'] == hits / 90
    assert found['top1', m]['n'] == 90
    assert found['weighted', m]['k'] == 9
    logits = queries[:, :m] @ WEIGHTS[:m]
    assert scored['top1', m]['value'] == (logits.argmax(1) == labels).mean()
    assert scored['top5', m]['value'] == 1  # four classes
    low, high = scored['top1', m]['ci_low'], scored['top1', m]['ci_high']
    assert low < scored['top1', m]['value'] < high


def test_a_fixed_feature_head_is_not_asked_beyond_its_width():
  seen = dataclasses.replace(material(90), trained=(6,))
  rows = linear.Linear().run(seen)[0]
  assert {row['dim'] for row in rows} == {4, 6}
