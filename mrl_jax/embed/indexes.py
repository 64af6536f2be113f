"""Indexes of faiss on a unit prefix, reranked at full width."""

import contextlib
import dataclasses

import numpy as np

from mrl_jax.embed import shortlist
from mrl_jax.shapes import Float, Int

KINDS = ('flat', 'hnsw', 'ivf')


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

  def search(
    self, queries: Float[np.ndarray, 'q d'], k: int
  ) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
    """(cosine similarities, rows), best first; row -1 where none was found."""
    asked = np.ascontiguousarray(shortlist.unit(queries[:, : self.dim]))
    return self.faiss_index.search(asked, k)

  def mflops(self, queries: Float[np.ndarray, 'q d'], k: int) -> float:
    """Millions of multiply-adds that a search took per query, as counted."""
    faiss, index = load(), self.faiss_index
    compared = len(queries) * index.ntotal
    if isinstance(index, faiss.IndexHNSW):
      faiss.cvar.hnsw_stats.reset()
      self.search(queries, k)
      compared = faiss.cvar.hnsw_stats.ndis
    elif isinstance(index, faiss.IndexIVF):
      faiss.cvar.indexIVF_stats.reset()
      self.search(queries, k)
      compared = faiss.cvar.indexIVF_stats.ndis + len(queries) * index.nlist
    return compared * self.dim / len(queries) / 1e6


def build(
  database: shortlist.Database,
  dim: int,
  kind: str,
  *,
  links: int = 16,
  build_effort: int = 80,
  search_effort: int = 64,
  cells: int = 0,
  probes: int = 16,
  seed: int = 0,
  one_thread: bool = True,
) -> Index:
  """A flat, HNSW (arXiv:1603.09320) or IVF index of the rows at `dim`.

  Args:
    links: HNSW's M. `build_effort` and `search_effort` are its efConstruction
      and efSearch.
    cells: IVF's clusters, 0 for 4 sqrt(r), of which `probes` are searched.
    one_thread: HNSW's graph depends on the order of insertion, which several
      threads leave open.

  Raises:
    ValueError: for an unknown kind, or if faiss is not installed.
  """
  if kind not in KINDS:
    raise ValueError(f'kind={kind!r} must be one of {", ".join(KINDS)}')
  faiss, rows = load(), database.prefix(dim)
  metric = faiss.METRIC_INNER_PRODUCT
  if kind == 'flat':
    index = faiss.IndexFlatIP(dim)
  elif kind == 'hnsw':
    index = faiss.IndexHNSWFlat(dim, links, metric)
    index.hnsw.efConstruction = build_effort
    index.hnsw.efSearch = search_effort
  else:
    cells = min(cells or int(4 * len(rows) ** 0.5), len(rows))
    # 39 rows a cell are what faiss asks for; it complains about fewer.
    cells = max(min(cells, len(rows) // 39), 1)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, metric)
    index.cp.seed, index.cp.niter = seed, 10
    index.nprobe = min(probes, cells)
  with threads(faiss, 1 if one_thread and kind == 'hnsw' else 0):
    if kind == 'ivf':
      index.train(rows)
    index.add(rows)
  return Index(index, dim, serialised_bytes(faiss, index))


def search(
  index: Index,
  database: shortlist.Database,
  queries: Float[np.ndarray, 'q d'],
  keep: int,
  k: int,
) -> tuple[Float[np.ndarray, 'q k'], Int[np.ndarray, 'q k']]:
  """(cosines at full width, rows) of the k best of the index's `keep` rows.

  Rows the index did not find score -inf and come last, as row -1.
  """
  keep = min(keep, len(database))
  if not 0 < k <= keep:
    raise ValueError(f'k={k} must be from 1 to the {keep} rows kept')
  rows = index.search(queries, keep)[1]
  # Rows that were not found become -1 again after those that were.
  rows = np.sort(rows, axis=1)
  scores, order = shortlist.rerank(
    database, queries, np.maximum(rows, 0), database.width
  )
  if (rows[:, 0] >= 0).all():
    return scores[:, :k], order[:, :k]
  return without_missing(database, queries, rows, k)


def serialised_bytes(faiss, index) -> int:
  """The size of the index written to a file, without a copy of it."""
  size = 0

  def count(some: bytes) -> None:
    nonlocal size
    size += len(some)

  faiss.write_index(index, faiss.PyCallbackIOWriter(count))
  return size


def without_missing(database, queries, rows, k: int) -> tuple:
  scores = np.full((len(rows), k), -np.inf, np.float32)
  found = np.full((len(rows), k), -1, rows.dtype)
  for one in range(len(rows)):
    own = rows[one][rows[one] >= 0][None]
    if not own.size:
      continue
    best, order = shortlist.rerank(
      database, queries[one : one + 1], own, database.width
    )
    width = min(k, own.size)
    scores[one, :width], found[one, :width] = best[0, :k], order[0, :k]
  return scores, found


def available() -> bool:
  """Whether faiss, an optional package, is installed."""
  try:
    load()
  except ValueError:
    return False
  return True


def load():
  """The faiss module."""
  try:
    import faiss
  except ImportError:
    raise ValueError(
      'faiss is not installed: pip install faiss-cpu, or set faiss=False'
    ) from None
  return faiss


@contextlib.contextmanager
def threads(faiss, count: int):
  """`count` threads for a while; 0 leaves them as they are."""
  before = faiss.omp_get_max_threads()
  faiss.omp_set_num_threads(count or before)
  try:
    yield
  finally:
    faiss.omp_set_num_threads(before)
