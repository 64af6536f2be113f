"""Ways to store a database: what each costs in bytes, and its name in words."""

import dataclasses
from collections.abc import Iterator

from mrl_jax.embed import quantise

# Reduction -> the number formats it is tried in. All of it is fitted on the
# database but 'prefix', which fits nothing.
FORMATS = {
  'prefix': quantise.PRECISIONS,
  'pca': ('float32', 'int8', 'binary'),
  'svd': ('float32', 'int8', 'binary'),
}
NAMES = {
  'prefix': '{} leading dims',
  'pca': '{} principal components',
  'svd': '{} singular directions',
}
FORMAT_NAMES = {'binary': 'one bit each'}
SHORTLISTED = ('int8', 'binary')  # formats of which shortlists are reranked
RESCORED = 4  # times k, by bits, ordered by codes of 8 bits
RERANKED = (5, 20)  # times k, ordered by whole rows
FULL_BYTES = 2  # of a number of a whole row: float16


@dataclasses.dataclass(frozen=True)
class Store:
  """One way to keep rows so that queries find them.

  Attributes:
    reduction: 'prefix', 'pca' or 'svd', cut to `dim`.
    format: of the numbers, quantise.PRECISIONS.
    shortlist: rows found by these codes and then ordered anew, 0 for none.
    rescore: what orders them: 'int8', codes of the same dim, or 'full', whole
      rows in float16. They need not be held in memory.
    index: of faiss, like 'HNSW 16, search 64'; '' for a scan of all rows.
    index_bytes: of a row, what the index adds to the codes.
  """

  reduction: str
  dim: int
  format: str
  shortlist: int = 0
  rescore: str = ''
  index: str = ''
  index_bytes: float = 0.0

  @property
  def variant(self) -> str:
    """A name without the dim, for result rows."""
    parts = [self.reduction, self.format]
    if self.rescore:
      parts.append(f'{self.rescore}{self.shortlist}')
    if self.index:
      parts.append(self.index.replace(' ', '').replace(',', '_'))
    return '.'.join(parts)

  def held(self, width: int, rows: int) -> float:
    """Bytes of a row in memory, with its part of what is kept only once."""
    once = 0
    if self.reduction != 'prefix':
      once += 4 * width * (self.dim + 1)  # the matrix and the mean
    if self.format == 'int8':
      once += 8 * self.dim  # low and high of each coordinate
    if self.format == 'binary':
      once += 4 * self.dim  # the centre of each
    each = quantise.vector_bytes(self.format, self.dim)
    return each + self.index_bytes + once / rows

  def stored(self, width: int, rows: int) -> float:
    """Bytes of a row in memory and in files together."""
    more = {'': 0, 'int8': self.dim, 'full': FULL_BYTES * width}
    once = 8 * self.dim / rows if self.rescore == 'int8' else 0.0
    return self.held(width, rows) + more[self.rescore] + once


def reference(width: int) -> Store:
  """The store that all others are measured by: every row as it is."""
  return Store('prefix', width, 'float32')


def reranks(format: str, k: int, rows: int) -> Iterator[tuple[str, int]]:
  """(rescore, shortlist) pairs to try for codes of a format.

  A shortlist of more than a tenth of the rows would say nothing of more rows.
  """
  tried = [('int8', RESCORED * k)] if format == 'binary' else []
  if format in SHORTLISTED:
    tried += [('full', times * k) for times in RERANKED]
  yield from ((by, keep) for by, keep in tried if 10 * keep <= rows)


def depth(format: str, k: int, rows: int) -> int:
  """Rows that a scan must list for all reranks of a format."""
  return max((keep for _, keep in reranks(format, k, rows)), default=k)


def described(one: Store, width: int) -> str:
  """A store in words, like '48 principal components, int8'."""
  words = reduced(one)
  if one.reduction == 'prefix' and one.dim == width:
    words = f'all {width} dims'
  words += f', {FORMAT_NAMES.get(one.format, one.format)}'
  if one.rescore == 'full':
    words += f', the best {one.shortlist} reranked by whole rows (float16)'
  if one.rescore == 'int8':
    words += f', the best {one.shortlist} reranked by int8'
  return words + (f', {one.index}' if one.index else '')


def reduced(one: Store) -> str:
  """What is kept of each row in words, without the number format."""
  words = NAMES[one.reduction].format(one.dim)
  return words.removesuffix('s') if one.dim == 1 else words


def amount(size: float) -> str:
  """Bytes of a row: `48`, `9.5`, `1,536`."""
  return f'{size:,.1f}'.removesuffix('.0')


def in_percent(keep: float) -> str:
  """A share to be kept: `95%`."""
  return f'{100 * keep:.4g}%'
