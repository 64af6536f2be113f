"""A small contrastive problem, and its answer by loops in numpy."""

import functools
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import nested
from mrl_jax.losses import pairs

D = 32
DIMS = (4, 8, 32)
WEIGHTS = (2.0, 1.0, 0.5)
KINDS = ['symmetric', 'one way', 'sigmoid']


class Case(NamedTuple):
  """Arguments of a loss, as numpy arrays; `keys` holds the negatives last."""

  queries: np.ndarray
  keys: np.ndarray
  scale: np.ndarray
  bias: np.ndarray
  ids: np.ndarray | None
  rows: np.ndarray


def make(negatives=16, repeats=True, per_prefix=True, b=23):
  """Queries near their keys, hard negatives, some keys that show the same."""
  rng = np.random.default_rng(0)
  queries, keys = rng.normal(size=(b, D)), rng.normal(size=(b + negatives, D))
  keys[:b] += queries
  count = len(DIMS) if per_prefix else 1
  return Case(
    queries,
    keys,
    scale=np.exp(1 + rng.normal(size=count)),
    bias=rng.normal(size=count) - 2,
    ids=rng.integers(0, b, b + negatives) if repeats else None,
    rows=rng.uniform(size=b),
  )


def make_loss(kind, **options):
  if kind == 'sigmoid':
    return pairs.Sigmoid(**options)
  return pairs.InfoNCE(symmetric=kind == 'symmetric', **options)


def run(kind, case, form, mesh=None, tile=None, sign=1):
  """((total, Loss), gradients of queries, keys, scale, bias)."""
  return step_of(kind, form, mesh, tile, sign)(*case)


def step_of(kind, form, mesh=None, tile=None, sign=1, dims=DIMS):
  """A compiled step: called again with the same shapes it runs at once."""
  loss = make_loss(kind, form=form, mesh=mesh, tile=tile)
  weights = WEIGHTS[-len(dims) :] if len(dims) <= 3 else (1.0,) * len(dims)

  def total(queries, keys, scale, bias, ids, rows):
    b = len(queries)
    targets = pairs.Targets(
      keys[:b],
      scale,
      bias if kind == 'sigmoid' else None,
      keys[b:],
      None if ids is None else ids[:b],
      ids[b:] if ids is not None and len(ids) > b else None,
    )
    granularities = nested.Granularities(dims, jnp.asarray(weights))
    result = loss(queries, targets, granularities, rows)
    return sign * result.total, result

  return jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))


def naive(kind, case):
  """(losses [g b], hits), one pair at a time."""
  queries, keys, scale, bias, ids, _ = case
  b, r = len(queries), len(keys)
  losses, hits = np.zeros((2, len(DIMS), b))
  for g, m in enumerate(DIMS):
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    logits = unit(queries[:, :m]) @ unit(keys[:, :m]).T
    logits = logits * scale[min(g, len(scale) - 1)]
    if kind == 'sigmoid':
      logits = logits + bias[min(g, len(bias) - 1)]
    used = np.ones((b, r), bool)
    if ids is not None:
      used = (ids[:b, None] != ids[None]) | np.eye(b, r, dtype=bool)
    for i in range(b):
      others = [logits[i, j] for j in range(r) if used[i, j] and j != i]
      hits[g, i] = logits[i, i] >= max(others, default=-np.inf)
      if kind == 'sigmoid':
        losses[g, i] = np.log1p(np.exp(-logits[i, i]))
        losses[g, i] += np.log1p(np.exp(others)).sum()
        continue
      row = np.log(np.exp(logits[i][used[i]]).sum()) - logits[i, i]
      column = np.log(np.exp(logits[:, i][used[:, i]]).sum()) - logits[i, i]
      losses[g, i] = (row + column) / 2 if kind == 'symmetric' else row
  return losses, hits.astype(bool)


def make_plain_or_full(plain):
  """No negatives, no repeats, one scale; or all of them."""
  return make(0 if plain else 16, repeats=not plain, per_prefix=not plain)


@functools.cache
def reference(kind, plain):
  """The reference form's answer in float64."""
  with jax.enable_x64(True):
    return run(kind, make_plain_or_full(plain), 'reference')


@pytest.fixture
def small():
  """The functions above; tests of a folder share them."""
  return SimpleNamespace(
    make=make,
    make_plain_or_full=make_plain_or_full,
    naive=naive,
    run=run,
    step_of=step_of,
    reference=reference,
    weights=WEIGHTS,
  )


@pytest.fixture(params=KINDS)
def kind(request):
  return request.param
