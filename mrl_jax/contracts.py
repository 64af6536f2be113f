"""What each piece of a run must offer.

A source yields records. An input turns one field of a record into arrays. A
task learns from batches of such arrays, through its encoders. An evaluator
asks a question about what the task has learned. To add a piece, write a class
that keeps one of these contracts and add a row to the table of its folder:
docs/adding.md shows how.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax import nnx

from mrl_jax.shapes import Array, Float, Int, Key, PyTree, UInt8
from mrl_jax.variables import Part, Variables

Record = Mapping[str, Any]
"""Raw fields by name: 'image' uint8 [h w c], 'label' int, 'text' str, ..."""

Batch = Mapping[str, Any]
"""Arrays by field (or mappings of arrays), rows first, and a float 'mask'.

A row of mask 0 fills the batch up and counts for nothing.
"""


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known of a source without reading its records.

  Attributes:
    fields: what an input must know of each raw field, such as
      {'image': {'channels': 3}}. They become arguments of the input.
    classes: the names that the field 'label' indexes, () if there is none.
    fingerprint: of the records, '' if nobody took one.
  """

  fields: Mapping[str, Mapping[str, Any]]
  classes: tuple[str, ...] = ()
  fingerprint: str = ''


@runtime_checkable
class Source(Protocol):
  """Where records come from.

  Attributes:
    train, validation: records, read at random. They may have `ids`, a name
      each, which exports and reports show.
    facts: what is known of the records without reading them.
  """

  @property
  def train(self) -> Sequence[Record]: ...

  @property
  def validation(self) -> Sequence[Record]: ...

  @property
  def facts(self) -> Facts: ...


@runtime_checkable
class Input(Protocol):
  """One field of a record as arrays of a fixed shape.

  Built as `Input(**options, **facts)`: options are the keys of
  `config.inputs.<field>`, facts are what the source says of the field.

  Attributes:
    shape: of one example, without data: a ShapeDtypeStruct or a mapping of
      them.
    facts: what an encoder must know of these arrays, such as
      {'image_size': (28, 28), 'channels': 1}. They become its arguments.

  An input may keep `Openable`, `Sized`, `Drawable` and `Mixable` too. Its class
  may have `files`, a mapping from each option that names a file to a function
  of the option that returns the file's path: a model keeps copies of them.
  """

  shape: PyTree
  facts: Mapping[str, Any]

  def train(self, value: Any, rng: np.random.Generator) -> PyTree:
    """The arrays of one value for training, on the host."""
    ...

  def evaluate(self, value: Any) -> PyTree:
    """The arrays of one value for evaluation, on the host; no randomness."""
    ...

  def on_device(self, arrays: PyTree) -> PyTree:
    """The arrays that the encoder takes, from those of a batch; inside jit."""
    ...


@runtime_checkable
class Values(Protocol):
  """Values that are read when they are asked for.

  Attributes:
    names: of each: its path, or its number.
  """

  names: Sequence[str]

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Any: ...


@runtime_checkable
class Openable(Protocol):
  """An input that takes what a person has, not only what a source yields."""

  def open(self, given: Any) -> Values:
    """The values in what is given (a file, a folder, a list ...), in order."""
    ...


@runtime_checkable
class Sized(Protocol):
  """An input whose examples have a length, and padding behind it.

  Its arrays have the maximal length. Batches are cut to one of a few lengths,
  so that few shapes are compiled.

  Attributes:
    sizes: the lengths that batches are cut to, increasing; the last is the
      maximal one.
  """

  sizes: tuple[int, ...]

  def size(self, arrays: PyTree) -> Int[np.ndarray, '...']:
    """The length of each example of the arrays: [b], or a number for one."""
    ...

  def cut(self, arrays: PyTree, size: int) -> PyTree:
    """The arrays of a batch, or of one example, without what is beyond."""
    ...

  def evaluate_all(self, values: Sequence) -> PyTree:
    """The arrays of several values as `evaluate` makes them, stacked."""
    ...


@runtime_checkable
class Drawable(Protocol):
  """An input whose examples a person can look at."""

  def show(self, value: Any) -> UInt8[np.ndarray, 'h w c']:
    """A picture of the example."""
    ...

  def draw_map(
    self, scores: Float[Array, 'g b n'], grid: tuple[int, int]
  ) -> Float[Array, 'g b h w']:
    """Maps in [0, 1] of the example, from one score per cell of a grid."""
    ...


@runtime_checkable
class Mixable(Protocol):
  """An input whose examples can be averaged, for mixup."""

  def mix(
    self,
    arrays: PyTree,
    labels: Int[Array, 'b'],
    alpha: float,
    key: Key[Array, ''],
  ) -> tuple[PyTree, Int[Array, 'b 2'], Float[Array, 'b 2']]:
    """Each example mixed with another: arrays, both labels, their shares."""
    ...


@runtime_checkable
class Encoder(Protocol):
  """An nnx.Module that turns what its input gives into embeddings.

  Built as `Encoder(**options, **facts, rngs=rngs)`: options are the keys of
  `config.encoder`, facts those of the input.

  Attributes:
    width: d of its embeddings.

  An encoder may keep `Looking` too.
  """

  width: int

  def __call__(
    self, arrays: PyTree, *, train: bool = False, key: Any = None
  ) -> Float[Array, 'b d']:
    """Embeddings, float32, not normalised. `key` is for dropout."""
    ...


@runtime_checkable
class Looking(Protocol):
  """An encoder that keeps apart the places of an example, for saliency.

  Attributes:
    grid: the number of rows and columns of places.
  """

  grid: tuple[int, int]

  def tokens(self, arrays: PyTree) -> Float[Array, 'b n d']:
    """One vector per token; the last prod(grid) tokens are the places."""
    ...

  def from_tokens(self, tokens: Float[Array, 'b n d']) -> Float[Array, 'b d']:
    """The embedding that these tokens lead to."""
    ...


@dataclasses.dataclass(frozen=True)
class Spec:
  """What a task is told of its data and its encoder.

  Attributes:
    inputs: of each field of a batch that has one.
    classes: the names of the labels, () if the data has none.
    encoder: f(**facts, rngs=) -> the encoder of the config.
  """

  inputs: Mapping[str, Input]
  classes: tuple[str, ...]
  encoder: Callable[..., nnx.Module]

  def field(self, name: str = '') -> str:
    """`name`, or, for '', the only field.

    Raises:
      ValueError: for an unknown name, or for '' if there are several fields.
    """
    known = ', '.join(self.inputs)
    if name and name not in self.inputs:
      raise ValueError(f'field={name!r} is not one of the inputs: {known}')
    if not name and len(self.inputs) != 1:
      raise ValueError(f'the inputs are {known}; choose one by `field`')
    return name or next(iter(self.inputs))

  def tower(self, field: str, encoder: Callable | None = None) -> Part:
    """An encoder of one field: the config's, unless another is given."""
    make = encoder or self.encoder
    facts = self.inputs[field].facts
    return Part(lambda rngs: make(**facts, rngs=rngs))


@runtime_checkable
class Task(Protocol):
  """One way to learn. It builds its encoders, heads and losses.

  Built as `Task(spec, dims, weights, mesh, **options)`: options are the keys
  of `config.task`. An option that is chosen from a table (a head, a loss, a
  second encoder) has a row in the class attribute `choices`.

  Attributes:
    dims: the prefixes that are trained.

  Its variables have one key per part. Parts whose name ends in 'encoder' are
  what `init_from` takes from another run.
  """

  dims: tuple[int, ...]

  def init(self, key: Key[Array, '']) -> Variables:
    """Fresh variables."""
    ...

  def loss(
    self, variables: Variables, batch: Batch, key: Key[Array, '']
  ) -> tuple[Float[Array, ''], tuple[PyTree, dict]]:
    """(loss, (new statistics, metrics)), means over the batch.

    The metrics have the key 'loss'; those of a prefix end in its
    granularity's name: 'loss/d8'.
    """
    ...

  def functions(self) -> Mapping[str, Callable]:
    """What evaluators may ask for, by name; all take `variables` first.

    embed(variables, batch) -> [b d], not normalised. Every task has it.
    embed_key(variables, batch) -> [b d]: what the embeddings of `embed`
      should find, if that is another field.
    logits(variables, embedding [b d], dims) -> [g b v].
    saliency(variables, batch, classes [b], dims) -> [g b h w] in [0, 1].
    """
    ...


@runtime_checkable
class Evaluator(Protocol):
  """One question about embeddings.

  Built as `Evaluator(**options)`: options are the keys of
  `config.eval.<name>`.

  Attributes:
    needs: what it cannot do without, names that `evidence.has` knows: keys of
      the task's functions, 'images', 'labels', 'query_labels', 'relevance'.
    metrics: what it reports at every dim, as `checkpoint.best` names it.
  """

  needs: tuple[str, ...]
  metrics: tuple[str, ...]

  def run(self, evidence: Any) -> tuple[list, dict]:
    """(result rows, details); details are JSON-able, for tables and charts."""
    ...
