"""The variables of a model, and its modules as functions of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
from flax import nnx

from mrl_jax.shapes import Array, Key, PyTree


class Variables(NamedTuple):
  """Parameters and statistics; they always travel together.

  Nested dicts of arrays, with one key per part of the model ('encoder',
  'head', ...). Lists of layers have whole numbers as keys, so that they keep
  their order beyond ten.

  Attributes:
    params: what the optimizer changes.
    stats: what the forward pass changes, running means among them. Often
      empty.
  """

  params: PyTree
  stats: PyTree

  def part(self, name: str) -> 'Variables':
    """The variables of one part of the model."""
    return Variables(self.params[name], self.stats[name])


def join(parts: Mapping[str, Variables]) -> Variables:
  """The variables of a model from those of its parts."""
  return Variables(
    {name: part.params for name, part in parts.items()},
    {name: part.stats for name, part in parts.items()},
  )


class Part:
  """One module of a model, as functions of its variables.

  Attributes:
    shapes: the module with shapes in place of arrays; it knows the sizes.
  """

  def __init__(self, make: Callable[[nnx.Rngs], nnx.Module]):
    self.make = make
    self.shapes: Any = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    self.graph = nnx.graphdef(self.shapes)

  def init(self, key: Key[Array, '']) -> Variables:
    """Fresh variables."""
    module = self.make(nnx.Rngs(cast(jax.Array, key)))
    params, stats = nnx.state(module, nnx.Param, nnx.Not(nnx.Param))
    return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(stats))

  def module(self, variables: Variables) -> Any:
    """The module with these variables in it."""
    return nnx.merge(self.graph, variables.params, variables.stats)


def init_parts(parts: Mapping[str, Part], key: Key[Array, '']) -> Variables:
  """Fresh variables of a model; each part is drawn with another key."""
  return join(
    {
      name: part.init(jax.random.fold_in(key, index))
      for index, (name, part) in enumerate(parts.items())
    }
  )


def stats_of(module: nnx.Module) -> PyTree:
  """The statistics of a module, after a forward pass the changed ones."""
  return nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.Param)))
