"""A small problem of the nested softmax, and its answer by loops in numpy."""

import functools
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import nested
from mrl_jax.losses import softmax

DIMS = (4, 8, 32)
WEIGHTS = (2.0, 1.0, 0.5)


class Case(NamedTuple):
  """One classifier's arguments, as numpy arrays."""

  embedding: np.ndarray
  kernel: np.ndarray
  bias: np.ndarray
  scale: np.ndarray | None
  labels: np.ndarray
  shares: np.ndarray
  rows: np.ndarray
  dims: tuple = DIMS


def make(per_prefix=True, b=23, v=40, dtype=np.float64):
  """Two labels per row, random weights of rows; a scale and bias per prefix."""
  rng = np.random.default_rng(0)
  count, d = len(DIMS) if per_prefix else 1, DIMS[-1]
  return Case(
    embedding=rng.normal(size=(b, d)).astype(dtype),
    kernel=rng.normal(size=(d, v)).astype(dtype),
    bias=rng.normal(size=(count, v)).astype(dtype),
    scale=(2 + rng.normal(size=count)).astype(dtype) if per_prefix else None,
    labels=rng.integers(0, v, (b, 2)),
    shares=np.tile(np.asarray([0.7, 0.3], dtype), (b, 1)),
    rows=rng.uniform(size=b).astype(dtype),
  )


def naive(case, smoothing=0.0):
  """Losses [g b], one row at a time."""
  losses = np.zeros((len(case.dims), len(case.embedding)))
  for g, m in enumerate(case.dims):
    logits = case.embedding[:, :m] @ case.kernel[:m]
    logits = logits * (1 if case.scale is None else case.scale[g])
    logits = logits + case.bias[min(g, len(case.bias) - 1)]
    for i, row in enumerate(logits):
      target = np.full(len(row), smoothing / len(row))
      for label, share in zip(case.labels[i], case.shares[i]):
        target[label] += (1 - smoothing) * share
      top = row.max()
      log_p = row - top - np.log(np.exp(row - top).sum())
      losses[g, i] = -(target * log_p).sum()
  return losses


def run(case, form, smoothing=0.0, mesh=None, tile=None, sign=1):
  """((total, Loss), gradients of embedding, kernel, bias, scale)."""
  loss = softmax.Softmax(
    label_smoothing=smoothing, form=form, mesh=mesh, tile=tile
  )
  return step_of(loss, case.dims, sign)(*case[:-1])


def step_of(loss, dims, sign=1):
  """A compiled step: called again with the same shapes it runs at once."""
  weights = WEIGHTS[-len(dims) :]

  def total(embedding, kernel, bias, scale, labels, shares, rows):
    classifier = nested.Classifier(dims, kernel, bias, scale)
    result = loss(
      embedding,
      softmax.Targets([classifier], labels, shares),
      nested.Granularities(dims, jnp.asarray(weights)),
      rows,
    )
    return sign * result.total, result

  return jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))


@functools.cache
def reference(per_prefix, smoothing):
  """The reference form's answer to `make(per_prefix)` in float64."""
  with jax.enable_x64(True):
    return run(make(per_prefix), 'reference', smoothing)


@pytest.fixture
def small():
  """The functions above; tests of a folder share them."""
  return SimpleNamespace(
    make=make,
    naive=naive,
    run=run,
    step_of=step_of,
    reference=reference,
    dims=DIMS,
    weights=WEIGHTS,
  )
