"""What evaluators look at in a run: its splits, and sets that judge it."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from mrl_jax import sharding
from mrl_jax.contracts import Facts, Input
from mrl_jax.data import feed, source
from mrl_jax.data.judged import JudgedSet
from mrl_jax.embed import encode, evidence, relevance, vectors
from mrl_jax.errors import UsageError
from mrl_jax.variables import Variables


def maker(
  parts, batches: feed.Feed, dims, sets: Sequence[JudgedSet] = ()
) -> Callable[[Variables], evidence.Evidence]:
  """A function variables -> evidence; each function is compiled once.

  `parts` are the task of the run and the mesh, `build.Placed`.
  """
  where = sharding.replicated(parts.mesh)
  functions = dict(parts.task.functions())
  of_sets = _Sets(parts, batches, sets, functions) if sets else None
  embed = encode.Embedder(functions.pop('embed'), batches, parts.mesh)
  key = functions.pop('embed_key', None)
  embed_key = key and encode.Embedder(key, batches, parts.mesh)
  compiled = {
    name: jax.jit(function, static_argnames='dims', out_shardings=where)
    for name, function in functions.items()
  }
  shown = batches.shown

  def make(variables: Variables) -> evidence.Evidence:
    bound: dict[str, Callable] = {
      name: functools.partial(function, variables)
      for name, function in compiled.items()
    }
    bound['embed'] = functools.partial(embed, variables)
    if of_sets:
      bound['sets'] = functools.partial(of_sets, dims, variables)
    if shown:
      bound['images'] = batches.images
    if 'saliency' in compiled:
      bound['saliency'] = lambda images, classes, dims: compiled['saliency'](
        variables, {shown: images}, classes, dims
      )
    database, relate = functools.partial(embed, variables, 'train'), None
    if embed_key:
      database = functools.partial(embed_key, variables, 'validation')
      relate = relevance.by_pair
    return evidence.Evidence(
      dims=dims,
      trained=parts.task.dims,
      mesh=parts.mesh,
      make_database=database,
      make_queries=functools.partial(embed, variables, 'validation'),
      names=parts.spec.classes,
      functions=bound,
      relate=relate,
      labelled=bool(parts.spec.classes),
    )

  return make


def check_texts(sets: Sequence[JudgedSet], inputs: Mapping[str, Input]) -> None:
  """Raises UsageError unless every field of a run can be a text of the sets."""
  for field, an_input in inputs.items() if sets else ():
    try:
      an_input.evaluate(sets[0].queries[0])
    except Exception as error:  # any input's own kind
      raise UsageError(
        f'eval.retrieval_sets is for runs on text, and the field {field!r} '
        f'cannot be one ({error})'
      ) from error


class _Sets:
  """Evidence of judged sets, whose texts become arrays once.

  A text stands in every field; each tower reads its own.
  """

  def __init__(
    self,
    parts,
    batches: feed.Feed,
    sets: Sequence[JudgedSet],
    functions: Mapping[str, Callable],
  ):
    self.parts, self.inputs, self.sets = parts, batches.inputs, sets
    nothing = source.Split((), (), Facts({}))
    inputs = {f: _passing(it) for f, it in batches.inputs.items()}
    ready = feed.Feed(nothing, inputs, parts.mesh, batches.loading)
    ready.poll = lambda: batches.poll()  # which is set later
    self.towers = {
      side: encode.Embedder(tower, ready, parts.mesh)
      for side, tower in (
        ('queries', functions['embed']),
        ('corpus', functions.get('embed_key', functions['embed'])),
      )
    }
    self.records: dict[tuple[str, str], list[dict]] = {}

  def __call__(
    self, dims: Sequence[int], variables: Variables
  ) -> Iterator[tuple[str, evidence.Evidence]]:
    """(name, evidence) of each set."""
    for one in self.sets:
      queries, database = (
        self._vectors(variables, one, side) for side in ('queries', 'corpus')
      )
      yield (
        one.name,
        evidence.of_vectors(
          database,
          queries,
          self.parts.task.dims,
          dims,
          mesh=self.parts.mesh,
          relate=functools.partial(relevance.by_judgement, one.qrels),
        ),
      )

  def _vectors(
    self, variables: Variables, one: JudgedSet, side: str
  ) -> vectors.Vectors:
    """The vectors of one side of a set."""
    texts, key = getattr(one, side), (one.name, side)
    if key not in self.records:
      self.records[key] = [
        {field: it.evaluate(text) for field, it in self.inputs.items()}
        for text in texts
      ]
    made = self.towers[side](variables, self.records[key])
    return dataclasses.replace(made, labels=None, ids=texts.ids)


def _passing(an_input: Input) -> Input:
  """The input for values that are its arrays already."""
  passing: Any = copy.copy(an_input)
  passing.evaluate = lambda arrays: arrays
  return passing
