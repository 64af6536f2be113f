"""Inputs: one field of a record becomes arrays of a fixed shape.

A row here is a class that keeps contracts.Input; its options are the keys of
`config.inputs.<field>`. Only this folder knows images from other fields.
"""

from mrl_jax.inputs import image, text

INPUTS = {'image': image.Image, 'text': text.Text}
