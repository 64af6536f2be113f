"""Static embeddings: the mean of the tokens that count."""

import numpy as np
import pytest
from flax import nnx

from mrl_jax.encoders import static

TOKENS = np.array([[2, 5, 6, 3], [2, 7, 3, 0], [2, 3, 0, 0]], np.int32)
MASK = TOKENS > 0


def make(**options):
  facts = dict(vocabulary=9, length=4)
  return static.Static(width=5, **options, **facts, rngs=nnx.Rngs(0))


@pytest.mark.parametrize('ignored', [(), (2, 3)])
def test_the_mean_of_the_tokens_that_count(ignored):
  encoder = make(ignored=ignored)
  table = np.asarray(encoder.tokens.embedding[...])
  z = encoder({'tokens': TOKENS, 'mask': MASK})
  for row, mask, embedding in zip(TOKENS, MASK, z):
    kept = [t for t in row[mask] if t not in ignored]
    mean = table[kept].mean(0) if kept else np.zeros(5)
    np.testing.assert_allclose(embedding, mean, atol=1e-7)


def test_the_only_layer_is_the_embedding():
  encoder, arrays = make(), {'tokens': TOKENS, 'mask': MASK}
  layers = encoder(arrays, layers=True)
  assert layers.shape == (1, 3, 5)
  np.testing.assert_array_equal(layers[0], encoder(arrays))


def test_a_table_of_another_tokenizer_is_refused():
  with pytest.raises(ValueError, match='rows=8 .* fewer than the 9 tokens'):
    make(rows=8)
