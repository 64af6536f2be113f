"""The Python door: a trained model that embeds and classifies what you have.

  model = mrl_jax.load('runs/vit_mrl')
  vectors = model.embed('photos/', dim=16)

A model needs its run's folder, or one that `save` wrote, but not the data it
learned from.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mrl_jax import (
  build,
  checkpoint,
  facts,
  nested,
  pretrained,
  progress,
  saved,
  schema,
  sharding,
  state,
  workdir,
)
from mrl_jax.contracts import Facts, Openable, Values
from mrl_jax.embed import windows
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Float, Int
from mrl_jax.variables import Variables


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
  """The model of a run, one that `Model.save` wrote, or one of others.

  Args:
    path: a folder, or what `pretrained.read` takes: a folder of transformers,
      sentence-transformers or model2vec, or hf:OWNER/NAME.
    step: of a run, the newest by default. Of a run that keeps a moving average
      of its variables, that is what is loaded.

  Raises:
    UsageError: if there is no such model, or its files do not fit together.
  """
  progress.quiet()
  if pretrained.is_foreign(path):
    return _imported(path, step)
  folder = Path(path).expanduser()
  config = workdir.read_config(folder)
  known = facts.read(folder) or build.source_facts(config)
  parts, placed = _built(config, known)
  if (folder / saved.FILE).exists():
    _check_step(step, folder)
    variables, step = saved.read_variables(folder / saved.FILE, placed)
  else:
    variables, step = checkpoint.restore_best(
      folder / 'checkpoints', step, placed
    )
  return Model(config, known, parts, variables, step)


def _imported(where: str | Path, step: int | None) -> 'Model':
  """A model that others trained."""
  _check_step(step, where)
  imported = pretrained.read(where)
  config = schema.complete(imported.config)
  known = Facts({field: {} for field in config.inputs})
  parts, placed = _built(config, known)
  return Model(config, known, parts, imported.variables(placed), 0)


def _built(config: ConfigDict, known: Facts) -> tuple:
  """(the parts of a model on all devices, where its variables belong)."""
  config.mesh = ConfigDict({'data': -1, 'fsdp': 1, 'tensor': 1})
  parts = build.model(config, known)
  shapes = jax.eval_shape(parts.task.init, jax.random.key(0))
  return parts, state.place(shapes, parts.mesh)


def _check_step(step: int | None, where: str | Path) -> None:
  if step is not None:
    raise UsageError(f'step={step}: {where} is a saved model of one step')


class Model:
  """A trained model.

  Attributes:
    dims: the prefixes that were trained; any other may be asked for too.
    width: of the whole embedding.
    classes: names of what it tells apart, () for none.
    step: of training.
    fields: what its inputs may be; the first is usual. The others are encoded
      alike after a preparation of their own, as texts with another prompt.
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
    inputs = parts.spec.inputs
    self.field = getattr(parts.task, 'field', '') or parts.spec.field()
    others = [
      name
      for name, other in inputs.items()
      if type(other) is type(inputs[self.field]) and name != self.field
    ]
    self.fields = (self.field, *others)
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

  def open(self, inputs, field: str = '') -> Values:
    """The values in `inputs`, read when asked for; `names` has their names.

    Of images a file, a folder, an array or a PIL image, or a list of them: see
    `inputs.opened.open_images`. Of texts a string, a list of them, or a file:
    see `inputs.texts.open_texts`.
    """
    an_input = self._input(field)
    if not isinstance(an_input, Openable):
      raise UsageError(f'the field {self.field} is not read from files')
    return an_input.open(inputs)

  def embed(
    self,
    inputs,
    dim: int | None = None,
    normalise: bool = True,
    batch_size: int = 256,
    field: str = '',
    out: Float[np.ndarray, 'n m'] | None = None,
  ) -> Float[np.ndarray, 'n m']:
    """The embeddings of `inputs`, float32, a row each, in order.

    Args:
      inputs: see `open`.
      dim: of the prefix, the whole width by default.
      normalise: whether rows get the length 1, so that products are cosines.
      batch_size: embedded together. Fewer inputs are filled up to a power of
        two. The model is compiled once for each size of a batch and, for
        texts, for each of their fixed lengths.
      field: one of `fields`, the first by default.
      out: an array that gets the rows and is returned, such as a mapped file.

    Raises:
      UsageError: for an input that cannot be read, or an argument out of its
        range.
    """
    dim, values = self._checked(dim), self.open(inputs, field)
    if out is None:
      out = np.empty((len(values), dim), np.float32)
    if out.shape != (len(values), dim):
      raise UsageError(
        f'out has the shape {out.shape}; it must be {(len(values), dim)}'
      )
    done, counter = 0, progress.Counter(len(values), 'rows')
    for rows, batch in self._embedded(values, field, batch_size):
      vectors = nested.unit(batch, dim) if normalise else batch[:, :dim]
      out[rows] = np.asarray(vectors)[: len(rows)]
      done += len(rows)
      counter.tell(done)
    return out

  def classify(
    self, inputs, dim: int | None = None, batch_size: int = 256
  ) -> Predictions:
    """What the head says of `inputs` from a prefix of their embeddings.

    Raises:
      UsageError: as `embed`, and for a model that does not classify.
    """
    if self._logits is None:
      raise UsageError('this model has no head: it embeds, but cannot classify')
    dim, values = self._checked(dim), self.open(inputs)
    probabilities = np.empty((len(values), len(self.classes)), np.float32)
    for rows, batch in self._embedded(values, '', batch_size):
      logits = self._logits(self.variables, batch, dims=(dim,))[0]
      shares = np.asarray(jax.nn.softmax(logits, axis=-1))
      probabilities[rows] = shares[: len(rows)]
    labels = probabilities.argmax(axis=1)
    names = [self.classes[label] for label in labels]
    return Predictions(labels, names, probabilities)

  def save(self, folder: str | Path) -> None:
    """Writes all that `load` needs into a new folder; nothing of the run.

    `model.safetensors` holds the variables by their names in checkpoints,
    beside `config.json`, `facts.json` and the tokenizer of a model of texts.

    Raises:
      UsageError: if something is there already, or it cannot be written.
    """
    saved.write_model(
      Path(folder).expanduser(),
      self.config,
      self.facts,
      self.variables,
      self.step,
    )

  def _input(self, field: str) -> Any:
    """What makes arrays of the values of a field."""
    if field and field not in self.fields:
      raise UsageError(
        f'field={field!r} is not one of {", ".join(self.fields)}'
      )
    return self.parts.spec.inputs[field or self.field]

  def _embedded(
    self, values: Values, field: str, size: int
  ) -> Iterator[tuple[Int[np.ndarray, 'n'], Float[jax.Array, 'b d']]]:
    """(rows of the values, embeddings of their batch) of all values.

    The devices work on a batch while the one before is used.
    """
    before = None
    for rows, batch in windows.batches(
      values, self._input(field), self.field, size, self.parts.mesh
    ):
      coming = rows, self._embed(self.variables, batch)
      if before is not None:
        yield before
      before = coming
    if before is not None:
      yield before

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
