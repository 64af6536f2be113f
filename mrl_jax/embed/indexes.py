"""Indexes of faiss on a unit prefix, reranked at full width."""

import contextlib
import dataclasses

import numpy as np

from mrl_jax import nested
from mrl_jax.embed import shortlist
from mrl_jax.shapes import Float, Int

KINDS = ('flat', 'hnsw', 'ivf')
FORMATS = ('float32', 'float16', 'int8')  # of the numbers an index keeps


@dataclasses.dataclass(frozen=True)
class Effort:
  """What an index may cost to build and to search.

  Attributes:
    links: HNSW's M. `build` and `search` are its efConstruction and efSearch.
    cells: IVF's clusters, 0 for 4 sqrt(r), of which `probes` are searched.
    one_thread: HNSW's graph depends on the order of insertion, which several
      threads leave open.
  """

  links: int = 16
  build: int = 80
  search: int = 64
  cells: int = 0
  probes: int = 16
  seed: int = 0
  one_thread: bool = True


USUAL = Effort()


@dataclasses.dataclass(frozen=True)
class Index:
  """A faiss index of inner products of unit prefixes.

  Attributes:
    dim: the prefix it holds.
    bytes: of its serialised form, vectors included.
  """

  faiss_index: object
  dim: int
  bytes: int

  def top_k(
    self, queries: Float[np.ndarray, 'q d'], k: int
  ) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
    """(cosine similarities, rows), best first; row -1 where it has no more."""
    asked = np.ascontiguousarray(nested.unit(queries, self.dim), np.float32)
    return self.faiss_index.search(asked, k)

  def search_harder(self, effort: int) -> None:
    """Sets HNSW's efSearch, or the cells that IVF probes."""
    faiss = _faiss()
    if isinstance(self.faiss_index, faiss.IndexHNSW):
      self.faiss_index.hnsw.efSearch = effort
    else:
      self.faiss_index.nprobe = effort

  def mflops(self, queries: Float[np.ndarray, 'q d'], k: int) -> float:
    """Millions of multiply-adds that a search took per query, as counted."""
    faiss, index = _faiss(), self.faiss_index
    compared = len(queries) * index.ntotal
    if isinstance(index, faiss.IndexHNSW):
      faiss.cvar.hnsw_stats.reset()
      self.top_k(queries, k)
      compared = faiss.cvar.hnsw_stats.ndis
    elif isinstance(index, faiss.IndexIVF):
      faiss.cvar.indexIVF_stats.reset()
      self.top_k(queries, k)
      compared = faiss.cvar.indexIVF_stats.ndis + len(queries) * index.nlist
    return compared * self.dim / len(queries) / 1e6


def build(
  database: shortlist.Database,
  dim: int,
  kind: str,
  effort: Effort = USUAL,
  format: str = 'float32',
) -> Index:
  """A flat, HNSW (arXiv:1603.09320) or IVF index of the rows at `dim`.

  In int8 each coordinate has 256 levels between its extremes.

  Raises:
    ValueError: for an unknown kind or format, or if faiss is not installed.
  """
  for name, value, known in (
    ('kind', kind, KINDS),
    ('format', format, FORMATS),
  ):
    if value not in known:
      raise ValueError(f'{name}={value!r} must be one of {", ".join(known)}')
  faiss, rows = _faiss(), database.prefix(dim)
  index = _empty(faiss, kind, dim, effort, format, len(rows))
  with _threads(faiss, 1 if effort.one_thread and kind == 'hnsw' else 0):
    if not index.is_trained:
      index.train(rows)
    index.add(rows)
  return Index(index, dim, _serialised_bytes(faiss, index))


def _empty(faiss, kind: str, dim: int, effort: Effort, format: str, rows: int):
  """An index for so many rows, without them."""
  metric = faiss.METRIC_INNER_PRODUCT
  codes = {
    'float16': faiss.ScalarQuantizer.QT_fp16,
    'int8': faiss.ScalarQuantizer.QT_8bit,
  }.get(format)
  if kind == 'flat':
    if codes is None:
      return faiss.IndexFlatIP(dim)
    return faiss.IndexScalarQuantizer(dim, codes, metric)
  if kind == 'hnsw':
    if codes is None:
      index = faiss.IndexHNSWFlat(dim, effort.links, metric)
    else:
      index = faiss.IndexHNSWSQ(dim, codes, effort.links, metric)
    index.hnsw.efConstruction = effort.build
    index.hnsw.efSearch = effort.search
    return index
  cells = min(effort.cells or int(4 * rows**0.5), rows)
  # 39 rows a cell are what faiss asks for; it complains about fewer.
  cells, centres = max(min(cells, rows // 39), 1), faiss.IndexFlatIP(dim)
  if codes is None:
    index = faiss.IndexIVFFlat(centres, dim, cells, metric)
  else:
    index = faiss.IndexIVFScalarQuantizer(centres, dim, cells, codes, metric)
  index.cp.seed, index.cp.niter = effort.seed, 10
  index.cp.min_points_per_centroid = 1  # it would print a warning
  index.nprobe = min(effort.probes, cells)
  return index


def reranked_top_k(
  index: Index,
  database: shortlist.Database,
  queries: Float[np.ndarray, 'q d'],
  keep: int,
  k: int,
) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
  """(cosines at full width, rows) of the k best of the index's `keep` rows.

  Where the index returns fewer rows, the last score -inf and are row -1.
  """
  keep = min(keep, len(database))
  if not 0 < k <= keep:
    raise ValueError(f'k={k} must be from 1 to the {keep} rows kept')
  rows = np.sort(index.top_k(queries, keep)[1], axis=1)
  scores, rows = shortlist.rerank(database, queries, rows, database.width)
  return scores[:, :k], rows[:, :k]


def available() -> bool:
  """Whether faiss, an optional package, is installed."""
  try:
    _faiss()
  except ValueError:
    return False
  return True


def _serialised_bytes(faiss, index) -> int:
  """The size of the index written to a file, without a copy of it."""
  size = 0

  def count(chunk: bytes) -> None:
    nonlocal size
    size += len(chunk)

  faiss.write_index(index, faiss.PyCallbackIOWriter(count))
  return size


def _faiss():
  """The faiss module."""
  try:
    import faiss
  except ImportError:
    raise ValueError(
      'faiss is not installed: pip install faiss-cpu, or set faiss=False'
    ) from None
  return faiss


@contextlib.contextmanager
def one_thread():
  """faiss uses one thread for a while, as a service with many users does."""
  with _threads(_faiss(), 1):
    yield


@contextlib.contextmanager
def _threads(faiss, count: int):
  """`count` threads for a while; 0 leaves them as they are."""
  before = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(count or before)
  try:
    yield
  finally:
    faiss.omp_set_num_threads(before)
