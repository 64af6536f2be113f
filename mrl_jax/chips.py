"""TPU chips with their published numbers, and slices to compile for.

No TPU is needed for any of it.
"""

import dataclasses
import os
import re

import jax
from jax.experimental import topologies

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One TPU chip.

  Attributes:
    hbm: memory in GiB, as published.
    usable: memory that the compiler leaves to a program, in GiB.
    peak: bfloat16 operations per second.
    bandwidth: HBM bytes per second.
    example: a topology of this chip.
    options: what the topology needs so that one device is one chip.
  """

  hbm: float
  usable: float
  peak: float
  bandwidth: float
  example: str
  options: dict = dataclasses.field(default_factory=dict)


# hbm, peak and bandwidth: docs.cloud.google.com/tpu/docs/v4, v5e, v5p and v6e
# (bandwidth of v4: arXiv:2304.01433, table 4). usable: the "available HBM" of
# the compiler's own error for a program too large (libtpu 0.0.42).
CHIPS = {
  'v4': Chip(
    32, 30.75, 275e12, 1228e9, 'v4:2x2x4', {'chip_config_name': 'megacore'}
  ),
  'v5e': Chip(16, 15.75, 197e12, 819e9, 'v5e:4x4'),
  'v5p': Chip(95, 95.74, 459e12, 2765e9, 'v5p:2x2x2'),
  'v6e': Chip(32, 31.25, 918e12, 1638e9, 'v6e:4x4'),
}

ALLOWED = (
  f'a chip ({", ".join(CHIPS)}), a colon and its sizes, like '
  + ', '.join(chip.example for chip in CHIPS.values())
)


def find(topology: str) -> Chip:
  """The chip of a topology like `v5e:4x4`.

  Raises:
    ValueError: if the name has another form or the chip is unknown.
  """
  name = topology.partition(':')[0]
  if name not in CHIPS or not re.fullmatch(r'\w+:\d+(x\d+){1,2}', topology):
    raise ValueError(f'--topology={topology} must be {ALLOWED}')
  return CHIPS[name]


def devices(topology: str) -> list:
  """The devices of a topology to compile for, one per chip.

  Raises:
    ValueError: if the topology is unknown or libtpu is not installed.
  """
  chip = find(topology)
  # Ask no metadata server and no other hosts; lock no TPU that others may use.
  quiet = {
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_ACCELERATOR_TYPE': '',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }
  for name, value in quiet.items():
    os.environ.setdefault(name, value)
  try:
    import libtpu  # noqa: F401
  except ImportError:
    raise ValueError(
      "the TPU compiler is not installed: pip install -e '.[tpu]'"
    ) from None
  sizes = [int(size) for size in topology.partition(':')[2].split('x')]
  bounds = [min(size, 2) for size in sizes[:2]] + [1]  # chips of one host
  try:
    return topologies.get_topology_desc(
      platform='tpu',
      topology_name=topology,
      chips_per_host_bounds=bounds,
      **chip.options,
    ).devices
  except jax.errors.JaxRuntimeError as error:
    reason = str(error).splitlines()[0].partition(': ')[2]
    raise ValueError(
      f'--topology={topology}: {reason}; it must be {ALLOWED}'
    ) from error
