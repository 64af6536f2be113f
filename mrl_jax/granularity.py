"""One size of a model: losses, rows and charts are given per granularity."""

from typing import NamedTuple


class Granularity(NamedTuple):
  """A cut of a model.

  Attributes:
    dim: numbers of the embedding that are used, z[:dim].
    depth: layers of the encoder that are used, None for all of them.
  """

  dim: float
  depth: int | None = None

  @property
  def name(self) -> str:
    """'d16', or 'l4d16' for the first four layers."""
    layers = '' if self.depth is None else f'l{self.depth}'
    return f'{layers}d{self.dim:g}'
