"""Saving and restoring a run; the only file that imports Orbax.

A step is `checkpoints/<step>/` with the state, the data position (JSON) and,
once the asynchronous save has committed, `manifest.json`: the SHA-256 of every
file. A flipped byte restores silently in Orbax, so steps are verified before
they are restored, and a damaged one gives way to the newest good one.
"""

import concurrent.futures
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as keeping

from mrl_jax.errors import UsageError
from mrl_jax.shapes import PyTree

MANIFEST = 'manifest.json'


class CheckpointError(UsageError):
  """A checkpoint that is missing, damaged or of another shape."""


class Checkpointer:
  """Asynchronous saves of a run's directory, the last `keep` and the best.

  Args:
    directory: `checkpoints/` of the workdir.
    keep: how many of the newest steps stay.
    best: flat name of the metric whose highest step stays too, '' for none.
    read_only: for evaluation beside a run that is still training: nothing in
      the directory is touched.
  """

  def __init__(
    self,
    directory: str | Path,
    keep: int = 2,
    best: str = '',
    read_only: bool = False,
  ):
    self.directory = Path(directory).absolute()
    policies = [keeping.LatestN(keep)]
    rank = None
    if best:

      def rank(values):
        return values.get(best, -math.inf)

      policies.append(
        keeping.BestN(
          get_metric_fn=rank,
          n=1,
          keep_checkpoints_without_metrics=False,
        )
      )
    self.best = best
    self.manager = ocp.CheckpointManager(
      self.directory,
      item_names=('state', 'data'),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=keeping.AnyPreservationPolicy(policies),
        best_fn=rank,  # Orbax writes metrics only where it is set
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
      ),
    )
    self.hasher = concurrent.futures.ThreadPoolExecutor(1)
    self.unsealed: int | None = None
    self.latest: int | None = None  # saved by this process
    self.verified: int | None = None

  def save(
    self,
    step: int,
    state: PyTree,
    data: Mapping,
    values: Mapping[str, float] | None = None,
  ) -> None:
    """Starts saving; training goes on. `values` hold the best metric."""
    self.wait()
    if step in self.manager.all_steps():  # damaged, or without its metrics
      self.manager.delete(step)
    chosen = None
    if self.best and values and self.best in values:
      chosen = {self.best: float(values[self.best])}
    self.manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(state), data=ocp.args.JsonSave(dict(data))
      ),
      metrics=chosen,
      force=True,
    )
    self.unsealed = self.latest = step

  def poll(self) -> None:
    """Seals a save that has committed meanwhile; cheap, call it every step."""
    if self.unsealed is not None and not self.manager.is_saving_in_progress():
      step, self.unsealed = self.unsealed, None
      if jax.process_index() == 0:
        self.hasher.submit(seal, self.directory / str(step))

  def wait(self) -> None:
    """Returns when everything saved so far is committed and sealed."""
    self.manager.wait_until_finished()
    self.poll()
    self.hasher.submit(lambda: None).result()

  def close(self) -> None:
    self.wait()
    self.hasher.shutdown()
    self.manager.close()

  def newest(self) -> int | None:
    """The newest step that verifies; None if the run has no step at all.

    The first process decides for all.

    Raises:
      CheckpointError: if there are steps but none is whole.
    """
    found = -1
    if jax.process_index() == 0:
      found = newest_whole(self.directory)
    if jax.process_count() > 1:
      found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
    if found == -2:
      raise CheckpointError(
        f'{self.directory} has steps but none is whole; move it away to start '
        'anew'
      )
    self.verified = None if found == -1 else found
    return self.verified

  def fault(self, step: int) -> str:
    """What is wrong with a step; the first process reads it for all."""
    found = ''
    if jax.process_index() == 0:
      found = damage(self.directory / str(step))
    if jax.process_count() > 1:
      wrong = multihost_utils.broadcast_one_to_all(np.int32(bool(found)))
      found = found or ('see the first process' if wrong else '')
    return found

  def restore(self, step: int, placed: PyTree) -> tuple[PyTree, dict]:
    """(state laid out as `placed`, data position) of one step.

    `placed` is a tree of ShapeDtypeStructs with shardings: a checkpoint of
    one mesh restores onto any other.
    """
    if step not in steps(self.directory):
      have = ', '.join(map(str, steps(self.directory))) or 'none'
      raise CheckpointError(
        f'{self.directory} has no step {step}; it has {have}'
      )
    if step != self.verified and (fault := self.fault(step)):
      raise CheckpointError(f'{self.directory / str(step)} is damaged: {fault}')
    check_shapes(self.directory / str(step), placed)
    try:
      restored = self.manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeRestore(
            placed,
            restore_args=ocp.checkpoint_utils.construct_restore_args(placed),
          ),
          data=ocp.args.JsonRestore(),
        ),
      )
    except Exception as error:
      first = str(error).strip().splitlines()[0]
      raise CheckpointError(
        f'{self.directory / str(step)} cannot be restored: {first}'
      ) from error
    return restored['state'], restored['data']


def steps(directory: Path) -> list[int]:
  """The steps saved in a directory, increasing; unfinished ones left out."""
  if not directory.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in directory.iterdir()
    if path.name.isdigit() and (path / '_CHECKPOINT_METADATA').exists()
  )


def newest_whole(directory: Path) -> int:
  """The newest verified step, -1 if there are none, -2 if all are damaged."""
  found = steps(directory)
  for step in reversed(found):
    fault = damage(directory / str(step))
    if not fault:
      return step
    print(f'checkpoint {step} is skipped: {fault}', flush=True)
  return -2 if found else -1


def check_shapes(folder: Path, placed: PyTree) -> None:
  """Raises CheckpointError listing every array that differs from `placed`."""
  saved = shapes(folder)
  expected = {
    name(path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(placed)
  }
  wrong = [
    f'{key}: saved {saved.get(key, "nothing")}, expected {shape}'
    for key, shape in expected.items()
    if saved.get(key) != shape
  ]
  wrong += [f'{key}: saved, not expected' for key in saved.keys() - expected]
  if wrong:
    shown = '; '.join(wrong[:5]) + (' ...' if len(wrong) > 5 else '')
    raise CheckpointError(
      f'{folder} does not fit this config, {len(wrong)} arrays differ: {shown}'
    )


def name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
  """Path -> shape of every array of a step's state."""
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(folder / 'state').item_metadata.tree
  return {
    name(path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      tree, is_leaf=lambda x: hasattr(x, 'shape')
    )
  }


def restore_encoder(directory: str | Path, placed: PyTree) -> PyTree:
  """The encoder's parameters of another run, laid out as `placed`.

  Takes the moving average where the run kept one.

  Raises:
    CheckpointError: if there is no whole step, or shapes differ.
  """
  directory = Path(directory).expanduser().absolute()
  step = newest_whole(directory)
  if step < 0:
    raise CheckpointError(f'init_from: {directory} has no whole checkpoint')
  folder = directory / str(step)
  saved = shapes(folder)
  field = (
    'average' if any(k.startswith('average/') for k in saved) else 'params'
  )
  wrong = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(placed):
    key = f'{field}/encoder/{name(path)}'
    if saved.get(key) != leaf.shape:
      wrong.append(f'{name(path)}: {saved.get(key, "nothing")} != {leaf.shape}')
  if wrong:
    raise CheckpointError(
      f'init_from: the encoder of {folder} differs in {len(wrong)} arrays: '
      + '; '.join(wrong[:5])
    )
  target = {field: {'encoder': placed}}
  with ocp.PyTreeCheckpointer() as reader:
    restored = reader.restore(
      folder / 'state',
      args=ocp.args.PyTreeRestore(
        target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
      ),
    )
  return restored[field]['encoder']


def files(folder: Path) -> list[Path]:
  return sorted(
    path
    for path in folder.rglob('*')
    if path.is_file() and path.name != MANIFEST
  )


def sha256(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def seal(folder: Path) -> None:
  """Writes the manifest of a committed step, in one rename."""
  if not folder.exists():  # already replaced by newer ones
    return
  hashes = {str(p.relative_to(folder)): sha256(p) for p in files(folder)}
  partial = folder / f'.{MANIFEST}'
  partial.write_text(json.dumps(hashes, indent=1))
  partial.rename(folder / MANIFEST)


def damage(folder: Path) -> str:
  """What is wrong with a step, '' if every file is what was written.

  A step killed between its commit and its seal has no manifest; Orbax's
  commit is atomic, so it is whole as far as can be known.
  """
  manifest = folder / MANIFEST
  if not manifest.exists():
    return ''
  try:
    hashes = json.loads(manifest.read_text())
  except ValueError:
    return f'{MANIFEST} cannot be read'
  for relative, expected in hashes.items():
    path = folder / relative
    if not path.exists():
      return f'{relative} is missing'
    if sha256(path) != expected:
      return f'{relative} has changed since it was saved'
  return ''
