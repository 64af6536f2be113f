"""What evidence has, what it draws, and one pass of an encoder."""

import dataclasses

import jax
import numpy as np
import pytest

from mrl_jax import sharding
from mrl_jax.embed import encode, evidence, relevance
from mrl_jax.embed.vectors import Vectors
from tests.samples.vectors import evidence_of

DIMS = (2, 4)


def side(rows, labelled=True, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(rows, 4)).astype(np.float32)
  return Vectors(x, rng.integers(0, 3, rows) if labelled else None)


def test_needs_are_labels_relevance_and_functions():
  seen = evidence_of(side(9), side(5), DIMS, functions={'images': len})
  assert seen.has() and seen.has('labels', 'query_labels', 'relevance')
  assert seen.has('images') and not seen.has('labels', 'logits')
  bare = evidence_of(side(9, False), side(5), DIMS)
  assert bare.has('query_labels') and not bare.has('labels')
  assert not bare.has('relevance')
  paired = evidence_of(
    side(5, False), side(5, False), DIMS, relate=relevance.by_pair
  )
  assert paired.has('relevance') and not paired.has('query_labels')


def test_sides_are_made_when_needed_and_once():
  calls = []

  def make(name, rows):
    def call():
      calls.append(name)
      return side(rows)

    return call

  seen = evidence.Evidence(
    dims=DIMS,
    trained=DIMS,
    mesh=sharding.make_mesh(),
    make_database=make('database', 9),
    make_queries=make('queries', 5),
    functions={'logits': len},
  )
  assert seen.has('logits', 'query_labels') and calls == ['queries']
  assert seen.has('labels', 'relevance') and calls == ['queries', 'database']
  assert not seen.has('labels', 'saliency') and len(calls) == 2


def test_a_sample_keeps_queries_rows_and_their_relevance_together():
  seen = evidence_of(side(30), side(20, seed=1), DIMS)
  queries, database, related = seen.sample(np.random.default_rng(0), 8, 6)
  assert (len(database), len(queries)) == (8, 6)
  every = np.tile(np.arange(8), (6, 1))
  np.testing.assert_array_equal(
    related.grades(every), queries.labels[:, None] == database.labels
  )
  np.testing.assert_array_equal(
    database.embeddings, seen.database.embeddings[database.ids]
  )
  queries, database, related = seen.sample(np.random.default_rng(0), 30, 20)
  assert queries is seen.queries and database is seen.database
  bare = evidence_of(side(9, False), side(5), DIMS)
  assert bare.sample(np.random.default_rng(0), 3, 3)[2] is None


def test_foreign_vectors():
  seen = evidence.of_vectors(side(9), side(5), extra=(3,), dims=DIMS)
  assert seen.dims == (2, 3, 4) and seen.trained == DIMS
  with pytest.raises(ValueError, match='the queries are 2 wide, the embedd'):
    evidence.of_vectors(
      side(9), dataclasses.replace(side(5), embeddings=np.ones((5, 2)))
    )
  with pytest.raises(ValueError, match='must increase and end at the width 4'):
    evidence.of_vectors(side(9), side(5), extra=(5,))


class Feed:
  """Batches of 4 rows, the last one padded; labels if there are any."""

  def __init__(self, vectors):
    self.vectors = vectors

  def batches(self, split, start=0, stop=None):
    assert split == 'train'
    x = self.vectors.embeddings[start:stop]
    for at in range(0, len(x), 4):
      rows = x[at : at + 4]
      empty = 4 - len(rows)
      batch = {
        'text': np.pad(rows, ((0, empty), (0, 0)), constant_values=9),
        'mask': np.pad(np.ones(len(rows)), (0, empty)),
      }
      if self.vectors.labels is not None:
        labels = self.vectors.labels[start:stop][at : at + 4]
        batch['label'] = np.pad(labels, (0, empty))
      yield batch


@pytest.mark.parametrize('labelled', [True, False])
def test_an_embedder_takes_any_batch_and_drops_padding(labelled):
  vectors = side(10, labelled)
  embedder = encode.Embedder(
    lambda scale, batch: scale * batch['text'],
    Feed(vectors),
    sharding.make_mesh(devices=jax.devices()[:1]),
  )
  found = embedder(np.float32(2), 'train', start=1, stop=8)
  np.testing.assert_array_equal(found.embeddings, 2 * vectors.embeddings[1:8])
  if labelled:
    np.testing.assert_array_equal(found.labels, vectors.labels[1:8])
  else:
    assert found.labels is None


def test_known_labels_answer_needs_without_any_embedding():
  def never():
    raise AssertionError('it was embedded')

  def seen(labelled, relate=None):
    return evidence_of(
      None,
      None,
      DIMS,
      make_database=never,
      make_queries=never,
      labelled=labelled,
      relate=relate,
    )

  assert seen(True).has('labels', 'query_labels', 'relevance')
  assert not any(
    seen(False).has(need) for need in ('labels', 'query_labels', 'relevance')
  )
  assert seen(False, relate=lambda *_: None).has('relevance')
  with pytest.raises(AssertionError, match='embedded'):
    seen(None).has('labels')
