"""Evaluators: evidence in, rows keyed by dimension out.

A row here is a class built as `Evaluator(**options)`, its options the keys of
`config.eval.<name>`. `needs` says what evidence it cannot do without, out of
'labels', 'head' and 'images'; `metrics` names what it reports at every dim, as
checkpoint.best writes it. `run(evidence)` returns (result rows, details):
details are JSON-able, empty if there are none, and stand in `<name>.json`.
"""

from mrl_jax.evaluators import knn, linear

EVALUATORS = {'linear': linear.Linear, 'knn': knn.KNN}
