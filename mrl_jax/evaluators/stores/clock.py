"""Milliseconds a query, one thread: scans by faiss, and reranks."""

import functools
import time

import numpy as np

from mrl_jax.embed import indexes, quantise, shortlist
from mrl_jax.embed.store import Store

QUERIES = 50  # timed together


class Clock:
  """Times searches of as many rows as a database has, of random values.

  A scan's time depends on shapes only. Reading whole rows from a file is not
  counted: they are in memory here.
  """

  def __init__(self, rows: int, width: int):
    self.rows, self.width = rows, width
    self.scan = functools.cache(self._scan)
    self.rerank = functools.cache(self._rerank)

  def milliseconds(self, store: Store, k: int) -> float | None:
    """Of a store without an index; None where faiss has no such codes."""
    if not indexes.available():
      return None
    scan = self.scan(store.format, store.dim, store.shortlist or k)
    if scan is None:
      return None
    extra = self.rerank(store.shortlist) if store.shortlist else 0.0
    return 1e3 * (scan + extra)

  def _scan(self, format: str, dim: int, depth: int) -> float | None:
    """Seconds."""
    random = np.random.default_rng(0)
    if format == 'binary':
      return self._binary_scan(random, dim, depth)
    if format not in indexes.FORMATS:
      return None
    rows = random.standard_normal((self.rows, dim), np.float32)
    database = shortlist.Database(rows)
    index = indexes.build(database, dim, 'flat', format=format)
    return _seconds(lambda: index.top_k(rows[:QUERIES], depth), len(rows))

  def _binary_scan(self, random, dim: int, depth: int) -> float:
    import faiss

    width = quantise.vector_bytes('binary', dim)
    rows = random.integers(0, 256, (self.rows, width), np.uint8)
    index = faiss.IndexBinaryFlat(8 * width)
    index.add(rows)
    return _seconds(lambda: index.search(rows[:QUERIES], depth), len(rows))

  def _rerank(self, count: int) -> float:
    """Seconds that `count` whole rows in float16 take to be ordered."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((self.rows, self.width), np.float32)
    rows = rows.astype(np.float16)
    query = rows[0].astype(np.float32)
    near = random.integers(0, self.rows, (QUERIES, count))

    def run():
      for some in near:
        np.argsort(-(rows[some].astype(np.float32) @ query))

    return _seconds(run, QUERIES)


def _seconds(run, most: int) -> float:
  """Of one of up to QUERIES queries; the first call is not counted."""
  with indexes.one_thread():
    run()
    started = time.perf_counter()
    run()
  return (time.perf_counter() - started) / min(QUERIES, most)
