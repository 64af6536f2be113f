"""Matryoshka Representation Learning in JAX/Flax (arXiv:2205.13147)."""

__version__ = '0.1.0'
