"""Tasks: one way to learn each, `init`, `loss` and what evaluators call.

A row here is a class whose options are the keys of `config.task`.
"""

from mrl_jax.tasks import classify

TASKS = {'classify': classify.Classify}
