"""Ways to search, each with its costs."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator

import jax
from jax.sharding import Mesh

from mrl_jax import sharding
from mrl_jax.embed import exact, schedules, shortlist, slabs
from mrl_jax.embed.schedules import Schedule

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


def crowded(database: shortlist.Database, mesh: Mesh) -> str:
  """Why the devices do not keep all rows; '' if they do."""
  if jax.process_count() > 1:
    return 'processes that time themselves would wait for each other'
  stats = mesh.devices.flat[0].memory_stats() or {}
  share = device_bytes(database) / mesh.size
  memory = stats.get('bytes_limit', float('inf'))
  if share <= DEVICE_SHARE * memory:
    return ''
  return (
    f'{share / 2**30:.1f} GiB of rows a device exceed {DEVICE_SHARE:.0%} of '
    'its memory'
  )


def device_bytes(database: shortlist.Database) -> int:
  """What the devices keep of all rows at full width."""
  kept = slabs.kept_as(database.embeddings.dtype)
  return len(database) * database.width * kept.itemsize


def on_devices(
  database: shortlist.Database, mesh: Mesh, k: int
) -> Iterator[Method]:
  """All rows on the devices: exact, and approximate where that is faster."""
  width, started = database.width, time.perf_counter()
  resident = exact.Resident(database.embeddings, (width,), mesh)
  jax.block_until_ready(resident.slabs)
  seconds = time.perf_counter() - started
  cost = schedules.mflops(Schedule(width), len(database))
  platform = sharding.platform(mesh)

  def find(approximate, queries):
    return resident.top_k(queries, k, approximate)[1][0]

  for approximate in (False, True) if platform == 'tpu' else (False,):
    yield Method(
      name='device_approximate' if approximate else 'device',
      dim=width,
      find=functools.partial(find, approximate),
      mflops=cost,
      mflops_shortlist=cost,
      bytes=device_bytes(database),
      build_seconds=seconds,
      about=f'all rows at {width}, {mesh.size} x {platform}',
    )


def scheduled(
  name: str, database: shortlist.Database, schedule: Schedule, k: int
) -> Method:
  """A shortlist with its reranks."""
  schedule = schedule.within(len(database))
  cut = {schedule.dim} | set(schedule.dims) - {database.width}
  for dim in cut:
    database.prefix(dim)

  def find(queries):
    return shortlist.adaptive_top_k(database, queries, schedule, k)[1]

  return Method(
    name=name,
    dim=schedule.dim,
    find=find,
    mflops=schedules.mflops(schedule, len(database)),
    mflops_shortlist=schedules.mflops(schedule, len(database), rerank=False),
    bytes=database.index_bytes(schedule.dim),
    build_seconds=sum(database.build_seconds[dim] for dim in cut),
    about=str(schedule),
  )
