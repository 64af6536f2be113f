"""`knn` and `linear` against naive counts, for any size of batch."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import nested, sharding
from mrl_jax.embed import encode, evidence
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import knn, linear
from tests.samples.vectors import evidence_of, keyed, naive_top_k

DIMS = (4, 6, 16)


def test_weighted_vote_against_a_loop():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 5, (50, 7))
  scores = np.sort(rng.uniform(-1, 1, (50, 7)))[:, ::-1]
  asked = rng.integers(0, 5, 50)
  values = knn.weighted_vote(labels, np.exp(scores / 0.07), asked, 0.07)
  for row in range(50):
    votes = dict.fromkeys(range(5), 0.0)
    for label, score in zip(labels[row], scores[row]):
      votes[label] += np.exp(score / 0.07)
    assert values[row] == (max(votes, key=votes.get) == asked[row])


def test_classes_of_equal_votes_share_them():
  labels = np.array([[3, 5, 5, 3, 9]] * 3)
  weights = np.array([[1, 0.4, 0.6, 1e-9, 0.2]] * 3)
  values = knn.weighted_vote(labels, weights, np.array([3, 5, 9]), 0.07)
  assert values.tolist() == [0.5, 0.5, 0]


def coarse(seed=0):
  """Sides whose rows tie: signs, few dims, duplicates; classes 0 to 2."""
  rng = np.random.default_rng(seed)
  x, q = (rng.choice([-1.0, 1.0], (n, 16)).astype(np.float32) for n in (90, 40))
  x[5:30] = x[5]
  q[:3] = x[5]
  return x, rng.integers(0, 3, 90), q, rng.integers(0, 3, 40)


def test_votes_are_those_of_all_tied_rows():
  """A loop over classes in float64, from scores without any rounding."""
  x, classes, q, labels = coarse()
  dims, k, temperature = (1, 2, 6, 16), 7, 1.0  # so that far rows count too
  seen = evidence_of(Vectors(x, classes), Vectors(q, labels), dims)
  found = keyed(knn.KNN(k, temperature).run(seen)[0])
  for m in dims:
    scores = np.round(q[:, :m] @ x[:, :m].T) / m
    top1, vote = [], []
    for score, label in zip(scores, labels):
      top1.append(np.mean(classes[score == score.max()] == label))
      bound = np.sort(score)[-k]
      share = (k - np.sum(score > bound)) / np.sum(score == bound)
      each = np.where(score > bound, 1.0, share * (score == bound))
      each *= np.exp((score - score.max()) / temperature)
      votes = np.bincount(classes, each, 3).round(9)
      vote.append((votes == votes.max())[label] / np.sum(votes == votes.max()))
    assert found[f'knn/top1/d{m}']['value'] == pytest.approx(np.mean(top1))
    got = found[f'knn/weighted@{k}/d{m}']['value']
    assert got == pytest.approx(np.mean(vote))


def test_the_order_of_the_database_changes_nothing():
  x, classes, q, labels = coarse(1)
  dims = (1, 2, 5, 16)
  results = []
  for seed in range(3):
    order = np.random.default_rng(seed).permutation(90)
    seen = evidence_of(
      Vectors(x[order], classes[order]), Vectors(q, labels), dims
    )
    found = keyed(knn.KNN(neighbours=9).run(seen)[0])
    results.append([row['value'] for row in found.values()])
  np.testing.assert_allclose(results[1:], results[:1] * 2, rtol=1e-12)


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
