"""The nested contrastive losses as they are defined: slow, and the oracle.

  logits_m = scale_m * cosines(queries[:, :m], keys[:, :m]) + bias_m

and a loss of kinds.py on them, at every prefix.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh

from mrl_jax import nested
from mrl_jax.losses import tiles
from mrl_jax.losses.pairs.kinds import Kind, own_logits
from mrl_jax.shapes import Array, Bool, Float, Int


class Problem(NamedTuple):
  """The arrays of a contrastive loss.

  Attributes:
    queries, keys: key i belongs to query i.
    negatives: keys that belong to no query, None for none.
    scale: of the cosines, per prefix.
    bias: added to the logits, per prefix, None for 0.
    ids, negative_ids: of what each key shows, None for all different. A key
      with the id of a query's own key is left out for that query.
  """

  queries: Float[Array, 'b d']
  keys: Float[Array, 'b d']
  negatives: Float[Array, 'n d'] | None
  scale: Float[Array, 'g']
  bias: Float[Array, 'g'] | None
  ids: Int[Array, 'b'] | None
  negative_ids: Int[Array, 'n'] | None


class Setting(NamedTuple):
  """What is known before any array is.

  Attributes:
    dims: of the prefixes; the last is the width of queries and keys.
    kind: of loss.
    mesh: over which queries and keys are split, None for one device.
    tile: (queries, keys) of logits at a time, in the forms that have tiles.
  """

  dims: tuple[int, ...]
  kind: Kind
  mesh: Mesh | None
  tile: tuple[int, int]


def loss(
  problem: Problem,
  weights: Float[Array, 'g'],
  row_weights: Float[Array, 'b'],
  setting: Setting,
) -> nested.Loss:
  """The plain loss, nested by `nested.matryoshka`: a whole loss per prefix.

  Queries and keys are cut together, as one embedding.
  """
  b, left_out = len(problem.queries), pairs_left_out(problem)
  keys = every_key(problem)

  def plain(vectors, scale, bias):
    queries, keys = nested.unit(vectors[:b]), nested.unit(vectors[b:])
    cosines = jnp.matmul(queries, keys.T, precision='highest')
    logits = scale * cosines + bias
    losses = setting.kind.losses(logits, left_out)
    return losses, (losses, hits(logits, left_out))

  bias = jnp.zeros_like(problem.scale) if problem.bias is None else problem.bias
  wide = tiles.wide_type(problem.queries, keys)
  vectors = jnp.concatenate([problem.queries, keys]).astype(wide)
  nest = nested.matryoshka(plain, setting.dims, weights, has_aux=True)
  sums, (losses, correct) = nest(vectors, each=(problem.scale, bias))
  return nested.Loss(jnp.sum(row_weights * sums), losses, correct)


def every_key(problem: Problem) -> Float[Array, 'r d']:
  """The keys of the queries, then the others."""
  if problem.negatives is None:
    return problem.keys
  return jnp.concatenate([problem.keys, problem.negatives])


def pairs_left_out(problem: Problem) -> Bool[Array, 'b r']:
  """True for keys that show the same as a query's own key, which stays."""
  own = jnp.eye(len(problem.keys), len(every_key(problem)), dtype=bool)
  if problem.ids is None:
    return jnp.zeros_like(own)
  ids = problem.ids
  if problem.negative_ids is not None:
    ids = jnp.concatenate([ids, problem.negative_ids])
  return (problem.ids[:, None] == ids) & ~own


def hits(
  logits: Float[Array, '*g b r'], left_out: Bool[Array, 'b r']
) -> Bool[Array, '*g b']:
  """Whether the own key's logit is above all others; a tie is not a hit."""
  b, r = left_out.shape
  other = ~(jnp.eye(b, r, dtype=bool) | left_out)
  rival = jnp.max(jnp.where(other, logits, -jnp.inf), axis=-1)
  return own_logits(logits) > rival
