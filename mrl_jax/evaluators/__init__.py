"""Evaluators: evidence in, rows keyed by dimension out.

A row here is a class built as `Evaluator(**options)`, its options the keys of
`config.eval.<name>`. `needs` says what evidence it cannot do without, in the
words of `Evidence.has`; `metrics` names what it reports at every dim, as
checkpoint.best writes it. `run(evidence)` returns (result rows, details):
details are JSON-able, empty if there are none, and stand in `<name>.json`.
An evaluator's own helpers stand beside it, in a folder of its name.
"""

from mrl_jax.evaluators import (
  agreement,
  baselines,
  calibration,
  cascade,
  classes,
  cosine,
  examples,
  few_shot,
  knn,
  linear,
  lost,
  margin,
  pairs,
  probe,
  retrieval,
  robustness,
  search,
  sets,
  stores,
)

EVALUATORS = {
  'linear': linear.Linear,
  'probe': probe.LinearProbe,
  'knn': knn.KNN,
  'retrieval': retrieval.Retrieval,
  'sets': sets.Sets,
  'cascade': cascade.Cascade,
  'margin': margin.Margin,
  'agreement': agreement.Agreement,
  'classes': classes.Classes,
  'calibration': calibration.Calibration,
  'few_shot': few_shot.FewShot,
  'robustness': robustness.Robustness,
  'cosine': cosine.Cosine,
  'baselines': baselines.Baselines,
  'search': search.Search,
  'stores': stores.Stores,
  'lost': lost.Lost,
  'examples': examples.Examples,
  'pairs': pairs.ScoredPairs,
}

# What most people ask; `--quick` runs these only, with these options.
QUICK = {
  'linear': {},
  'knn': {},
  'retrieval': {},
  'baselines': {'probe': False},
  'stores': {'indexes': False},
  'lost': {},
  'pairs': {},
}
