"""The report on embeddings, from Python: `mrl_jax.evaluate`."""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mrl_jax import evaluation, foreign, judge, progress, schema
from mrl_jax.errors import UsageError
from mrl_jax.report import headline, results
from mrl_jax.rows import Row


class Report(NamedTuple):
  """What `evaluate` has found.

  Attributes:
    values: by flat name, like 'knn/top1/d8'.
    page: the report, to be opened in a browser.
    rows: the result rows, each with its interval.
    decision: which store to deploy, in `text`, with `why` and `status`; empty
      where `stores` did not run, or classes do not tell dimensions apart.
  """

  values: dict[str, float]
  page: Path
  rows: list[Row]
  decision: Mapping[str, Any]


def evaluate(
  embeddings=None,
  labels=None,
  queries=None,
  query_labels=None,
  output: str | Path = '',
  only: Sequence[str] = (),
  fresh: bool = False,
  **options,
) -> Report:
  """The report on anybody's vectors or model, as `eval.py` writes it.

  Args:
    embeddings: [n d] numbers, or the path of a file; None with a `model`.
    labels: of each row a whole number or a word, or the path of a file.
    queries, query_labels: vectors that search; by default some rows are held
      out for it.
    output: the folder that is written, by default runs/vectors or
      runs/<model>-<set>; what is done there is kept.
    only: names of evaluators, () for all.
    fresh: whether what is done is done anew, and an evaluation of other
      vectors cleared.
    options: `model` (a path, or what `load` returned), `retrieval` and `pairs`
      (the paths of a judged set or of scored pairs), `dims`, `codes`, `ids` and
      `query_ids` as eval.py takes them, and keys of the config, like
      **{'eval.stores.keep': 0.9}.

  Raises:
    UsageError: for what cannot be used, in one line.
  """
  progress.quiet()
  sides = embeddings, labels, queries, query_labels
  given = dict(zip(('embeddings', 'labels', 'queries', 'query_labels'), sides))
  given |= {name: options.pop(name, None) for name in ('ids', 'query_ids')}
  words = ('model', 'retrieval', 'pairs', 'dims', 'codes')
  chosen = {name: options.pop(name, None) for name in words}
  _check(given, chosen)
  config = _config(
    chosen.pop('dims'), {'eval.only': only} if only else {}, options
  )
  asked = chosen['retrieval'] or chosen['pairs']
  output = output or ('' if asked else 'runs/vectors')
  with tempfile.TemporaryDirectory() as folder:
    paths = {name: _path(it, folder, name) for name, it in given.items()}
    choices = argparse.Namespace(
      **paths, **chosen, step=None, fresh=fresh, output=str(output)
    )
    make = judge.ready if asked else foreign.frozen
    frozen = make(config, choices)
    return _report(frozen, fresh)


def _report(frozen: foreign.Frozen, fresh: bool) -> Report:
  values = evaluation.of_vectors(frozen, fresh)
  place = frozen.folder / 'eval' / '0'
  seen = results.read_evaluation(place, frozen.folder)
  decision = {} if headline.undecided(seen.rows) else seen.decision
  return Report(values, place / 'report.html', list(seen.rows), decision)


def _config(dims, *changes: Mapping) -> ConfigDict:
  """The config of an evaluation, with keys like 'eval.stores.keep' set."""
  config = foreign.vector_config(_word(dims) if dims else None)
  words = [
    f'--config.{key}={_word(value)}'
    for changed in changes
    for key, value in changed.items()
  ]
  return schema.resolve(config, words)


def _check(given: Mapping, chosen: Mapping) -> None:
  """Raises UsageError unless one thing is asked of one source of vectors."""
  asked = [name for name in ('retrieval', 'pairs') if chosen[name]]
  sources = [given['embeddings'], chosen['model']]
  if sum(source is not None for source in sources) != 1:
    raise UsageError('evaluate: give embeddings or a model, one of them')
  if len(asked) > 1 or (chosen['model'] is not None and not asked):
    raise UsageError('evaluate: a model needs retrieval or pairs, one of them')
  if asked and (given['labels'] is not None):
    raise UsageError(f'evaluate: {asked[0]} says what is right; drop labels')
  if asked == ['retrieval'] and not sources[1] and given['queries'] is None:
    raise UsageError('evaluate: retrieval needs the vectors of its queries')


def _path(value, folder: str, name: str) -> str | None:
  """The path of a file that is given, or of an array that is saved first."""
  if value is None or isinstance(value, str | Path):
    return None if value is None else str(value)
  path = Path(folder) / f'{name}.npy'
  np.save(path, np.asarray(value), allow_pickle=False)
  return str(path)


def _word(value) -> str:
  """A value of a config as the command line says it."""
  if isinstance(value, list | tuple):
    return ','.join(map(str, value))
  return str(value)
