"""Labelled vectors for probes, and the features that a probe sees of them."""

import numpy as np

from mrl_jax.embed.vectors import Vectors

DIMS = (3, 8, 16)

IDS = np.array([-5, 7, 70_000, 2**40])


def material(rows=300, seed=0, units=1.0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 4, rows)
  centres = np.random.default_rng(9).normal(size=(4, 16))
  x = (centres[labels] + rng.normal(size=(rows, 16)) + 0.5) * units
  return Vectors(x.astype(np.float32), IDS[labels])


def features(x, m):
  x = np.asarray(x, np.float64)[:, :m]
  return x / np.sqrt(np.mean(x**2)), np.sqrt(np.mean(x**2))
