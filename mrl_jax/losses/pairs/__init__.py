"""Contrastive losses at every prefix, for the cost of one.

Query i should find key i among all keys. A prefix is cut, then normalised.

Read reference.py for what is computed, kinds.py for how the losses differ,
api.py for how they are called, tiled.py for how they are made fast;
docs/losses.md explains the forms.
"""

from mrl_jax.losses.pairs.api import FORMS, InfoNCE, Sigmoid, Targets

__all__ = ['FORMS', 'InfoNCE', 'Sigmoid', 'Targets']
