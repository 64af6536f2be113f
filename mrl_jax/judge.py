"""A model, or vectors on disk, on a judged set or on scored pairs of texts.

  python eval.py --model=FOLDER --retrieval=FOLDER
  python eval.py --model=FOLDER --pairs=FILE

Each text is encoded once, at full width; every dimension is a prefix of that.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mrl_jax import build, evaluation, foreign, nested, schema
from mrl_jax import model as door
from mrl_jax.config import blame
from mrl_jax.contracts import Drawable
from mrl_jax.data import judged, scored
from mrl_jax.embed import evidence, files, fingerprint, kept, relevance
from mrl_jax.embed.scored import Scored
from mrl_jax.embed.vectors import Vectors
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Float

# The fields of models that put other words before queries than before passages.
QUERY, DOCUMENT = 'query', 'document'
GROUPS = ('inputs.', 'encoder.', 'task.')  # of the config: what an encoder does


class _Question(NamedTuple):
  """What is asked of some vectors; `data` is a fingerprint without these."""

  evidence: evidence.Evidence
  data: str
  notes: tuple[str, ...]


class _Missing(NamedTuple):
  """Ids that no vector has, what they name, and what follows."""

  ids: Sequence[str] = ()
  noun: str = ''
  effect: str = ''

  def question(self, given, seen: evidence.Evidence) -> _Question:
    """The question that is left."""
    if not self.ids:
      return _Question(seen, given.fingerprint, ())
    note = (
      f'{len(self.ids):,} {self.noun} have no vector, such as {self.ids[0]!r}: '
      f'{self.effect}.'
    )
    data = fingerprint.of_words([given.fingerprint, list(self.ids)])
    return _Question(seen, data, (note,))


class _Texts(NamedTuple):
  """Texts that a model encodes; `about` is their fingerprint."""

  texts: Sequence[str]
  names: Sequence[str]
  about: str
  field: str


def ready(config: ConfigDict, options) -> foreign.Frozen:
  """What eval.py --retrieval or --pairs evaluates; `options` are its own.

  Vectors of a model are made here, into the folder of the evaluation, unless
  they are there already.

  Raises:
    UsageError: for files and models that cannot be used, in one line.
  """
  evaluators = build.make_evaluators(config)
  if options.pairs:
    evaluators = {
      name: kind for name, kind in evaluators.items() if 'pairs' in kind.needs
    }
    if not evaluators:
      raise UsageError(
        f'nothing to evaluate: of {", ".join(config.eval.only)} none is about '
        'pairs'
      )
  given: Any
  if options.pairs:
    given = scored.read(options.pairs, ids=not options.model)
  else:
    given = judged.read(options.retrieval)
  folder = Path(options.output or _folder(options, given.name)).expanduser()
  evaluation.check_output(folder)
  ask = _pairs if options.pairs else _retrieval
  question = ask(config, options, given, folder)
  return foreign.Frozen(
    folder,
    build.evaluator_options(config),
    evaluators,
    question.evidence,
    question.data,
    (*given.notes, *question.notes),
  )


def _folder(options, name: str) -> Path:
  """Where the evaluation goes by default; `name` is that of the question."""
  source = options.model or options.embeddings
  if not isinstance(source, str | Path):
    return Path('runs') / f'model-{name}'
  words = str(source).removeprefix('hf:').partition('@')[0]
  if options.model:
    stem = Path(words).expanduser().resolve().name
  else:
    stem = Path(words.partition(':')[0]).stem
  return Path('runs') / f'{stem}-{name}'


class _Encoder:
  """A model that writes the vectors of texts into a folder.

  Attributes:
    dims: that are evaluated.
  """

  def __init__(self, config: ConfigDict, options, folder: Path):
    if jax.process_count() > 1:
      raise UsageError('--model is judged by one process; start it once')
    given = options.model
    known = isinstance(given, str | Path)
    self.model: Any = door.load(given, options.step) if known else given
    field = self.field()
    if isinstance(self.model.parts.spec.inputs[field], Drawable):
      raise UsageError(
        f'--model={given} embeds the field {field!r}, which is not '
        'text; name a model of texts'
      )
    self.folder, self.fresh = folder / 'vectors', options.fresh
    width, dims = self.model.width, self.model.dims
    with blame('--dims'):
      dims = dims if len(dims) > 1 else nested.spaced(width)
      self.dims = nested.check_dims(config.dims or dims, width, '--dims')
    values = schema.essence(self.model.config).items()
    # Variables say what was read from `weights`, wherever it lay.
    says = {k: v for k, v in values if k.startswith(GROUPS)}
    says.pop('encoder.weights', None)
    self.about = [says, fingerprint.of_variables(self.model.variables)]

  def field(self, name: str = '') -> str:
    """The field of this name if the model has it, else its first."""
    fields = self.model.fields
    return name if name in fields else fields[0]

  def encode(
    self, sides: Mapping[str, _Texts]
  ) -> dict[str, Float[np.ndarray, 'n d']]:
    """The vectors of each side, mapped from its file."""
    stores = {
      name: kept.KeptVectors(
        self.folder / f'{name}.npy',
        fingerprint.of_words([*self.about, side.about, side.field]),
        (len(side.texts), self.model.width),
      )
      for name, side in sides.items()
    }
    for store in stores.values():  # nothing is written where one is of others
      if self.fresh:
        store.clear()
      store.done()
    return {
      name: store.fill(
        sides[name].texts, self._embed(sides[name]), sides[name].names
      )
      for name, store in stores.items()
    }

  def _embed(self, side: _Texts) -> Callable:
    def embed(texts, rows) -> None:
      self.model.embed(texts, field=side.field, normalise=False, out=rows)

    return embed


def _evidence(config: ConfigDict, database, queries, dims, **more):
  """The evidence of two sides without classes."""
  with blame('--queries'):
    seen = evidence.of_vectors(
      database,
      queries,
      dims,
      build.evaluated_dims(config, dims),
      mesh=build.make_mesh(config),
    )
  return dataclasses.replace(seen, labelled=False, **more)


def _retrieval(config: ConfigDict, options, given, folder: Path) -> _Question:
  """Queries that search a corpus."""
  if options.model:
    encoder = _Encoder(config, options, folder)
    sides = {
      'queries': (given.queries, QUERY),
      'corpus': (given.corpus, DOCUMENT),
    }
    rows = encoder.encode(
      {
        name: _Texts(texts, texts.ids, texts.fingerprint, encoder.field(field))
        for name, (texts, field) in sides.items()
      }
    )
    queries = Vectors(rows['queries'], ids=given.queries.ids)
    database = Vectors(rows['corpus'], ids=given.corpus.ids)
    dims, missing = encoder.dims, _Missing()
  else:
    queries, database, missing = _matched(options, given)
    dims = _dims(config, database)
  asked: dict = {name: given.qrels[name] for name in _ids(queries)}
  whole = {
    'queries': (queries, given.queries),
    'database': (database, given.corpus),
  }
  seen = _evidence(
    config,
    database,
    queries,
    dims,
    relate=lambda *sides: relevance.by_judgement(asked, *sides),
    functions={'texts': _texts(whole)},
  )
  with blame('--retrieval'):  # at once, not after a search
    _ = seen.relevance
  return missing.question(given, seen)


def _pairs(config: ConfigDict, options, given, folder: Path) -> _Question:
  """Pairs of texts that are more or less alike."""
  first, second, missing = given.first, given.second, _Missing()
  if options.model:
    encoder = _Encoder(config, options, folder)
    texts = list(dict.fromkeys([*first, *second]))
    about = fingerprint.of_words(texts)
    asked = {'texts': _Texts(texts, texts, about, encoder.field())}
    embeddings, dims = encoder.encode(asked)['texts'], encoder.dims
    places = {text: i for i, text in enumerate(texts)}
  else:
    side = _side(options, 'embeddings', 'ids')
    embeddings, dims = side.embeddings, _dims(config, side)
    places = _places(side, '--ids')
    missing = _Missing(
      [name for name in dict.fromkeys([*first, *second]) if name not in places],
      'sides of pairs',
      'these pairs are left out',
    )
  known = [
    i
    for i, pair in enumerate(zip(first, second))
    if all(name in places for name in pair)
  ]
  scores = given.scores[known]
  if len(known) < scored.LEAST or (scores == scores[:1]).all():
    raise UsageError(
      f'--ids: {options.ids} names both sides of {len(known):,} of '
      f'{len(first):,} pairs, too few for a correlation; {options.pairs} '
      f'names {first[0]!r}'
    )
  one, other = (
    Vectors(embeddings[[places[side[i]] for i in known]])
    for side in (first, second)
  )
  pairs = Scored(one, other, scores)
  functions = {'pairs': lambda: pairs}
  seen = _evidence(config, other, one, dims, functions=functions)
  return missing.question(given, seen)


def _dims(config: ConfigDict, side: Vectors) -> tuple[int, ...]:
  """The dims of vectors on disk."""
  width = side.embeddings.shape[1]
  with blame('--dims'):
    dims = config.dims or nested.spaced(width)
    return nested.check_dims(dims, width, '--dims')


def _side(options, flag: str, ids_flag: str) -> Vectors:
  """Vectors out of a file, with ids that are text."""
  path, ids = getattr(options, flag), getattr(options, ids_flag)
  side, _ = foreign.read_side(path, None, (f'--{flag}', ''), (), options.codes)
  if ids:
    with blame(f'--{ids_flag}'):
      side = files.with_ids(side, ids, path)
  if side.ids is None:
    raise UsageError(
      f'--{flag}={path} has no ids; name a file with one per row: --{ids_flag}'
    )
  return dataclasses.replace(side, ids=side.ids.astype(str))


def _places(side: Vectors, flag: str) -> dict[str, int]:
  """The row of each id.

  Raises:
    UsageError: for an id of two rows.
  """
  places: dict[str, int] = {}
  for row, name in enumerate(_ids(side)):
    if places.setdefault(name, row) != row:
      raise UsageError(
        f'{flag}: rows {places[name]} and {row} have one id, {name!r}; each '
        'needs one of its own'
      )
  return places


def _ids(side: Vectors) -> list[str]:
  return np.asarray(side.ids).tolist()


def _matched(options, given) -> tuple[Vectors, Vectors, _Missing]:
  """(queries, database, texts without vectors) of vectors on disk.

  Queries are in the order of the set; rows of ids that it lacks are left out.
  """
  database = _side(options, 'embeddings', 'ids')
  queries = _side(options, 'queries', 'query_ids')
  with blame('--queries'):
    files.check_sides(database, queries, False)
  places = _places(queries, '--query_ids')
  asked = [name for name in given.queries.ids.tolist() if name in places]
  rows = _places(database, '--ids')
  wanted = set(given.corpus.ids.tolist())
  known = np.array([i for name, i in rows.items() if name in wanted], np.int64)
  for flag, found, side, texts in (
    ('query_ids', asked, queries, given.queries),
    ('ids', known, database, given.corpus),
  ):
    if not len(found):
      raise UsageError(
        f'--{flag} names none of the {len(texts):,} texts of '
        f'{options.retrieval}: it has {side.name(0)!r}, the set '
        f'{texts.ids[0].item()!r}'
      )
  absent = {
    'passage': wanted.difference(rows),
    'query': set(given.queries.ids.tolist()).difference(asked),
  }  # a passage and a query may share an id
  missing = _Missing(
    [f'{side} {one}' for side, of in absent.items() for one in sorted(of)],
    'texts of the set',
    'queries are left out, and passages count as not found',
  )
  if len(known) < len(database):  # else it stays mapped
    database = database.at(known)
  return queries.at(np.array([places[q] for q in asked])), database, missing


def _texts(whole: Mapping[str, tuple]) -> Callable:
  """f(side, rows) -> the texts of some rows of the vectors of a side."""
  numbers: dict[str, dict[str, int]] = {}

  def texts(side: str, rows: Sequence[int]) -> list[str]:
    vectors, stored = whole[side]
    if side not in numbers:
      numbers[side] = {name: i for i, name in enumerate(stored.ids.tolist())}
    names = [vectors.name(row) for row in rows]
    return [stored[numbers[side][name]] for name in names]

  return texts
