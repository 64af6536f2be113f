"""Search and evaluators against naive numpy; equal on any mesh."""

import functools

import jax
import numpy as np
import pytest

from mrl_jax import nested, sharding
from mrl_jax.embed import evidence, search
from mrl_jax.evaluators import knn, linear

DIMS = (4, 6, 16)


def vectors(rows=333, queries=41, seed=0):
  rng = np.random.default_rng(seed)
  return (
    rng.normal(size=(queries, 16)).astype(np.float32),
    rng.normal(size=(rows, 16)).astype(np.float32),
  )


def naive_top_k(queries, database, m, k):
  """Sort of float64 cosines; equal scores keep the smaller row."""
  q, r = queries[:, :m].astype(np.float64), database[:, :m].astype(np.float64)
  q /= np.linalg.norm(q, axis=1, keepdims=True)
  r /= np.linalg.norm(r, axis=1, keepdims=True)
  scores = q @ r.T
  order = np.argsort(-scores, axis=1, kind='stable')[:, :k]
  return np.take_along_axis(scores, order, 1), order


@pytest.mark.parametrize('shape', [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
@pytest.mark.parametrize(('rows', 'k'), [(333, 20), (20, 20), (9, 1)])
def test_top_k_equals_sorting_at_every_prefix(monkeypatch, shape, rows, k):
  monkeypatch.setattr(search, 'ROWS_AT_ONCE', 16)
  monkeypatch.setattr(search, 'QUERIES_AT_ONCE', 16)
  queries, database = vectors(rows)
  scores, found = search.nested_top_k(
    queries, database, DIMS, k, sharding.make_mesh(*shape)
  )
  for g, m in enumerate(DIMS):
    expected, order = naive_top_k(queries, database, m, k)
    # Running sums of float32 blocks.
    np.testing.assert_allclose(scores[g], expected, atol=2e-6)
    np.testing.assert_array_equal(found[g], order)


def test_equal_scores_keep_the_smaller_row_across_devices():
  queries = np.ones((3, 16), np.float32)
  database = np.ones((40, 16), np.float32)  # all tie, on eight devices
  _, found = search.nested_top_k(
    queries, database, DIMS, 5, sharding.make_mesh(8)
  )
  assert (np.asarray(found) == np.arange(5)).all()


def test_prefixes_cost_the_products_of_the_widest():
  queries, database = vectors()
  text = (
    jax.jit(lambda q, r: nested.prefix_products(q, r.T, DIMS))
    .lower(queries, database)
    .as_text()
  )
  products = [line for line in text.splitlines() if 'dot_general' in line]
  assert len(products) == len(DIMS)  # a block each, 16 columns together


def test_k_and_widths_that_do_not_fit():
  queries, database = vectors()
  mesh = sharding.make_mesh()
  with pytest.raises(ValueError, match='k=334 must be from 1 to the 333 rows'):
    search.nested_top_k(queries, database, DIMS, 334, mesh)
  with pytest.raises(ValueError, match='the database 8'):
    search.nested_top_k(queries, database[:, :8], DIMS, 3, mesh)


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
    queries, database = vectors(200, 90)
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


WEIGHTS = np.random.default_rng(2).normal(size=(16, 4)).astype(np.float32)


def material(size):
  data, mesh = Toy(size), sharding.make_mesh()
  embed = evidence.Embedder(lambda p, s, b: b['image'], data, mesh)
  return evidence.Evidence(
    dims=DIMS,
    trained=DIMS,
    mesh=mesh,
    embed=functools.partial(embed, None, None),
    logits=lambda z, dims: nested.prefix_products(z, WEIGHTS, dims),
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
  import dataclasses

  seen = dataclasses.replace(material(90), trained=(6,))
  rows = linear.Linear().run(seen)[0]
  assert {row['dim'] for row in rows} == {4, 6}
