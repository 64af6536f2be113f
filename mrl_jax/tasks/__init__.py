"""Tasks: one way to learn each.

A row here is a class that keeps contracts.Task; its options are the keys of
`config.task`.
"""

from mrl_jax.tasks import classify, embed

TASKS = {'classify': classify.Classify, 'embed': embed.Embed}
