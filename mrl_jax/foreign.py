"""Embeddings from files, ready to evaluate: eval.py --embeddings."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax import build, nested
from mrl_jax.config import UsageError, blame
from mrl_jax.contracts import Evaluator
from mrl_jax.embed import evidence, files, vectors


@dataclasses.dataclass(frozen=True)
class Frozen:
  """Embeddings, ready to evaluate into a folder of their own.

  Attributes:
    data: fingerprint of what is asked, whatever the vectors; '' where vectors
      of another model are other data.
    notes: sentences about the data.
  """

  folder: Path
  options: Mapping[str, Mapping]
  evaluators: Mapping[str, Evaluator]
  evidence: evidence.Evidence
  data: str = ''
  notes: tuple[str, ...] = ()


def vector_config(dims: str | None) -> dict:
  """The config of an evaluation without a run; `dims` like '8,16,32'."""
  words = dims.split(',') if dims else []
  if not all(word.strip().isdecimal() for word in words):
    raise UsageError(f'--dims={dims} must be whole numbers, like 8,16,32')
  return {'dims': tuple(int(word) for word in words)}


def read_side(path, labels, flags, names=(), codes=None) -> tuple:
  """What `files.read` returns; its errors name the flag."""
  try:
    return files.read(path, labels, names, codes)
  except files.LabelsError as error:
    raise UsageError(f'{flags[1]}: {error}') from error
  except ValueError as error:
    raise UsageError(f'{flags[0]}: {error}') from error


def frozen(config: ConfigDict, options) -> Frozen:
  """What eval.py --embeddings evaluates; `options` are its own."""
  evaluators = build.make_evaluators(config)
  database, names = read_side(
    options.embeddings,
    options.labels,
    ('--embeddings', '--labels'),
    codes=options.codes,
  )
  if options.ids:
    with blame('--ids'):
      database = files.with_ids(database, options.ids, options.embeddings)
  with blame('--queries'):
    if options.queries:
      known = names
      queries, names = read_side(
        options.queries,
        options.query_labels,
        ('--queries', '--query_labels'),
        known,
        options.codes,
      )
      files.check_sides(database, queries, bool(known))
      if options.query_ids:
        with blame('--query_ids'):
          queries = files.with_ids(queries, options.query_ids, options.queries)
    else:
      database, queries = vectors.hold_out(database, seed=config.seed)
  with blame('--dims'):
    width = database.embeddings.shape[1]
    dims = config.dims or nested.spaced(width)
    dims = nested.check_dims(dims, width, '--dims')
  with blame('--queries'):
    seen = evidence.of_vectors(
      database,
      queries,
      dims,
      build.evaluated_dims(config, dims),
      names,
      build.make_mesh(config),
    )
  stem = Path(options.embeddings.partition(':')[0]).stem
  folder = Path(options.output or f'runs/{stem}')
  return Frozen(folder, build.evaluator_options(config), evaluators, seen)
