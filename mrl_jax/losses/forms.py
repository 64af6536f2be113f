"""Forms of a loss: equal numbers at other costs, and which one is taken."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jax.sharding import Mesh

from mrl_jax import nested, sharding

# Bytes of float32 logits per device that are simply made all at once. Measured
# on CPU (docs/results.md); elsewhere a share of memory that is never missed.
SMALL_BYTES = {'cpu': 4 << 20}
SMALL_BYTES_ELSEWHERE = 256 << 20


class Form(NamedTuple):
  """One way to compute a loss.

  Attributes:
    loss: (problem, weights [g], row weights [b], setting) -> nested.Loss.
    suits: (problem, setting) -> whether 'auto' takes the form.
  """

  loss: Callable[..., nested.Loss]
  suits: Callable[..., bool] = lambda problem, setting: True


def check(
  forms: Mapping[str, Form], form: str, tile: tuple[int, int] | None
) -> None:
  """Raises ValueError for an unknown form or a tile without entries."""
  if form != 'auto' and form not in forms:
    raise ValueError(f'form={form!r} must be one of auto, {", ".join(forms)}')
  if tile is not None and (len(tile) != 2 or min(tile) < 1):
    raise ValueError(f'tile={tile} must be two sizes of at least 1')


def choose(forms: Mapping[str, Form], form: str, problem, setting) -> str:
  """The form's name; for 'auto' the first one that suits the problem."""
  if form != 'auto':
    return form
  return next(
    name for name, one in forms.items() if one.suits(problem, setting)
  )


def are_small(logits: int, mesh: Mesh | None) -> bool:
  """Whether so many float32 logits of all devices may be made at once."""
  small = SMALL_BYTES.get(sharding.platform(mesh), SMALL_BYTES_ELSEWHERE)
  return 4 * logits / (mesh.size if mesh else 1) <= small


def if_several(mesh: Mesh | None) -> Mesh | None:
  """The mesh if it has several devices; one exchanges nothing."""
  return mesh if mesh and mesh.size > 1 else None
