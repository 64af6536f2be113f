"""Vectors of four classes around their centres, for tests."""

import numpy as np

from mrl_jax.embed.vectors import Vectors
from tests.samples.vectors import evidence_of

DIMS = (2, 6, 10)

CLASSES = np.array([-3, 5, 70_000, 2**40])


def shown(counts=(40, 30, 20, 2), asked=60, noise=1.0):
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(4, 10))
  sides = []
  for n in (np.array(counts), np.full(len(counts), asked // len(counts))):
    index = rng.permutation(np.repeat(np.arange(len(n)), n))
    x = centres[index] + noise * rng.normal(size=(len(index), 10))
    lengths = rng.uniform(0.1, 10, (len(index), 1))
    sides.append(Vectors((x * lengths).astype(np.float16), CLASSES[index]))
  return evidence_of(*sides, DIMS)


def unit(z):
  z = np.asarray(z, np.float64)
  return z / max(np.linalg.norm(z), 1e-12)
