"""What evaluators look at: vectors of two splits and a classifier's answers.

Everything is made when first asked for, once, and kept; so evaluators share
one pass of the encoder over each split.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mrl_jax import nested, sharding
from mrl_jax.embed import probes
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Float, Int

BEST = 5  # classes kept of every answer
ROWS_AT_ONCE = 1024  # classified together: [g rows v] logits are alive


@dataclasses.dataclass(frozen=True)
class Answers:
  """What a classifier says of each query at each of `dims`.

  Attributes:
    classes: the best few classes, best first.
    confidence: probability of the best one, the maximum of the softmax.
    labels: what is true.
    by: who answered, for people: 'linear head' or 'linear probe'.
  """

  dims: tuple[int, ...]
  classes: Int[np.ndarray, 'g q k']
  confidence: Float[np.ndarray, 'g q']
  labels: Int[np.ndarray, 'q']
  by: str

  @property
  def right(self) -> Bool[np.ndarray, 'g q']:
    return self.classes[..., 0] == self.labels

  def at(self, dims: Sequence[int]) -> 'Answers':
    """The same answers at some of the dims only."""
    index = [self.dims.index(m) for m in dims]
    return dataclasses.replace(
      self,
      dims=tuple(dims),
      classes=self.classes[index],
      confidence=self.confidence[index],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
  """The material of one evaluation.

  Attributes:
    dims: every dimension to evaluate, increasing, the last is the width.
    trained: those that were trained, or, of foreign vectors, `dims`.
    mesh: whose devices search and classify.
    embed: f(split) -> Vectors of 'train' or 'validation'; of a task it takes
      other examples {'image', 'label'} too, and start= and stop= rows.
    names: of the classes, () if unknown.
    logits: f(embeddings [b d], dims) -> [g b v] of a trained head, or None.
    images: f(split, rows) -> [n h w c] uint8, or None for foreign vectors.
    saliency: f(images, classes, dims) -> [g n h w] in [0, 1], or None.
  """

  dims: tuple[int, ...]
  trained: tuple[int, ...]
  mesh: Mesh
  make_database: Callable[[], Vectors]
  make_queries: Callable[[], Vectors]
  names: tuple[str, ...] = ()
  functions: dict = dataclasses.field(default_factory=dict)
  relate: Callable | None = None

  @property
  def embed(self):
    return self.functions['embed']

  @property
  def logits(self):
    return self.functions.get('logits')

  @property
  def images(self):
    return self.functions.get('images')

  @property
  def saliency(self):
    return self.functions.get('saliency')

  @functools.cached_property
  def database(self) -> Vectors:
    """The training split: searched, and what probes learn from."""
    return self.make_database()

  @functools.cached_property
  def queries(self) -> Vectors:
    """The validation split: what every result is about."""
    return self.make_queries()

  @functools.cached_property
  def head(self) -> Answers:
    """The trained head's answers to the queries; only if `logits` is there."""
    return self.classify(self.queries)

  @functools.cached_property
  def answers(self) -> Answers:
    """The head's answers, of foreign vectors those of a linear probe."""
    return self.head if self.logits else self.classify(self.queries)

  @functools.cached_property
  def fitted(self) -> dict:
    return {}

  def probe(self, **options) -> probes.Probe:
    """A linear probe at every dim, fitted on the database; see probes.fit."""
    key = tuple(sorted(options.items()))
    if key not in self.fitted:
      self.fitted[key] = probes.fit(self.database, self.dims, **options)
    return self.fitted[key]

  def classify(self, vectors: Vectors) -> Answers:
    """Answers to any vectors, by the head or, without one, by the probe."""
    logits = self.logits or self.probe().logits
    classes, confidence = decide(logits, vectors.embeddings, self.dims)
    if self.logits is None:  # a probe's columns are the classes it has seen
      classes = self.probe().classes[classes]
    by = 'linear head' if self.logits else 'linear probe'
    return Answers(self.dims, classes, confidence, vectors.labels, by)

  def has(self, *needs: str) -> bool:
    """True if all of 'labels', 'head', 'images' that are named are there."""
    there = {
      'labels': lambda: (
        self.queries.labels is not None and self.database.labels is not None
      ),
      'logits': lambda: self.logits is not None,
      'images': lambda: self.images is not None,
    }
    return all(there[need]() for need in needs)


def of_vectors(
  database: Vectors,
  queries: Vectors,
  dims: Sequence[int] = (),
  extra: Sequence[int] = (),
  names: Sequence[str] = (),
  mesh: Mesh | None = None,
) -> Evidence:
  """The evidence of embeddings that are not ours.

  `dims` are nested.spaced(width) unless given; `extra` are evaluated
  too, and marked as not trained. Without a mesh all devices are used.

  Raises:
    ValueError: if dims do not increase to the width, or an extra exceeds it.
  """
  width = database.embeddings.shape[1]
  if queries.embeddings.shape[1] != width:
    raise ValueError(
      f'the queries are {queries.embeddings.shape[1]} wide, the embeddings '
      f'{width}; both must come from one model'
    )
  dims = nested.check_dims(dims or nested.spaced(width), width)
  return Evidence(
    dims=tuple(sorted({*dims, *extra})),
    trained=dims,
    mesh=mesh or sharding.make_mesh(),
    make_database=lambda: database,
    make_queries=lambda: queries,
    names=tuple(names),
  )


def decide(logits: Callable, embeddings, dims) -> tuple:
  """(best classes [g q k], confidence [g q]) of logits, in chunks of rows."""
  parts = []
  for start in range(0, len(embeddings), ROWS_AT_ONCE):
    rows = np.asarray(embeddings[start : start + ROWS_AT_ONCE])
    full = np.pad(rows, ((0, ROWS_AT_ONCE - len(rows)), (0, 0)))
    found = jax.device_get(best_and_confidence(logits(full, dims)))
    parts.append([part[:, : len(rows)] for part in found])
  return tuple(np.concatenate(part, axis=1) for part in zip(*parts))


@jax.jit
def best_and_confidence(scores: Float[jax.Array, 'g b v']) -> tuple:
  """Best classes, of equal ones the smaller first, and the best's softmax."""
  scores = scores.astype(jnp.float32)
  best = jax.lax.top_k(scores, min(BEST, scores.shape[-1]))[1]
  confidence = jnp.max(jax.nn.softmax(scores, axis=-1), axis=-1)
  return best, confidence
