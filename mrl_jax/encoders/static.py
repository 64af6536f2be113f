"""Static embeddings: the mean of one vector per token, as in word2vec.

What WordLlama, model2vec and StaticEmbedding of sentence-transformers compute.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from flax import nnx

from mrl_jax.encoders import layers as shared
from mrl_jax.shapes import Array, Float


class Static(nnx.Module):
  """Tokens and their mask [b n] -> the mean of their vectors [b d], float32.

  A text without tokens that count has the embedding 0.

  Args:
    width: of the vectors.
    rows: of the token table, 0 for as many as the tokenizer knows.
    ignored: tokens that do not count, such as those of the start and the end.
    weights: where training starts, see `pretrained`; '' from fresh numbers.
    vocabulary: of the tokenizer.
    length: of the longest text; any is right.

  Raises:
    ValueError: for a table with fewer rows than the tokenizer has tokens.
  """

  def __init__(
    self,
    width: int = 256,
    rows: int = 0,
    ignored: Sequence[int] = (),
    weights: str = '',
    *,
    vocabulary: int,
    length: int,
    rngs: nnx.Rngs,
  ):
    del weights, length  # build.py reads the weights
    shared.check_rows(rows, vocabulary)
    self.width, self.ignored = width, tuple(ignored)
    self.tokens = shared.token_table(rows or vocabulary, width, rngs)

  def __call__(
    self,
    arrays: Mapping[str, Array],
    *,
    train: bool = False,
    key: Array | None = None,
    layers: bool = False,
  ) -> Float[Array, 'b d'] | Float[Array, 'l b d']:
    """Embeddings of the texts; with `layers` as the only layer, [1 b d]."""
    tokens, mask = arrays['tokens'], arrays['mask']
    if self.ignored:
      mask = mask & ~jnp.isin(tokens, jnp.asarray(self.ignored))
    mean = shared.masked_mean(self.tokens(tokens), mask)
    return mean[None] if layers else mean
