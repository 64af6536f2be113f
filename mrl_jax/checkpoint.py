"""Saving and restoring a run; the only file that imports Orbax.

A step is `checkpoints/<step>/` with the state, the data position (JSON) and,
once the asynchronous save has committed, a manifest (integrity.py). A damaged
step gives way to the newest good one. `checkpoints/evaluated.json` says which
steps were evaluated, and their value of the metric that chooses the best.
"""

import concurrent.futures
import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as keeping

from mrl_jax import integrity, stored
from mrl_jax.errors import UsageError
from mrl_jax.shapes import PyTree
from mrl_jax.variables import Variables


class CheckpointError(UsageError):
  """A checkpoint that is missing, damaged or of another shape."""


class Scores:
  """The evaluated steps, each with its value of the metric `best`.

  Args:
    directory: `checkpoints/` of the workdir.
    best: flat name of the metric whose highest step is kept, '' for none.
  """

  def __init__(self, directory: Path, best: str):
    self.path, self.best = directory / 'evaluated.json', best
    self.values: dict[int, Mapping[str, float]] = {}
    for step in integrity.steps(directory):
      old = directory / str(step) / 'metrics' / 'metrics'  # of format 1
      if old.exists():
        self.values[step] = json.loads(old.read_text())
    if self.path.exists():
      saved = json.loads(self.path.read_text())
      self.values |= {int(step): values for step, values in saved.items()}

  def add(self, step: int, values: Mapping[str, float]) -> None:
    """Notes that a step was evaluated; the first process writes it down."""
    chosen = {k: float(v) for k, v in values.items() if k == self.best}
    self.values[step] = {k: v for k, v in chosen.items() if math.isfinite(v)}
    if jax.process_index() == 0:
      partial = self.path.with_suffix('.partial')
      partial.write_text(json.dumps(self.values))
      partial.rename(self.path)

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Orbax's question: True for the newest of the steps of the best value."""
    del context
    values = [
      self.values.get(info.step, {}).get(self.best, -math.inf)
      for info in checkpoints
    ]
    top = max(values, default=-math.inf)
    kept = [False] * len(values)
    if top > -math.inf:
      kept[len(values) - 1 - values[::-1].index(top)] = True
    return kept


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
    self.scores = Scores(self.directory, best)
    policies = [keeping.LatestN(keep), self.scores]
    self.manager = ocp.CheckpointManager(
      self.directory,
      item_names=('state', 'data'),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=keeping.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
      ),
    )
    self.hasher = concurrent.futures.ThreadPoolExecutor(1)
    self.unsealed: int | None = None
    self.latest: int | None = None  # saved by this process
    self.verified: int | None = None

  def save(self, step: int, tree: PyTree, data: Mapping) -> None:
    """Starts saving nested dicts of arrays and plain data; training goes on."""
    self.wait()
    if step in self.manager.all_steps():  # damaged
      self.manager.delete(step)
    self.manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(stored.to_text(tree)),
        data=ocp.args.JsonSave({**data, 'format': stored.FORMAT}),
      ),
      force=True,
    )
    self.unsealed = self.latest = step

  def poll(self) -> None:
    """Seals a save that has committed meanwhile; cheap, call it every step."""
    if self.unsealed is not None and not self.manager.is_saving_in_progress():
      step, self.unsealed = self.unsealed, None
      if jax.process_index() == 0:
        self.hasher.submit(integrity.seal, self.directory / str(step))

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
      found = integrity.newest_whole(self.directory)
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
      found = integrity.damage(self.directory / str(step))
    if jax.process_count() > 1:
      wrong = multihost_utils.broadcast_one_to_all(np.int32(bool(found)))
      found = found or ('see the first process' if wrong else '')
    return found

  def restore(self, step: int, placed: PyTree) -> tuple[PyTree, dict]:
    """(the tree laid out as `placed`, data position) of one step.

    `placed` is a tree of ShapeDtypeStructs with shardings: a checkpoint of
    one mesh restores onto any other.
    """
    folder = self.directory / str(step)
    if step not in integrity.steps(self.directory):
      raise _missing(self.directory, step)
    if step != self.verified and (fault := self.fault(step)):
      raise CheckpointError(f'{folder} is damaged: {fault}')
    data = _position(folder)
    target = stored.target(placed, data['format'])
    _check_shapes(folder, target)
    try:
      restored = _read(folder, target)
    except Exception as error:
      first = str(error).strip().splitlines()[0]
      raise CheckpointError(f'{folder} cannot be restored: {first}') from error
    return stored.restored(restored, data['format']), data


def _position(folder: Path) -> dict:
  """What was saved beside the state; `format` is 1 where none is named."""
  try:
    return {'format': 1} | json.loads((folder / 'data/metadata').read_text())
  except (OSError, ValueError) as error:
    raise CheckpointError(f'{folder} cannot be read: {error}') from error


def _read(folder: Path, target: PyTree, partial: bool = False) -> PyTree:
  with ocp.PyTreeCheckpointer() as reader:
    return reader.restore(
      folder / 'state',
      args=ocp.args.PyTreeRestore(
        target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=partial,
      ),
    )


def _differences(saved: Mapping, target: PyTree) -> list[str]:
  expected = {
    _name(path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(target)
  }
  return [
    f'{key}: saved {saved.get(key, "nothing")}, expected {shape}'
    for key, shape in expected.items()
    if saved.get(key) != shape
  ] + [f'{key}: saved, not expected' for key in saved.keys() - expected]


def _check_shapes(folder: Path, target: PyTree) -> None:
  """Raises CheckpointError listing every array that differs from `target`."""
  if wrong := _differences(_shapes(folder), target):
    shown = '; '.join(wrong[:5]) + (' ...' if len(wrong) > 5 else '')
    raise CheckpointError(
      f'{folder} does not fit this config, {len(wrong)} arrays differ: {shown}'
    )


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
  """Path -> shape of every array of a step's state."""
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(folder / 'state').item_metadata.tree
  return {
    _name(path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      tree, is_leaf=lambda x: hasattr(x, 'shape')
    )
  }


def restore_encoders(directory: str | Path, placed: Variables) -> Variables:
  """The encoders of another run's newest step, laid out as `placed`.

  Parts of the model whose name ends in 'encoder' and that both have. Takes
  the moving average where the run kept one.

  Raises:
    CheckpointError: if no step is whole, if there is not such a part, or if
      shapes differ.
  """
  return _restore_best(directory, None, placed, 'encoder', 'init_from: ')[0]


def restore_best(
  directory: str | Path, step: int | None, placed: Variables
) -> tuple[Variables, int]:
  """(what evaluation uses of a step, the step), laid out as `placed`.

  The newest whole step if it is None; the moving average where there is one.

  Raises:
    CheckpointError: if the step is missing or damaged, or shapes differ.
  """
  return _restore_best(directory, step, placed, '', '')


def _restore_best(
  directory: str | Path,
  step: int | None,
  placed: Variables,
  ending: str,
  who: str,
) -> tuple[Variables, int]:
  """As `restore_best`, of parts whose name has this ending."""
  folder, step = _whole(Path(directory).expanduser().absolute(), step, who)
  saved, version = _shapes(folder), _position(folder)['format']
  params, stats = 'params', 'stats'
  if any(key.startswith('average/') for key in saved):
    params, stats = 'average', 'average_stats' if version > 1 else 'stats'
  names = [
    name
    for name in placed.params
    if name.endswith(ending)
    and any(key.startswith(f'{params}/{name}/') for key in saved)
  ]
  if not names:
    raise CheckpointError(
      f'{who}{folder} has no {ending or "part"} of this task'
    )
  target = stored.to_text(
    {
      params: {name: placed.params[name] for name in names},
      stats: {name: placed.stats[name] for name in names},
    },
    version,
  )
  ours = tuple(f'{field}/{n}/' for field in (params, stats) for n in names)
  theirs = {k: v for k, v in saved.items() if k.startswith(ours)}
  if wrong := _differences(theirs, target):
    raise CheckpointError(
      f'{who}the {ending or "model"} of {folder} differs in {len(wrong)} '
      'arrays: ' + '; '.join(wrong[:5])
    )
  tree = stored.from_text(_read(folder, target, partial=True), version)
  return Variables(tree[params], tree[stats]), step


def _whole(directory: Path, step: int | None, who: str) -> tuple[Path, int]:
  """(folder, number) of a step that verifies, the newest one if it is None."""
  if step is None:
    step = integrity.newest_whole(directory)
    if step < 0:
      raise CheckpointError(f'{who}{directory} has no whole checkpoint')
  elif step not in integrity.steps(directory):
    raise _missing(directory, step)
  elif fault := integrity.damage(directory / str(step)):
    raise CheckpointError(f'{directory / str(step)} is damaged: {fault}')
  return directory / str(step), step


def _missing(directory: Path, step: int) -> CheckpointError:
  have = ', '.join(map(str, integrity.steps(directory))) or 'none'
  return CheckpointError(f'{directory} has no step {step}; it has {have}')
