"""What evaluators look at: vectors of two splits, relevance, and answers.

Everything is made when first asked for, once, and kept; so evaluators share
one pass of the encoder over each split.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from mrl_jax import nested, sharding
from mrl_jax.embed import answers, probes, relevance, vectors
from mrl_jax.embed.answers import Answers
from mrl_jax.embed.relevance import Relevance
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Int

PAIRS = 100_000_000  # of queries and rows whose cosines fit into memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
  """The material of one evaluation.

  Attributes:
    dims: every dimension to evaluate, increasing, the last is the width.
    trained: those that were trained, or, of foreign vectors, `dims`.
    mesh: whose devices search and classify.
    make_database: () -> the vectors that are searched and that probes learn
      from: the training split.
    make_queries: () -> the vectors that every result is about: the validation
      split.
    names: of the classes, () if unknown.
    functions: what a task can do beyond that, by name. Any may be missing:
      'embed': f(records, start=, stop=) -> Vectors of a split or of records;
      'logits': f(embeddings [b d], dims) -> [g b v] of a trained head;
      'images': f(split, rows) -> uint8 [n h w c];
      'saliency': f(images, classes, dims) -> [g n h w] in [0, 1];
      'texts': f(side, rows) -> the texts of rows of 'queries' or 'database';
      'pairs': f() -> scored pairs, embed.scored.Scored;
      'sets': f() -> (name, evidence) of each judged set.
    relate: f(queries, database) -> Relevance; None for by class.
    labelled: whether both sides have labels; None if they must be made to
      tell.
  """

  dims: tuple[int, ...]
  trained: tuple[int, ...]
  mesh: Mesh
  make_database: Callable[[], Vectors]
  make_queries: Callable[[], Vectors]
  names: tuple[str, ...] = ()
  functions: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
  relate: Callable[[Vectors, Vectors], Relevance] | None = None
  labelled: bool | None = None

  @functools.cached_property
  def database(self) -> Vectors:
    return self.make_database()

  @functools.cached_property
  def queries(self) -> Vectors:
    return self.make_queries()

  @functools.cached_property
  def relevance(self) -> Relevance | None:
    """What each query should find; None without labels and `relate`."""
    relate = self.relate or relevance.by_class
    return relate(self.queries, self.database)

  @functools.cached_property
  def answers(self) -> Answers:
    """The trained head's answers to the queries, without one the probe's."""
    return self.classify(self.queries)

  @functools.cached_property
  def _probes(self) -> dict[probes.Options, probes.Probe]:
    return {}

  def probe(self, options: probes.Options = probes.DEFAULTS) -> probes.Probe:
    """A linear probe at every dim, fitted on the database once per options."""
    if options not in self._probes:
      self._probes[options] = probes.fit(self.database, self.dims, options)
    return self._probes[options]

  def classify(self, asked: Vectors) -> Answers:
    """Answers to any vectors, by the head or, without one, by the probe."""
    if 'logits' in self.functions:
      return answers.of_head(self.functions['logits'], asked, self.dims)
    return answers.of_probe(self.probe(), asked, self.dims)

  def has(self, *needs: str) -> bool:
    """Whether all needs are met; the first that is not ends the question.

    A need is 'labels', of both sides, 'query_labels', 'relevance' or the name
    of a function.
    """
    return all(self._has(need) for need in needs)

  def _has(self, need: str) -> bool:
    if self.labelled is not None:
      if need in ('query_labels', 'labels'):
        return self.labelled
      if need == 'relevance':
        return self.labelled or self.relate is not None
    if need == 'query_labels':
      return self.queries.labels is not None
    if need == 'labels':
      return self.has('query_labels') and self.database.labels is not None
    if need == 'relevance':
      return self.relevance is not None
    return need in self.functions

  def sample(
    self, random: np.random.Generator, rows: int, queries: int
  ) -> tuple[Vectors, Vectors, Relevance | None]:
    """(queries, database, relevance) with at most so many rows and queries.

    And with at most PAIRS pairs of them.
    """
    near = vectors.draw_rows(random, len(self.database), rows)
    queries = max(min(queries, PAIRS // len(near)), 1)
    asked = vectors.draw_rows(random, len(self.queries), queries)
    if isinstance(self.relevance, relevance.Judged):
      # What is judged stays, or there would be nothing to find.
      judged = self.relevance.at(asked).rows
      near = np.union1d(near, judged[judged >= 0])
    related = self.relevance and self.relevance.at(asked, near)
    return _some(self.queries, asked), _some(self.database, near), related


def _some(side: Vectors, rows: Int[np.ndarray, 'n']) -> Vectors:
  """The rows drawn; the side itself, perhaps mapped, where that is all."""
  return side if len(rows) == len(side) else side.at(rows)


def of_vectors(
  database: Vectors,
  queries: Vectors,
  dims: Sequence[int] = (),
  extra: Sequence[int] = (),
  names: Sequence[str] = (),
  mesh: Mesh | None = None,
  relate: Callable[[Vectors, Vectors], Relevance] | None = None,
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
    dims=nested.check_dims(sorted({*dims, *extra}), width, 'extra'),
    trained=dims,
    mesh=mesh or sharding.make_mesh(),
    make_database=lambda: database,
    make_queries=lambda: queries,
    names=tuple(names),
    relate=relate,
  )
