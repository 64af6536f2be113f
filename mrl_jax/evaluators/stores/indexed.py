"""Indexes of faiss over some stores: what they find, and how fast."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from mrl_jax.embed import indexes, quantise, shortlist, store
from mrl_jax.embed.store import Store
from mrl_jax.evaluators.stores.truth import Truth
from mrl_jax.shapes import Float, Int

LINKS = (16, 32)  # HNSW's M
EFFORTS = {'hnsw': (16, 64, 256), 'ivf': (1, 4, 16, 64)}  # efSearch, nprobe
MOST_ROWS = 300_000  # a graph of more takes minutes to build


@dataclasses.dataclass(frozen=True)
class Found:
  """What an index finds: its store, each query's measures, its time."""

  store: Store
  values: Mapping[str, Float[np.ndarray, 'q']]
  milliseconds: float


def of_store(
  base: Store, asked: Truth, reduced: tuple, rerank_seconds: Callable
) -> Iterator[Found]:
  """HNSW and IVF on the codes of a store, at several efforts, with reranks.

  Args:
    base: a scan without shortlist in one of indexes.FORMATS.
    reduced: queries and rows after its reduction, at length 1.
    rerank_seconds: f(rows) -> seconds a query for as many whole rows.
  """
  queries, rows = reduced
  ready = shortlist.Database(rows)
  kinds = [('hnsw', links) for links in LINKS if len(rows) <= MOST_ROWS]
  for kind, links in [*kinds, ('ivf', 0)]:
    effort = indexes.Effort(links=links or indexes.USUAL.links)
    index = indexes.build(ready, base.dim, kind, effort, base.format)
    codes = quantise.vector_bytes(base.format, base.dim)
    more = max(index.bytes / len(rows) - codes, 0.0)
    for harder in EFFORTS[kind]:
      index.search_harder(harder)
      name = f'HNSW {links}, search' if links else 'IVF, probe'
      for by, keep in _lists(asked.k, len(rows)):
        if kind == 'hnsw' and keep > max(harder, asked.k):
          continue  # the graph would be searched harder than its name says
        with indexes.one_thread():
          started = time.perf_counter()
          near = index.top_k(queries, keep)[1]
          seconds = (time.perf_counter() - started) / len(queries)
        found = dataclasses.replace(
          base,
          shortlist=keep if by else 0,
          rescore=by,
          index=f'{name} {harder}',
          index_bytes=more,
        )
        if by:
          seconds += rerank_seconds(keep)
        yield Found(found, _measured(asked, near, bool(by)), 1e3 * seconds)


def _lists(k: int, rows: int) -> list[tuple[str, int]]:
  """(what reorders, rows listed): none, and the reranks by whole rows."""
  return [('', k), *store.reranks('int8', k, rows)]


def _measured(asked: Truth, near: Int[np.ndarray, 'q n'], rerank: bool) -> dict:
  """Measures of what an index found, best first; row -1 is no row."""
  missing = near < 0
  rows = np.maximum(near, 0)
  if rerank:
    scores = np.take_along_axis(asked.coarse, rows, axis=1)
    scores = np.where(missing, -np.inf, scores)
    order = np.argsort(-scores, axis=1, kind='stable')
    rows = np.take_along_axis(rows, order, axis=1)
    missing = np.take_along_axis(missing, order, axis=1)
  gains = asked.gains(np.arange(len(rows)), rows)
  return asked.values(
    {name: np.where(missing, 0.0, of) for name, of in gains.items()}
  )
