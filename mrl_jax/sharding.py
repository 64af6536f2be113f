"""Where arrays live: the mesh, placement rules, and batches across processes.

This is the only file that knows about placement. `data` splits the batch,
`fsdp` splits the batch and the parameters, `tensor` splits attention heads,
MLP hidden units, the tokens of a token table and the classes of a head.
"""

import math
import os
import re
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mrl_jax.shapes import PyTree

AXES = ('data', 'fsdp', 'tensor')
BATCH_AXES = ('data', 'fsdp')

# Arrays with fewer numbers stay whole on every device: to gather them costs
# more time than their memory is worth.
SMALLEST_SHARDED = 4096

# The end of a parameter's path -> its split over `tensor`. A row applies to
# arrays with as many axes as it has entries.
TENSOR_RULES = (
  (r'(query|key|value)/kernel', (None, 'tensor', None)),
  (r'(query|key|value)/bias', ('tensor', None)),
  (r'attention/qkv/kernel', (None, None, 'tensor', None)),
  (r'attention/out/kernel', ('tensor', None, None)),
  (r'mlp/(gate|up)/kernel', (None, 'tensor')),
  (r'mlp/up/kernel', (None, None, 'tensor')),
  (r'mlp/up/bias', ('tensor',)),
  (r'mlp/down/kernel', ('tensor', None)),
  # By its width, XLA's SPMD gives other numbers where all three axes split.
  (r'encoder/tokens/embedding', ('tensor', None)),
  (r'head/(.*/)?kernel', (None, 'tensor')),
  (r'head/(.*/)?bias', ('tensor',)),
)


def initialise(distributed: str = '') -> None:
  """Joins the other processes of a launch; does nothing for a single one.

  `distributed` is 'HOST:PORT,COUNT,INDEX', or 'auto' where JAX can ask the
  launcher (TPU pods, Slurm, Open MPI, Kubernetes). Without it, a launch is
  recognised by the variables that Slurm, Open MPI and TPU pods set.

  Raises:
    ValueError: if `distributed` is neither.
  """
  if jax.distributed.is_initialized():
    return
  if distributed not in ('', 'auto'):
    match = re.fullmatch(r'(.+:\d+),(\d+),(\d+)', distributed)
    if not match:
      raise ValueError(
        f"--distributed={distributed} must be 'auto' or HOST:PORT,COUNT,INDEX"
      )
    address, count, index = match.groups()
    jax.distributed.initialize(address, int(count), int(index))
  elif distributed == 'auto' or launched_on_many(os.environ):
    jax.distributed.initialize()


def launched_on_many(environment: Mapping[str, str]) -> bool:
  """Whether the variables of a launcher tell of several processes."""
  counts = ('SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')
  return (
    any(int(environment.get(name) or 1) > 1 for name in counts)
    or environment.get('TPU_WORKER_HOSTNAMES', '').count(',') > 0
    or 'JAX_COORDINATOR_ADDRESS' in environment
  )


def make_mesh(
  data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None
) -> Mesh:
  """A mesh over `devices`, over all of this machine's if None.

  One axis may be -1: it takes the devices that are left.

  Raises:
    ValueError: if the sizes do not multiply to the number of devices.
  """
  sizes = {'data': data, 'fsdp': fsdp, 'tensor': tensor}
  said = ', '.join(f'{axis}={size}' for axis, size in sizes.items())
  devices = jax.devices() if devices is None else devices
  count = len(devices)
  free = [axis for axis, size in sizes.items() if size == -1]
  if len(free) > 1 or any(s < 1 and s != -1 for s in sizes.values()):
    raise ValueError(f'mesh({said}): sizes are at least 1, one may be -1')
  known = math.prod(size for size in sizes.values() if size != -1)
  if free:
    sizes[free[0]] = count // known
  if math.prod(sizes.values()) != count:
    raise ValueError(
      f'mesh({said}) does not fit {count} devices; the sizes must multiply '
      f'to {count} (-1 in one axis takes the rest)'
    )
  return jax.make_mesh(
    tuple(sizes.values()),
    AXES,
    axis_types=(AxisType.Auto,) * 3,
    devices=devices,
  )


def platform(mesh: Mesh | None) -> str:
  """The kind of a mesh's devices, 'cpu', 'gpu' or 'tpu'.

  Without a mesh, the kind of this machine's devices. The two may differ: a
  plan compiles for devices that are elsewhere.
  """
  return mesh.devices.flat[0].platform if mesh else jax.default_backend()


def check_batch(size: int, mesh: Mesh, name: str, parts: int = 1) -> None:
  """Raises ValueError unless the mesh and `parts` divide the batch size."""
  split = mesh.shape['data'] * mesh.shape['fsdp'] * parts
  if size < 1 or size % split:
    lower = max(size // split, 1) * split
    why = f'data {mesh.shape["data"]} x fsdp {mesh.shape["fsdp"]}'
    why += f' x accumulate {parts}' if parts > 1 else ''
    raise ValueError(
      f'{name}={size} does not divide by {split} ({why}); '
      f'use {lower} or {lower + split}'
    )


def spec(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
  """How one array is split: over `tensor` by its path, then over `fsdp`.

  `fsdp` splits the largest axis that it divides and that `tensor` does not
  split. An axis that does not divide stays whole.
  """
  axes = [None] * len(shape)
  for pattern, split in TENSOR_RULES:
    if len(split) == len(shape) and re.search(f'(^|/){pattern}$', path):
      axes = [
        name if name and size % mesh.shape[name] == 0 else None
        for name, size in zip(split, shape)
      ]
      break
  if mesh.shape['fsdp'] > 1 and math.prod(shape) >= SMALLEST_SHARDED:
    for i in sorted(range(len(shape)), key=lambda i: -shape[i]):
      if axes[i] is None and shape[i] % mesh.shape['fsdp'] == 0:
        axes[i] = 'fsdp'
        break
  return PartitionSpec(*axes)


def shardings(tree: PyTree, mesh: Mesh) -> PyTree:
  """A NamedSharding for every array of `tree` (arrays or their shapes).

  The paths of an optimizer's moments end like those of their parameters, so
  the same rules apply.
  """

  def place(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    return NamedSharding(mesh, spec(name, leaf.shape, mesh))

  return jax.tree_util.tree_map_with_path(place, tree)


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: rows over `data` and `fsdp`."""
  return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def whole_rows(size: int, mesh: Mesh) -> int:
  """The smallest batch of at least `size` rows that the devices divide."""
  return -(-size // mesh.size) * mesh.size


def local_rows(size: int, mesh: Mesh) -> np.ndarray:
  """The rows of a global batch that this process holds, increasing."""
  slices = over_batch(mesh).addressable_devices_indices_map((size,)).values()
  return np.unique(np.concatenate([np.arange(size)[s[0]] for s in slices]))


def global_batch(
  batch: PyTree, rows: np.ndarray, size: int, mesh: Mesh
) -> PyTree:
  """The global batch, from the rows of this process and of all others.

  Row i of the result is row i of the global batch, whatever the number of
  processes and the order of their devices.
  """
  sharding = over_batch(mesh)

  def join(local):
    def part(index):
      start, stop, _ = index[0].indices(size)
      first = np.searchsorted(rows, start)
      return local[first : first + stop - start]

    shape = (size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, part)

  return jax.tree.map(lambda local: join(np.asarray(local)), batch)
