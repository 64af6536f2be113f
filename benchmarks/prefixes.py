"""Exact search at 9 prefixes of 2048 against the full width alone.

  python benchmarks/prefixes.py
  python benchmarks/prefixes.py --k=100

Three times each: as called, where the rows are read; with rows that stay on
the device; and only the products with one maximum per 8 rows, tile by tile in
the processor's cache, nothing stored or chosen: what no selection can beat.
"""

import argparse
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import measure  # noqa: E402

from mrl_jax import nested, sharding  # noqa: E402
from mrl_jax.embed import exact, selection  # noqa: E402

FULL = (20_480, 2048, 256, 2048)  # rows, width, queries, rows of a tile
QUICK = (512, 64, 16, 128)


def products(dims, tile: int):
  """f(rows [r d], queries [d q]) -> maxima of groups [t g n q]."""

  def run(rows, columns):
    def step(_, at):
      made = exact.chunk_products(rows, at, tile, columns, dims)
      return None, [selection.group_maxima(one) for one in made]

    return jax.lax.scan(step, None, jnp.arange(0, len(rows), tile))[1]

  return jax.jit(run)


def variants(shape, k: int) -> dict:
  """{name: call}; of each kind the full width alone is the first."""
  rows, width, count, tile = shape
  dims = nested.halving(width)
  rng = np.random.default_rng(0)
  database = rng.standard_normal((rows, width), np.float32)
  queries = rng.standard_normal((count, width), np.float32)
  mesh, found = sharding.make_mesh(), {}
  near, asked = jnp.asarray(database), jnp.asarray(queries.T)
  for some in (dims[-1:], dims):
    name = f'{len(some)} prefixes' if len(some) > 1 else f'{some[-1]} alone'
    resident = exact.Resident(database, some, mesh)
    found |= {
      ('as called', name): functools.partial(
        exact.nested_top_k, queries, database, some, k, mesh
      ),
      ('rows resident', name): functools.partial(resident.top_k, queries, k),
      ('products and maxima', name): functools.partial(
        products(some, tile), near, asked
      ),
    }
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--k', type=int, default=10)
  parser.add_argument('--rounds', type=int, default=20)
  parser.add_argument('--quick', action='store_true', help='tiny, untimed')
  parser.add_argument('--json', help='write all numbers here')
  options = parser.parse_args()
  if options.quick:
    measure.MOVED, options.rounds = float('inf'), 4
  calls = variants(QUICK if options.quick else FULL, options.k)
  lines, results = [], {'conditions': measure.conditions(), 'k': options.k}
  for kind in dict.fromkeys(kind for kind, _ in calls):
    raced = measure.race(
      {name: run for (one, name), run in calls.items() if one == kind},
      options.rounds,
    )
    results[kind] = raced
    alone, nine = raced.values()
    middle, low, high = nine['ratio']
    lines.append(
      [
        kind,
        f'{alone["seconds"] * 1e3:.0f}',
        f'{nine["seconds"] * 1e3:.0f}',
        f'{middle:.2f} ({low:.2f} to {high:.2f})',
      ]
    )
  header = ['', 'full width alone, ms', 'all prefixes, ms', 'ratio']
  print(measure.table(header, lines))
  print('\n' + ', '.join(f'{k} {v}' for k, v in results['conditions'].items()))
  measure.write(options.json, results)


if __name__ == '__main__':
  main()
