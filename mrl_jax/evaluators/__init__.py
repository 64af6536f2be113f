"""Evaluators: functions of a task and data in, rows keyed by dimension out.

A row here is a class built as `Evaluator(functions, data, dims, mesh,
**options)`, its options the keys of `config.eval.<name>`; `run(params, stats)`
returns result rows. `functions` are the task's `embed` and `logits`, `data`
gives batches per split; no evaluator sees a model.
"""

from mrl_jax.evaluators import knn, linear

EVALUATORS = {'linear': linear.Linear, 'knn': knn.KNN}
