"""Token tables of WordLlama, model2vec and StaticEmbedding as ours."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrl_jax.errors import UsageError
from mrl_jax.pretrained.tensors import Tensor

# Tokens of a text; the table itself has no limit. 512 is that of model2vec.
LENGTH = 2048
LENGTH_OF_MODEL2VEC = 512
NAMES = ('embeddings', 'embedding.weight')


@dataclasses.dataclass(frozen=True)
class Folded:
  """A row for each token, from a table that tokens share, and weights.

  Attributes:
    mapping: token -> row of the table; None if each has its own.
    weights: of each token, by which its row is multiplied; None for 1.
  """

  table: Tensor
  mapping: Tensor | None
  weights: Tensor | None
  dtype = 'F32'

  @property
  def shape(self) -> tuple[int, ...]:
    rows = (self.mapping or self.table).shape[0]
    return (rows, *self.table.shape[1:])

  def read(self) -> np.ndarray:
    """The rows, float32: what the mean is taken of."""
    rows = self.table.read().astype(np.float32)
    if self.mapping:
      rows = rows[self.mapping.read().astype(np.int64)]
    if self.weights:
      rows = rows * self.weights.read().astype(np.float32)[:, None]
    return rows


def table_of(theirs: Mapping[str, Tensor], path: str) -> dict[str, Any]:
  """{'embedding.weight': what has a row for each token}.

  Raises:
    UsageError: if the tensors are not one table, and perhaps weights of its
      tokens.
  """
  tables = [name for name, it in theirs.items() if len(it.shape) == 2]
  extra = set(theirs) - set(tables) - {'mapping', 'weights'}
  if len(tables) != 1 or extra:
    shown = ', '.join(f'{n} {t.shape}' for n, t in list(theirs.items())[:4])
    raise UsageError(
      f'{path} must hold one token table [tokens, width] to be a static '
      f'encoder; it has {shown}'
    )
  table = theirs[tables[0]]
  mapping, weights = theirs.get('mapping'), theirs.get('weights')
  folded = Folded(table, mapping, weights)
  if weights and weights.shape != folded.shape[:1]:
    raise UsageError(
      f'{path}: weights {weights.shape} must have one number for each of the '
      f'{folded.shape[0]} tokens'
    )
  return {'embedding.weight': folded if mapping or weights else table}
