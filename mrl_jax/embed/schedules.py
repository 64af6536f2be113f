"""What is kept, by which prefix, at which cost: plans of a retrieval."""

import dataclasses
import itertools


@dataclasses.dataclass(frozen=True)
class Schedule:
  """What to keep and by which prefix to order it.

  Attributes:
    dim: prefix of the first shortlist.
    keeps: rows kept before each rerank, never increasing; () for none.
    dims: prefix of each rerank.
  """

  dim: int
  keeps: tuple[int, ...] = ()
  dims: tuple[int, ...] = ()

  def __post_init__(self):
    if len(self.keeps) != len(self.dims):
      raise ValueError(
        f'keeps={self.keeps} and dims={self.dims} must be equally many'
      )
    if any(a < b for a, b in itertools.pairwise(self.keeps)):
      raise ValueError(f'keeps={self.keeps} must not increase')
    if min((self.dim, *self.keeps, *self.dims)) < 1:
      raise ValueError(f'{self} must hold whole numbers above 0')

  def within(self, rows: int) -> 'Schedule':
    """The same, keeping no more than there are rows."""
    keeps = tuple(min(keep, rows) for keep in self.keeps)
    return dataclasses.replace(self, keeps=keeps)

  def __str__(self):
    steps = [f'{n} at {m}' for n, m in zip(self.keeps, self.dims)]
    return ', '.join([f'all at {self.dim}', *steps])


def adaptive(dim: int, shortlist: int, width: int) -> Schedule:
  """The paper's adaptive retrieval: one shortlist, one rerank."""
  return Schedule(dim, (shortlist,), (width,))


def funnel(dim: int, width: int, k: int = 10) -> Schedule:
  """The paper's funnel: 200, 100, 50, 25, 10 rows at twice the dims each.

  Its last rerank is at full width; dims beyond the width are the width. No
  stage keeps fewer than `k`.
  """
  dims = [min(dim << i, width) for i in range(1, 5)]
  keeps = [max(keep, k) for keep in (200, 100, 50, 25, 10)]
  return Schedule(dim, tuple(keeps), (*dims, width))


def mflops(schedule: Schedule, rows: int, rerank: bool = True) -> float:
  """Millions of multiply-adds per query, N m of the shortlist + K d each.

  The paper's own count leaves the reranks out: `rerank=False`.
  """
  steps = zip(schedule.keeps, schedule.dims) if rerank else ()
  return (rows * schedule.dim + sum(n * m for n, m in steps)) / 1e6
