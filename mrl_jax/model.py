"""The Python door: a trained model that embeds and classifies what you have.

  model = mrl_jax.load('runs/vit_mrl')
  vectors = model.embed('photos/', dim=16)

A model needs its run's folder, or one that `save` wrote, but not the data it
learned from.
"""

import concurrent.futures
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mrl_jax import (
  build,
  checkpoint,
  facts,
  nested,
  progress,
  sharding,
  state,
  stored,
  workdir,
)
from mrl_jax.config import to_json
from mrl_jax.contracts import Facts, Openable, Values
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Float, Int, PyTree
from mrl_jax.variables import Variables

FILE = 'model.safetensors'
THREADS = 8  # that decode


class Predictions(NamedTuple):
  """What a classifier says of n inputs.

  Attributes:
    labels: the likeliest class of each.
    names: their names.
    probabilities: of all classes.
  """

  labels: Int[np.ndarray, 'n']
  names: list[str]
  probabilities: Float[np.ndarray, 'n v']


def load(path: str | Path, step: int | None = None) -> 'Model':
  """The model in a run's folder, or in one that `Model.save` wrote.

  Args:
    step: of a run, the newest by default. Of a run that keeps a moving average
      of its variables, that is what is loaded.

  Raises:
    UsageError: if there is no such model, or its files do not fit together.
  """
  progress.quiet()
  folder = Path(path).expanduser()
  config = workdir.read_config(folder)
  config.mesh = ConfigDict({'data': -1, 'fsdp': 1, 'tensor': 1})
  known = facts.read(folder) or build.source_facts(config)
  parts = build.model(config, known)
  shapes = jax.eval_shape(parts.task.init, jax.random.key(0))
  placed = state.place(shapes, parts.mesh)
  if (folder / FILE).exists():
    if step is not None:
      raise UsageError(f'step={step}: {folder} is a saved model of one step')
    variables, step = _read(folder / FILE, placed)
  else:
    variables, step = checkpoint.restore_best(
      folder / 'checkpoints', step, placed
    )
  return Model(config, known, parts, variables, step)


class Model:
  """A trained model.

  Attributes:
    dims: the prefixes that were trained; any other may be asked for too.
    width: of the whole embedding.
    classes: names of what it tells apart, () for none.
    step: of training.
  """

  def __init__(
    self,
    config: ConfigDict,
    known: Facts,
    parts: build.Placed,
    variables: Variables,
    step: int,
  ):
    self.config, self.facts, self.parts = config, known, parts
    self.variables, self.step = variables, step
    self.dims = tuple(parts.task.dims)
    self.width = self.dims[-1]
    self.classes = known.classes
    self.field = parts.spec.field()
    self.input = parts.spec.inputs[self.field]
    where = sharding.replicated(parts.mesh)
    functions = parts.task.functions()
    self._embed = jax.jit(functions['embed'], out_shardings=where)
    self._logits = None
    if 'logits' in functions:
      self._logits = jax.jit(
        functions['logits'], static_argnames='dims', out_shardings=where
      )

  def __repr__(self) -> str:
    return f'Model(dims={self.dims}, step={self.step})'

  def open(self, inputs) -> Values:
    """The values in `inputs`, read when asked for; `names` has their names.

    A file, a folder, an array or a PIL image, or a list of them; which arrays
    is said at the input (`inputs.opened.open_images` for images).
    """
    if not isinstance(self.input, Openable):
      raise UsageError(f'the field {self.field} is not read from files')
    return self.input.open(inputs)

  def embed(
    self,
    inputs,
    dim: int | None = None,
    normalise: bool = True,
    batch_size: int = 256,
  ) -> Float[np.ndarray, 'n m']:
    """The embeddings of `inputs`, float32, a row each, in order.

    Args:
      inputs: see `open`.
      dim: of the prefix, the whole width by default.
      normalise: whether rows get the length 1, so that products are cosines.
      batch_size: embedded together. Fewer inputs are filled up to a power of
        two: the model is compiled once for each size of a batch.

    Raises:
      UsageError: for an input that cannot be read, or a `dim` out of range.
    """
    dim = self._checked(dim)
    rows = [np.zeros((0, self.width), np.float32)]
    rows += [
      np.asarray(self._embed(self.variables, batch))[:count]
      for batch, count in self._batches(self.open(inputs), batch_size)
    ]
    embeddings = np.concatenate(rows)
    if not normalise:
      return embeddings[:, :dim]
    return np.asarray(nested.unit(embeddings, dim))

  def classify(
    self, inputs, dim: int | None = None, batch_size: int = 256
  ) -> Predictions:
    """What the head says of `inputs` from a prefix of their embeddings.

    Raises:
      UsageError: as `embed`, and for a model that does not classify.
    """
    if self._logits is None:
      raise UsageError('this model has no head: it embeds, but cannot classify')
    dim = self._checked(dim)
    rows = [np.zeros((0, len(self.classes)), np.float32)]
    for batch, count in self._batches(self.open(inputs), batch_size):
      embeddings = self._embed(self.variables, batch)
      logits = self._logits(self.variables, embeddings, dims=(dim,))[0]
      rows.append(np.asarray(jax.nn.softmax(logits, axis=-1))[:count])
    probabilities = np.concatenate(rows)
    labels = probabilities.argmax(axis=1)
    names = [self.classes[label] for label in labels]
    return Predictions(labels, names, probabilities)

  def save(self, folder: str | Path) -> None:
    """Writes all that `load` needs into a new folder; nothing of the run.

    `model.safetensors` holds the variables by their names in checkpoints,
    beside `config.json` and `facts.json`.

    Raises:
      UsageError: if something is there already, or it cannot be written.
    """
    from safetensors.numpy import save

    folder = Path(folder).expanduser()
    if folder.exists():
      raise UsageError(f'{folder} exists; name a new folder')
    partial = folder.with_name(f'.{folder.name}.partial')
    try:
      shutil.rmtree(partial, ignore_errors=True)
      partial.mkdir(parents=True)
      text = to_json(self.config)
      (partial / 'config.json').write_text(text, encoding='utf-8')
      facts.write(partial, self.facts)
      arrays = jax.device_get(_flat(self.variables))
      step = {'step': str(self.step)}  # two keys would have no order
      (partial / FILE).write_bytes(save(arrays, step))
      partial.rename(folder)
    except OSError as error:
      raise UsageError(f'{folder} cannot be written: {error}') from error

  def _checked(self, dim: int | None) -> int:
    dim = self.width if dim is None else dim
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
      raise UsageError(f'dim={dim!r} must be a whole number')
    if not 1 <= dim <= self.width:
      trained = ', '.join(map(str, self.dims))
      raise UsageError(
        f'dim={dim} is not in 1 to {self.width}; trained are {trained}'
      )
    return int(dim)

  def _batches(self, values: Values, size: int) -> Iterator[tuple[PyTree, int]]:
    """(a batch on the devices, its count of real rows) of all values."""
    if size < 1:
      raise UsageError(f'batch_size={size} must be at least 1')
    devices = self.parts.mesh.size
    size = -(-size // devices) * devices
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
      for start in range(0, len(values), size):
        some = range(start, min(start + size, len(values)))
        read = list(pool.map(lambda i: self.input.evaluate(values[i]), some))
        count = len(read)
        room = size
        if len(values) < size:
          room = -(-(1 << (count - 1).bit_length()) // devices) * devices
        read += [read[0]] * (room - count)
        arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *read)
        batch = {self.field: arrays, 'mask': np.arange(room) < count}
        where = sharding.over_batch(self.parts.mesh)
        yield jax.device_put(batch, where), count


def _flat(variables: Variables) -> dict:
  """{'params/encoder/...': array}, as checkpoints name them."""
  tree = stored.to_text(variables._asdict())
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _read(path: Path, placed: Variables) -> tuple[Variables, int]:
  """(variables laid out as `placed`, their step) of a saved model."""
  from safetensors import SafetensorError, safe_open

  try:
    with safe_open(path, 'numpy') as file:
      step = int(file.metadata()['step'])
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  expected = _flat(placed)
  wrong = [
    f'{name}: {arrays[name].shape if name in arrays else "nothing"} where '
    f'{expected[name].shape if name in expected else "nothing"} is expected'
    for name in sorted(arrays.keys() | expected.keys())
    if name not in arrays
    or name not in expected
    or arrays[name].shape != expected[name].shape
  ]
  if wrong:
    raise UsageError(
      f'{path} does not fit its config, {len(wrong)} arrays differ: '
      + '; '.join(wrong[:5])
    )
  leaves, tree = jax.tree.flatten(stored.to_text(placed._asdict()))
  names = list(expected)
  filled = [
    jax.device_put(arrays[name], leaf.sharding)
    for name, leaf in zip(names, leaves)
  ]
  return Variables(**stored.from_text(jax.tree.unflatten(tree, filled))), step
