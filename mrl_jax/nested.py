"""The idea: one embedding whose every prefix z[:m] is an embedding.

This file says what `dims` and their weights are, how prefixes are cut and
normalised, and how a loss becomes a Matryoshka loss (arXiv:2205.13147,
section 3). The rest of the project uses it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mrl_jax.granularity import Granularity
from mrl_jax.shapes import Array, Bool, Float, Key

AnyArray = TypeVar('AnyArray', jax.Array, np.ndarray)

# Under the root of a squared length. A zero vector stays zero and its gradient
# finite; a prefix of 1e-10 of its row's length is still scaled exactly.
EPSILON = 1e-30

PRESETS = {
  'uniform': (1.0,),
  '8boost': (2.0, 1.0),
  '8+16boost': (2.0, 1.5, 1.0),
}


class Loss(NamedTuple):
  """A nested loss.

  Attributes:
    total: sum over prefixes and rows of weight * row weight * loss; what is
      differentiated. Row weights are given beforehand, since the losses below
      have no gradients.
    losses: of each prefix and row, in nats, without gradients.
    hits: whether what the row should find scores above all else.
  """

  total: Float[Array, '']
  losses: Float[Array, 'g b']
  hits: Bool[Array, 'g b']

  def means(
    self, mask: Float[Array, 'b']
  ) -> tuple[Float[Array, 'g'], Float[Array, 'g']]:
    """(mean loss, share of hits) per prefix over rows whose mask is 1."""
    count = jnp.maximum(jnp.sum(mask), 1)
    losses = jnp.sum(self.losses * mask, axis=1) / count
    return losses, jnp.sum(self.hits * mask, axis=1) / count

  def metrics(
    self, dims: Sequence[int], mask: Float[Array, 'b']
  ) -> dict[str, Array]:
    """What training logs: the total, loss and accuracy of each prefix."""
    losses, accuracies = self.means(mask)
    metrics = {'loss': self.total}
    for m, loss, accuracy in zip(dims, losses, accuracies):
      name = Granularity(m).name
      metrics |= {f'loss/{name}': loss, f'accuracy/{name}': accuracy}
    return metrics


class Granularities(NamedTuple):
  """The sizes that a loss is summed over, and their weights.

  Attributes:
    dims: prefix widths, increasing.
    weights: of each in the sum, at least 0; may be drawn anew every step.
  """

  dims: tuple[int, ...]
  weights: Float[Array, 'g']


class Classifier(NamedTuple):
  """One kernel and the prefixes it classifies.

  logits_m = scale_m * (z[:m] kernel[:m]) + bias_m, for m in `dims`, which end
  at the kernel's width.

  Attributes:
    bias: one row for all prefixes, or one each.
    scale: of each prefix's products, None for 1.
  """

  dims: tuple[int, ...]
  kernel: Float[Array, 'm v']
  bias: Float[Array, 'h v']
  scale: Float[Array, 'g'] | None = None


def check_dims(
  dims: Sequence, width: int, name: str = 'dims'
) -> tuple[int, ...]:
  """`dims` as a tuple, once they increase strictly and end at `width`.

  Raises:
    ValueError: naming the value, the rule it broke and the fix.
  """
  said = f'{name}={tuple(dims)}'
  if not dims:
    raise ValueError(f'{said} is empty; name at least the width {width}')
  if not all(isinstance(m, (int, np.integer)) and m > 0 for m in dims):
    raise ValueError(f'{said} must hold whole numbers above 0')
  dims = tuple(int(m) for m in dims)
  if len(set(dims)) < len(dims):
    raise ValueError(f'{said} repeats a width; name each once')
  if dims != tuple(sorted(dims)) or dims[-1] != width:
    raise ValueError(f'{said} must increase and end at the width {width}')
  return dims


def halving(width: int, smallest: int = 8) -> tuple[int, ...]:
  """The paper's spacing: width, width/2, ... down to `smallest`, increasing."""
  dims = [width]
  while dims[-1] % 2 == 0 and dims[-1] // 2 >= smallest:
    dims.append(dims[-1] // 2)
  return tuple(reversed(dims))


def spaced(width: int) -> tuple[int, ...]:
  """`halving`, or, where that soon ends, powers of two from 8 to the width."""
  dims = halving(width)
  if dims[0] < 16 or width < 16:
    return dims
  powers = [2**i for i in range(3, width.bit_length()) if 2**i < width]
  return (*powers, width)


def dim_weights(
  weights: str | Sequence[float], dims: Sequence[int]
) -> tuple[float, ...]:
  """One loss weight per prefix, from a preset's name or from numbers.

  Presets (arXiv:2205.13147, table 27): `uniform` (1, 1, ...), `8boost`
  (2, 1, 1, ...), `8+16boost` (2, 1.5, 1, ...); the last entry repeats.

  Raises:
    ValueError: for an unknown preset, another length, or a negative weight.
  """
  if isinstance(weights, str):
    if weights not in PRESETS:
      raise ValueError(
        f'weights={weights!r} is not a preset; choose one of '
        f'{", ".join(PRESETS)}, or give {len(dims)} numbers'
      )
    preset = PRESETS[weights]
    return tuple(preset[min(g, len(preset) - 1)] for g in range(len(dims)))
  if len(weights) != len(dims):
    raise ValueError(
      f'weights={tuple(weights)} has {len(weights)} entries for '
      f'{len(dims)} dims {tuple(dims)}; give one per dim'
    )
  if any(w < 0 for w in weights) or not any(w > 0 for w in weights):
    raise ValueError(
      f'weights={tuple(weights)} must be at least 0, and one of them above 0'
    )
  return tuple(float(w) for w in weights)


def blocks(dims: Sequence[int]) -> tuple[slice, ...]:
  """The disjoint slices between consecutive dims: [0:8), [8:16), [16:32) ..."""
  return tuple(slice(a, b) for a, b in zip((0, *dims[:-1]), dims))


def _prefix_masks(
  dims: Sequence[int], width: int | None = None
) -> Bool[Array, 'g d']:
  """True where a coordinate belongs to the prefix, one row per prefix."""
  width = dims[-1] if width is None else width
  return jnp.arange(width)[None, :] < jnp.asarray(dims)[:, None]


def prefixes(
  embedding: Float[Array, 'b d'], dims: Sequence[int]
) -> Float[Array, 'g b d']:
  """The embedding once per prefix, zero beyond it."""
  masks = _prefix_masks(dims, embedding.shape[-1])
  return jnp.where(masks[:, None, :], embedding, 0)


def unit(
  x: Float[AnyArray, '*b d'], dim: int | None = None
) -> Float[AnyArray, '*b m']:
  """x[..., :dim] at length 1: first cut, then normalise; float32 or wider.

  NumPy in, NumPy out; JAX in, JAX out. A zero prefix stays zero, with finite
  gradients (see EPSILON).
  """
  xp = jnp if isinstance(x, jax.Array) else np
  prefix = xp.asarray(x[..., :dim], xp.promote_types(x.dtype, xp.float32))
  if xp is np:  # in one pass, without an array of squares
    squares = np.vecdot(prefix, prefix)[..., None]
  else:
    squares = jnp.sum(prefix * prefix, axis=-1, keepdims=True)
  return prefix / xp.sqrt(squares + xp.asarray(EPSILON, prefix.dtype))


def prefix_norms(
  embedding: Float[Array, 'b d'], dims: Sequence[int]
) -> Float[Array, 'g b']:
  """The length of every prefix, from one pass; that of zeros is tiny."""
  wide = embedding.astype(jnp.promote_types(embedding.dtype, jnp.float32))
  return jnp.sqrt(prefix_sums(wide**2, dims) + EPSILON)


def prefix_sums(
  values: Float[Array, 'b d'], dims: Sequence[int]
) -> Float[Array, 'g b']:
  """The sum of every prefix: a thin product with the masks.

  In full precision, and with a gradient that is such a product too; slices
  of blocks would be copied, and their gradients joined again.
  """
  masks = _prefix_masks(dims, values.shape[-1]).astype(values.dtype)
  return jnp.matmul(masks, values.T, precision='highest')


def prefix_products(
  left: Float[Array, 'b d'], right: Float[Array, 'd v'], dims: Sequence[int]
) -> Float[Array, 'g b v']:
  """z[:m] @ W[:m] at every prefix, for the matmuls of the widest alone.

  P_g = P_{g-1} + z[block_g] W[block_g]: each block between dims is multiplied
  once and running sums give every prefix.
  """
  # Added one by one: cumsum over a stack takes a CPU five times longer.
  products: list[Array] = []
  for block in blocks(dims):
    part = left[:, block] @ right[block]
    products.append(products[-1] + part if products else part)
  return jnp.stack(products)


def matryoshka(
  loss_fn: Callable,
  dims: Sequence,
  weights: str | Sequence[float] | Float[Array, 'g'] | None = None,
  *,
  has_aux: bool = False,
) -> Callable:
  """`loss_fn(embedding, *rest)` as the weighted sum over prefixes of it.

  `loss_fn` returns one loss per row. The returned function vmaps it over
  copies of the embedding that are zero beyond each prefix (arXiv:2205.13147,
  eq. 1) and returns the sum for each row. It is right for losses to which a
  zero coordinate is an absent one: linear heads, inner products, normalised
  similarities. It is wrong for a LayerNorm after the cut.

  All prefixes share `*rest`. Arrays in `each=` have one entry per prefix;
  `loss_fn` gets its entry after the rest. With `has_aux`, `loss_fn` returns
  (losses, aux), and the returned function (sums, aux of every prefix).

  Raises:
    ValueError: unless dims increase and, once the loss is called, end at the
      width of the embedding.
  """
  dims = check_dims(dims, dims[-1] if len(dims) else 0)
  if not isinstance(weights, jax.Array | np.ndarray):
    weights = dim_weights('uniform' if weights is None else weights, dims)

  def nested_loss(embedding, *rest, each=()):
    def one(prefix, entries):
      result = loss_fn(prefix, *rest, *entries)
      return result if has_aux else (result, None)

    cut = prefixes(embedding, check_dims(dims, embedding.shape[-1]))
    losses, aux = jax.vmap(one)(cut, each)
    sums = jnp.tensordot(jnp.asarray(weights, losses.dtype), losses, axes=1)
    return (sums, aux) if has_aux else sums

  return nested_loss


def random_subset(
  key: Key[Array, ''], weights: Float[Array, 'g'], count: int
) -> Float[Array, 'g']:
  """Weights with all but `count` prefixes set to 0, drawn uniformly, in jit.

  The widest prefix is always kept. The kept weights are scaled so that the
  expected total loss is that of all prefixes: by (g - 1) / (count - 1) for
  the drawn ones. `count=0` keeps everything.

  Raises:
    ValueError: if `count` is neither 0 nor between 2 and g.
  """
  total = len(weights)
  if count in (0, total):
    return weights
  if not 2 <= count < total:
    raise ValueError(
      f'dims_per_step={count} must be 0 (all) or from 2 to {total}'
    )
  order = jax.random.permutation(key, total - 1)
  drawn = (order < count - 1) * ((total - 1) / (count - 1))
  return weights * jnp.append(drawn.astype(weights.dtype), 1)
