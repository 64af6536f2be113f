"""Embeds without learning: what a model that was trained elsewhere does."""

from collections.abc import Callable, Mapping, Sequence

from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.contracts import Batch, Spec
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Array, Float, Key
from mrl_jax.variables import Part, Variables, init_parts


class Embed:
  """One encoder of one field, and nothing to learn.

  Args:
    spec: the inputs and the encoder.
    dims: prefixes of the embedding.
    weights: of a loss, which there is not.
    mesh: where batches and parameters lie; jit decides.
    field: that is embedded, '' for the first one.

  Raises:
    ValueError: for dims that do not end at the encoder's width.
  """

  def __init__(
    self,
    spec: Spec,
    dims: Sequence[int],
    weights: Sequence[float],
    mesh: Mesh | None = None,
    *,
    field: str = '',
  ):
    del weights, mesh
    self.field = spec.field(field or next(iter(spec.inputs)))
    self.input = spec.inputs[self.field]
    self.parts: dict[str, Part] = {'encoder': spec.tower(self.field)}
    width = self.parts['encoder'].shapes.width
    self.dims = nested.check_dims(dims, width)

  def init(self, key: Key[Array, '']) -> Variables:
    """Fresh variables of the encoder."""
    return init_parts(self.parts, key)

  def loss(self, variables: Variables, batch: Batch, key: Key[Array, '']):
    """Raises UsageError: this task learns nothing."""
    raise UsageError(
      "task.name='embed' learns nothing; to train, choose a task that does, "
      'such as classify'
    )

  def functions(self) -> Mapping[str, Callable]:
    """embed alone."""
    return {'embed': self.embed}

  def embed(self, variables: Variables, batch: Batch) -> Float[Array, 'b d']:
    """Full-width embeddings, not normalised, float32."""
    encoder = self.parts['encoder'].module(variables.part('encoder'))
    return encoder(self.input.on_device(batch[self.field]))
