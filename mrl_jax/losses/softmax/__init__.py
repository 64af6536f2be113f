"""Softmax cross entropy at every prefix, for the cost of one.

Read reference.py for what is computed, api.py for how it is called, tiled.py
for how it is made fast; docs/losses.md explains the forms.
"""

from mrl_jax.losses.softmax.api import FORMS, Softmax, Targets

__all__ = ['FORMS', 'Softmax', 'Targets']
