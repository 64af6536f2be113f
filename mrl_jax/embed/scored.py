"""Pairs of texts that people have scored, as vectors."""

import dataclasses

import numpy as np

from mrl_jax import errors
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Float


@dataclasses.dataclass(frozen=True)
class Scored:
  """Pairs of vectors, each with a score of how alike its two sides are.

  Attributes:
    first, second: the sides of the pairs, one row a pair.
    scores: of each pair, of any range; more is more alike.

  Raises:
    UsageError: if the sides do not fit, if a score is not a finite number, or
      if all are the same.
  """

  first: Vectors
  second: Vectors
  scores: Float[np.ndarray, 'p']

  def __post_init__(self):
    counts = len(self.first), len(self.second), len(self.scores)
    if len(set(counts)) > 1:
      raise errors.UsageError(
        f'pairs: {counts[0]} first sides, {counts[1]} second sides and '
        f'{counts[2]} scores; a pair needs one of each'
      )
    widths = [side.embeddings.shape[1] for side in (self.first, self.second)]
    if widths[0] != widths[1]:
      raise errors.UsageError(
        f'pairs: the first sides are {widths[0]} wide, the second sides '
        f'{widths[1]}; both must come from one model'
      )
    wrong = np.flatnonzero(~np.isfinite(self.scores))
    if len(wrong):
      raise errors.UsageError(
        f'pairs: the score of pair {wrong[0]} is {self.scores[wrong[0]]}; '
        'every pair needs a finite number'
      )
    if len(np.unique(self.scores)) < 2:
      score = f', all scored {self.scores[0]:g}' if len(self) else ''
      raise errors.UsageError(
        f'pairs: {len(self)} pairs{score}; a correlation needs pairs of at '
        'least two different scores'
      )

  def __len__(self) -> int:
    return len(self.scores)
