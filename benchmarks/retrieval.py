"""Ways to find the nearest rows against faiss Flat, side by side.

  python benchmarks/retrieval.py
  python benchmarks/retrieval.py --million

Database: a mixture of clusters whose coordinates matter less and less, as an
MRL embedding's do. Times are over faiss Flat's in the same round, for a batch
and for queries one by one; all methods start from the same arrays, prepared
beforehand. `--million` has eval.py find all retrieval rows of a million
vectors in a file, and says how long it took and how much memory.
"""

import argparse
import functools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import measure  # noqa: E402

from mrl_jax import sharding  # noqa: E402
from mrl_jax.embed import exact, indexes, schedules, shortlist  # noqa: E402

K = 10
SINGLES = 16  # one by one in a round
FULL = (200_000, 512, 896, 64)  # rows, width, queries, prefix of shortlists
QUICK = (3_000, 32, 24, 8)


class Mixture:
  """Draws rows of one mixture of clusters, always the same."""

  def __init__(self, width: int, clusters: int = 2000):
    self.spread = (np.arange(width, dtype=np.float32) + 1) ** -0.6
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((clusters, width), np.float32)
    self.centres = centres * self.spread

  def draw(self, rows: int, seed: int) -> np.ndarray:
    return self.labelled(rows, seed)[0]

  def labelled(self, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, their clusters)."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows, len(self.spread)), np.float32)
    noise *= self.spread * np.float32(0.6)
    clusters = rng.integers(0, len(self.centres), rows)
    return noise + self.centres[clusters], clusters


def methods(ready, width: int, dim: int, graph: bool) -> dict:
  """{name: (f(queries) -> rows, MFLOPs per query or None)}; Flat is first.

  `graph`: also HNSW at full width, which takes minutes to build.
  """
  rows, mesh = len(ready), sharding.make_mesh()
  resident = exact.Resident(ready.embeddings, (width,), mesh)
  plans = {
    f'adaptive {dim}, 200 at {width}': schedules.adaptive(dim, 200, width),
    f'funnel from {dim // 2}': schedules.funnel(dim // 2, width, K),
  }
  flat = indexes.build(ready, width, 'flat')
  found = {
    f'faiss Flat {width}': lambda q: flat.top_k(q, K)[1],
    f'exact {width}, rows resident': lambda q: resident.top_k(q, K)[1][0],
    f'exact {width}, rows read': lambda q: exact.nested_top_k(
      q, ready.embeddings, (width,), K, mesh
    )[1][0],
  }
  for name, plan in plans.items():
    for m in {plan.dim, *plan.dims}:
      ready.prefix(m)
    found[name] = functools.partial(by_plan, ready, plan)
  if graph:
    effort = indexes.Effort(one_thread=False)
    whole = indexes.build(ready, width, 'hnsw', effort)
    found[f'faiss HNSW {width}'] = lambda q: whole.top_k(q, K)[1]
  for kind, effort in (
    ('hnsw', indexes.Effort(one_thread=False, search=100)),
    ('ivf', indexes.Effort(probes=32)),
  ):
    index = indexes.build(ready, dim, kind, effort)
    name = f'faiss {kind.upper()} {dim}, 100 at {width}'
    found[name] = functools.partial(by_index, ready, index)
  costs = {name: schedules.mflops(p, rows) for name, p in plans.items()}
  return {name: (run, costs.get(name)) for name, run in found.items()}


def by_plan(ready, plan, queries):
  return shortlist.adaptive_top_k(ready, queries, plan, K)[1]


def by_index(ready, index, queries):
  return indexes.reranked_top_k(index, ready, queries, 100, K)[1]


def against_flat(shape, rounds: int, graph: bool) -> dict:
  """{method: recall, MFLOPs, and times of a batch and of single queries}."""
  rows, width, count, dim = shape
  mixture = Mixture(width)
  ready = shortlist.Database(mixture.draw(rows, 1))
  queries = mixture.draw(count, 2)
  full = schedules.Schedule(width)
  exact_rows = shortlist.adaptive_top_k(ready, queries, full, K)
  ways = methods(ready, width, dim, graph)
  found = {}
  for name, (run, cost) in ways.items():
    recall = shortlist.recall(ready, queries, run(queries), exact_rows)
    found[name] = {'recall': float(np.mean(recall)), 'mflops': cost}
  one_by_one = [q[None] for q in queries[:SINGLES]]
  for label, given in (('batch', [queries]), ('single', one_by_one)):
    asked = sum(map(len, given))
    raced = measure.race(
      {
        name: functools.partial(each, run, given)
        for name, (run, _) in ways.items()
      },
      rounds,
    )
    for name, times in raced.items():
      found[name][label] = times | {
        'faster': 1 / times['ratio'][0],
        'milliseconds': times['seconds'] / asked * 1e3,
      }
  return found


def each(run, given) -> list:
  return [run(queries) for queries in given]


def million(rows: int, width: int, count: int) -> dict:
  """Seconds and peak memory of eval.py's retrieval rows, of files."""
  mixture, slab = Mixture(width), 1 << 15
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    mapped = np.lib.format.open_memmap(
      folder / 'x.npy', 'w+', np.float32, (rows, width)
    )
    labels = []
    for start in range(0, rows, slab):
      part = slice(start, min(start + slab, rows))
      mapped[part], own = mixture.labelled(part.stop - start, 3 + start)
      labels.append(own)
    del mapped
    np.save(folder / 'y.npy', np.concatenate(labels))
    for file, array in zip('qp', mixture.labelled(count, 2)):
      np.save(folder / f'{file}.npy', array)
    started = time.perf_counter()
    subprocess.run(
      [
        sys.executable,
        Path(__file__).parent.parent / 'eval.py',
        f'--embeddings={folder / "x.npy"}',
        f'--labels={folder / "y.npy"}',
        f'--queries={folder / "q.npy"}',
        f'--query_labels={folder / "p.npy"}',
        f'--output={folder / "report"}',
        '--config.eval.only=retrieval',
      ],
      check=True,
    )
    seconds = time.perf_counter() - started
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
  return {
    'rows': rows, 'queries': count, 'seconds': seconds, 'peak_bytes': peak,
  }  # fmt: skip


def show(found: dict) -> None:
  columns = 'method, recall@10, batch faster, ms/query, one faster, ms, MFLOPs'
  rows = []
  for name, one in found.items():
    cells = [name, f'{one["recall"]:.4f}']
    for label in ('batch', 'single'):
      # Quartiles of the ratio, turned over, change places.
      _, low, high = one[label]['ratio']
      cells += [
        f'{one[label]["faster"]:.2f} ({1 / high:.2f} to {1 / low:.2f})',
        f'{one[label]["milliseconds"]:.3f}',
      ]
    rows.append(
      [*cells, '' if one['mflops'] is None else f'{one["mflops"]:.1f}']
    )
  print(measure.table(columns.split(', '), rows), flush=True)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--rounds', type=int, default=15)
  parser.add_argument('--quick', action='store_true', help='tiny, untimed')
  parser.add_argument('--million', action='store_true')
  parser.add_argument(
    '--busy', action='store_true', help='count rounds that others disturbed'
  )
  parser.add_argument(
    '--no_graph', action='store_true', help='no HNSW at full width'
  )
  parser.add_argument('--json', help='write all numbers here')
  options = parser.parse_args()
  if options.busy or options.quick:
    measure.MOVED = float('inf')
  results = {'conditions': measure.conditions()}
  if options.million:
    size = (5_000, 32, 20) if options.quick else (1_000_000, 512, 1_000)
    one = results['million'] = million(*size)
    print(
      f'{one["rows"]} mapped rows, {one["queries"]} queries: '
      f'{one["seconds"]:.0f} s, at most '
      f'{one["peak_bytes"] / 2**30:.2f} GiB resident'
    )
  else:
    shape = QUICK if options.quick else FULL
    rounds = 4 if options.quick else options.rounds
    print(f'{shape[0]} x {shape[1]}, {shape[2]} queries, over faiss Flat\n')
    results['methods'] = against_flat(shape, rounds, not options.no_graph)
    show(results['methods'])
  print('\n' + ', '.join(f'{k} {v}' for k, v in results['conditions'].items()))
  measure.write(options.json, results)


if __name__ == '__main__':
  main()
