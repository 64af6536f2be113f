"""`search`: what finds the nearest rows at which cost, beside exact search."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from mrl_jax import errors, rows, sharding
from mrl_jax.embed import indexes, schedules, search, shortlist
from mrl_jax.shapes import Float

FUNNELS = (8, 16, 32)  # first shortlists of the paper's funnels
USUAL = 10  # neighbours
INDEX_SHARE = 8  # faiss holds the dim nearest to an eighth of the width
HNSW_ROWS = 300_000  # a graph of more takes minutes to build
SINGLES = 20  # queries timed one by one
DEVICE_SHARE = 0.5  # of a device's memory, for the rows it keeps


@dataclasses.dataclass(frozen=True)
class Method:
  """One way to search: f(queries) -> rows [q k], and its costs."""

  name: str
  dim: int
  find: Callable
  mflops: float
  mflops_shortlist: float
  bytes: int
  build_seconds: float = 0.0
  about: str = ''


class Search:
  """Recall of the exact nearest rows at full width, per way to search.

  Variants: `prefix`, exact search at one prefix only; `ar`, adaptive retrieval
  (paper, section 4.3.1): a shortlist there, reranked at full width; `funnel`,
  the paper's; `funnel_auto`, the schedule chosen on other queries within a
  budget; `device`, all rows at full width on the devices, and on a TPU
  `device_approximate`; `flat`, `hnsw` and `ivf`, faiss on a prefix, reranked
  at full width. A row's dim is that of the first shortlist. Half of the
  queries choose, the other half is reported. `bytes` are those of what the
  shortlist looks through; the full rows to rerank may lie in a file.

  Args:
    shortlist: rows reranked, no more than there are.
    k: neighbours looked for, 0 for 10, or all rows if there are fewer.
    dims: of shortlists, () for all but the width.
    queries: looked at, drawn with a fixed seed.
    faiss: also its indexes.
    budget: of `funnel_auto`, as a share of exact search's multiply-adds.
  """

  needs = ()

  def __init__(
    self,
    shortlist: int = 200,
    k: int = 0,
    dims: tuple[int, ...] = (),
    queries: int = 1000,
    faiss: bool = True,
    budget: float = 0.25,
  ):
    if not 0 <= k <= shortlist:
      raise ValueError(f'k={k} must be from 1 to shortlist={shortlist}')
    self.wanted, self.k = k, k or min(USUAL, shortlist)
    if queries < 1 or not 0 < budget <= 1:
      raise ValueError(
        f'queries={queries} must be at least 1 and budget={budget} in (0, 1]'
      )
    self.shortlist, self.dims = shortlist, tuple(dims)
    self.queries, self.faiss, self.budget = queries, faiss, budget
    self.metrics = (f'recall@{self.k}.prefix',)

  def run(self, evidence) -> tuple[list[dict], dict]:
    if not self.wanted:
      self.k = min(USUAL, self.shortlist, len(evidence.database))
    dims = self.check(evidence)
    seen = gather(evidence, self.queries, self.k)
    left_out, rows, table = {}, [], []
    for method in self.methods(seen, evidence, dims, left_out):
      made, described = measured(method, seen, self.k)
      rows += made
      table.append(described)
    details = {
      'k': self.k,
      'shortlist': min(self.shortlist, len(seen.ready)),
      'database_rows': len(seen.ready),
      'queries': len(seen.asked),
      'tuning_queries': len(seen.tuning),
      'methods': table,
      'left_out': left_out,
    }
    return rows, details

  def methods(
    self, seen: 'Seen', evidence, dims, left_out: dict
  ) -> Iterator[Method]:
    """All ways to search, one after another; why some are left out."""
    every, width, count = evidence.dims, seen.ready.width, len(seen.ready)
    why = crowded(seen.ready, evidence.mesh)
    if why:
      left_out['device'] = why
    else:
      yield from on_devices(seen, evidence.mesh, self.k)
    for dim in reversed(every):
      yield scheduled('prefix', seen, schedules.Schedule(dim), self.k)
      seen.ready.forget(width)  # as large as the embeddings
    for dim in dims:
      plan = schedules.adaptive(dim, self.shortlist, width)
      yield scheduled('ar', seen, plan, self.k)
    for dim in sorted(set(dims) & set(FUNNELS)):
      plan = schedules.funnel(dim, width, self.k)
      yield scheduled('funnel', seen, plan, self.k)
    try:
      chosen = self.chosen(seen, every)
    except ValueError as error:
      left_out['funnel_auto'] = str(error)
    else:
      yield chosen
    if not self.faiss or not dims:
      return
    if not indexes.available():
      left_out['faiss'] = "not installed: pip install -e '.[retrieval]'"
      return
    dim = min(dims, key=lambda m: abs(m - width / INDEX_SHARE))
    for kind in indexes.KINDS:
      if kind == 'hnsw' and count > HNSW_ROWS:
        left_out[kind] = f'the database has more than {HNSW_ROWS} rows'
      else:
        yield indexed(kind, seen, dim, self.shortlist, self.k)

  def check(self, evidence) -> tuple[int, ...]:
    """Dims of shortlists, once they and k fit the evidence."""
    if self.k > len(evidence.database):
      raise errors.UsageError(
        f'eval.search.k={self.k} exceeds the {len(evidence.database)} '
        f'database rows; set --config.eval.search.k to at most that'
      )
    unknown = set(self.dims) - set(evidence.dims)
    if unknown:
      raise errors.UsageError(
        f'eval.search.dims={self.dims}: {min(unknown)} is not evaluated; '
        f'choose from {evidence.dims} or add it to eval.dims'
      )
    return tuple(sorted(set(self.dims or evidence.dims[:-1])))

  def chosen(self, seen: 'Seen', dims) -> Method:
    """The best schedule on the tuning queries within the budget."""
    if not len(seen.tuning):
      raise errors.UsageError('one query cannot both choose and be reported')
    plans = schedules.candidates(dims, self.k, len(seen.ready))
    whole = len(seen.ready) * seen.ready.width / 1e6
    choice = shortlist.choose_schedule(
      seen.ready, seen.tuning, seen.exact_of_tuning, plans, self.budget * whole
    )
    return scheduled('funnel_auto', seen, choice.schedule, self.k)


@dataclasses.dataclass(frozen=True)
class Seen:
  """Queries that choose and queries that are reported, with the truth.

  Attributes:
    exact: (scores, rows) [q k] of the nearest rows at full width.
    labels: (of the database, of the reported queries), or None.
  """

  ready: shortlist.Database
  tuning: Float[np.ndarray, 'p d']
  asked: Float[np.ndarray, 'q d']
  exact_of_tuning: tuple
  exact: tuple
  labels: tuple | None


def gather(evidence, most: int, k: int) -> Seen:
  """Some queries, drawn with a fixed seed: half choose, half are reported."""
  database, queries = evidence.database, evidence.queries
  some = np.random.default_rng(0).permutation(len(queries))[:most]
  asked = queries.embeddings[np.sort(some)][np.argsort(np.argsort(some))]
  exact = jax.device_get(
    search.nested_top_k(
      asked, database.embeddings, evidence.dims[-1:], k, evidence.mesh
    )
  )
  half = len(some) // 2
  labels = None
  if queries.labels is not None and database.labels is not None:
    labels = database.labels, queries.labels[some[half:]]
  return Seen(
    ready=shortlist.Database(database.embeddings),
    tuning=asked[:half],
    asked=asked[half:],
    exact_of_tuning=tuple(x[0, :half] for x in exact),
    exact=tuple(x[0, half:] for x in exact),
    labels=labels,
  )


def crowded(ready: shortlist.Database, mesh: Mesh) -> str:
  """Why the devices do not keep all rows; '' if they do."""
  if jax.process_count() > 1:
    return 'processes that time themselves would wait for each other'
  stats = mesh.devices.flat[0].memory_stats() or {}
  share = device_bytes(ready) / mesh.size
  memory = stats.get('bytes_limit', float('inf'))
  if share <= DEVICE_SHARE * memory:
    return ''
  return (
    f'{share / 2**30:.1f} GiB of rows a device exceed {DEVICE_SHARE:.0%} of '
    'its memory'
  )


def device_bytes(ready: shortlist.Database) -> int:
  kept = search.kept_as(ready.embeddings.dtype)
  return len(ready) * ready.width * kept.itemsize


def on_devices(seen: 'Seen', mesh: Mesh, k: int) -> Iterator[Method]:
  """All rows on the devices: exact, and approximate where that is faster."""
  ready = seen.ready
  started = time.perf_counter()
  rows = search.Resident(ready.embeddings, (ready.width,), mesh)
  jax.block_until_ready(rows.slabs)
  taken = time.perf_counter() - started
  cost = schedules.mflops(schedules.Schedule(ready.width), len(ready))
  platform = sharding.platform(mesh)
  for approximate in (False, True) if platform == 'tpu' else (False,):
    yield Method(
      name='device_approximate' if approximate else 'device',
      dim=ready.width,
      find=lambda queries, approximate=approximate: np.asarray(
        rows.top_k(queries, k, approximate)[1][0]
      ),
      mflops=cost,
      mflops_shortlist=cost,
      bytes=device_bytes(ready),
      build_seconds=taken,
      about=f'all rows at {ready.width}, {mesh.size} x {platform}',
    )


def scheduled(name: str, seen: Seen, plan, k: int) -> Method:
  """A shortlist with its reranks."""
  plan = plan.within(len(seen.ready))
  cut = {plan.dim} | set(plan.dims) - {seen.ready.width}
  for dim in cut:
    seen.ready.prefix(dim)
  return Method(
    name=name,
    dim=plan.dim,
    find=lambda queries: shortlist.search(seen.ready, queries, plan, k)[1],
    mflops=schedules.mflops(plan, len(seen.ready)),
    mflops_shortlist=schedules.mflops(plan, len(seen.ready), rerank=False),
    bytes=seen.ready.index_bytes(plan.dim),
    build_seconds=sum(seen.ready.build_seconds[dim] for dim in cut),
    about=str(plan),
  )


def indexed(kind: str, seen: Seen, dim: int, keep: int, k: int) -> Method:
  """An index of faiss at a prefix, reranked at full width."""
  ready, keep = seen.ready, min(keep, len(seen.ready))
  started = time.perf_counter()
  index = indexes.build(ready, dim, kind)
  taken = time.perf_counter() - started
  cost = index.mflops(seen.asked, keep)
  return Method(
    name=kind,
    dim=dim,
    find=lambda queries: indexes.search(index, ready, queries, keep, k)[1],
    mflops=cost + keep * ready.width / 1e6,
    mflops_shortlist=cost,
    bytes=index.bytes,
    build_seconds=taken,
    about=f'faiss at {dim}, {keep} at {ready.width}',
  )


def measured(method: Method, seen: Seen, k: int) -> tuple[list, dict]:
  """(results, what a table and a chart need) of one method."""
  found = np.asarray(method.find(seen.asked))
  shares = shortlist.recall(seen.ready, seen.asked, found, seen.exact)
  extra = {
    'variant': method.name,
    'mflops': method.mflops,
    'mflops_shortlist': method.mflops_shortlist,
    'bytes': method.bytes,
  }
  results = [rows.mean('search', 'recall', method.dim, shares, k=k, **extra)]
  if seen.labels is not None:
    nearest = found[:, 0]
    right = seen.labels[0][np.maximum(nearest, 0)] == seen.labels[1]
    hits = int(np.sum(right & (nearest >= 0)))
    results.append(
      rows.proportion('search', 'top1', method.dim, hits, len(right), **extra)
    )
  batch = timed(lambda: method.find(seen.asked)) / len(seen.asked)
  singles = seen.asked[:SINGLES]
  method.find(singles[:1])  # what is compiled for one query is not its time
  single = timed(lambda: [method.find(one[None]) for one in singles])
  return results, {
    'method': method.name,
    'about': method.about,
    'dim': method.dim,
    'recall': results[0]['value'],
    'top1': results[1]['value'] if seen.labels is not None else None,
    'mflops': method.mflops,
    'mflops_shortlist': method.mflops_shortlist,
    'bytes': method.bytes,
    'milliseconds_batch': batch * 1e3,
    'milliseconds_single': single / len(singles) * 1e3,
    'build_seconds': method.build_seconds,
  }


def timed(run: Callable) -> float:
  """Seconds, the least of as many runs as fit into a second, at most five."""
  taken = []
  while len(taken) < 5 and sum(taken) < 1:
    started = time.perf_counter()
    run()
    taken.append(time.perf_counter() - started)
  return min(taken)
