"""Judged sets: queries, a corpus, and which passages each query should find.

The layout is that of BEIR (`corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`),
or of NanoBEIR and the Hugging Face hub (the same names as Parquet files, or as
folders of them).
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrl_jax.data import tables, texts
from mrl_jax.data.texts import StoredTexts
from mrl_jax.errors import UsageError

TEXTS = ('.jsonl', '.jsonl.gz', '.parquet')
TABLES = ('.tsv', '.tsv.gz', '.txt')
SPLITS = (
  'test',
  'dev',
  'validation',
  'val',
  'train',
)  # the first that is there
COLUMNS = {
  'query': ('query-id', 'query_id', 'qid'),
  'passage': ('corpus-id', 'corpus_id', 'doc_id', 'docid', 'pid'),
  'grade': ('score', 'relevance', 'label'),
}

Judgements = dict[str, dict[str, float]]
"""Grades by query id, then by passage id."""


@dataclasses.dataclass(frozen=True)
class JudgedSet:
  """What a model should find, and for what.

  Attributes:
    name: of its folder.
    queries: those that are judged.
    corpus: all passages.
    qrels: of queries that are there; passages may be unknown, and grades 0 or
      below, which is not relevant.
    notes: sentences about what is odd.
  """

  name: str
  queries: StoredTexts
  corpus: StoredTexts
  qrels: Judgements
  notes: tuple[str, ...]

  @property
  def fingerprint(self) -> str:
    """Of all ids, texts and judgements, in whatever kind of file."""
    words = [self.queries.fingerprint, self.corpus.fingerprint, self.qrels]
    text = json.dumps(words, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=texts.BYTES).hexdigest()


def read(folder: str | Path) -> JudgedSet:
  """The judged set of a folder.

  Raises:
    UsageError: naming the file, and the line, of what cannot be used.
  """
  folder = Path(folder).expanduser()
  if not folder.is_dir():
    raise UsageError(
      f'{folder} is not a folder; name one with corpus.jsonl, queries.jsonl '
      'and qrels.tsv in it'
    )
  corpus_files = _files(folder, 'corpus')
  query_files = _files(folder, 'queries')
  judgement_files, notes = _judgement_files(folder)
  qrels = _judgements(judgement_files)
  queries = texts.read(query_files, ('text',), qrels)
  if not len(queries) + queries.left:
    raise UsageError(f'{query_files[0]} holds no queries')
  if not len(queries):
    raise UsageError(
      f'{judgement_files[0]} judges none of the queries in {query_files[0]}: '
      f'it has the query id {next(iter(qrels))!r}; ids must be the same'
    )
  if queries.empty:
    raise UsageError(
      f'{query_files[0]}: the query {queries.empty[0]!r} has an empty text '
      f'({len(queries.empty):,} such); remove it, or its judgements'
    )
  corpus = texts.read(corpus_files, ('title', 'text'))
  if not len(corpus):
    raise UsageError(f'{corpus_files[0]} holds no passages')
  known = {name: qrels[name] for name in queries.ids.tolist()}
  if queries.left:
    notes.append(
      f'{queries.left:,} of {queries.left + len(queries):,} queries have no '
      'judgements: they are left out.'
    )
  notes += _oddities(qrels, known, corpus, judgement_files[0])
  return JudgedSet(folder.resolve().name, queries, corpus, known, tuple(notes))


def read_all(folders: Sequence[str | Path]) -> tuple[JudgedSet, ...]:
  """The judged sets of several folders.

  Raises:
    UsageError: as `read`, and if two have one name.
  """
  sets = tuple(read(folder) for folder in folders)
  names = [one.name for one in sets]
  if len(set(names)) < len(names):
    raise UsageError(
      f'the judged sets {", ".join(map(str, folders))} share a name; name each '
      'folder in its own way'
    )
  return sets


def _files(folder: Path, name: str) -> list[Path]:
  """The files of one side; several are parts."""
  for end in TEXTS:
    if (path := folder / f'{name}{end}').is_file():
      return [path]
  parts = sorted((folder / name).glob('*.parquet'))
  parts = parts or sorted(folder.glob(f'{name}-*-of-*.parquet'))
  if not parts:
    raise UsageError(
      f'{folder} has no {name}.jsonl (nor {name}.jsonl.gz, {name}.parquet, or '
      f'a folder {name} of .parquet files)'
    )
  return parts


def _judgement_files(folder: Path) -> tuple[list[Path], list[str]]:
  """(the files of the split that is judged, a note if it is not `test`)."""
  ends = (*TABLES, *TEXTS)
  splits: dict[str, list[Path]] = {}
  for path in sorted((folder / 'qrels').glob('*')):
    if tables.ending(path) in ends:
      name = path.name.lower().removesuffix(tables.ending(path))
      splits.setdefault(name.partition('-')[0], []).append(path)
  for end in ends:
    if not splits and (path := folder / f'qrels{end}').is_file():
      return [path], []
  if not splits and (parts := sorted(folder.glob('qrels-*-of-*.parquet'))):
    return parts, []
  if not splits:
    raise UsageError(
      f'{folder} has no qrels/test.tsv (nor qrels.tsv, qrels.jsonl, '
      'qrels.parquet, or another split in qrels)'
    )
  name = next((s for s in SPLITS if s in splits), next(iter(splits)))
  files = splits[name]
  if len({tables.ending(path) for path in files}) > 1:
    raise UsageError(
      f'{folder / "qrels"} has {" and ".join(path.name for path in files)}; '
      'keep one of them'
    )
  if name == 'test' or len(splits) == 1:
    return files, []
  return files, [
    f'There is no qrels/test: the judgements are those of {files[0].name}, '
    f'out of {", ".join(splits)}.'
  ]


def _judgements(paths: Sequence[Path]) -> Judgements:
  """All judgements of some files.

  Raises:
    UsageError: naming the line; also where two judgements disagree.
  """
  qrels: Judgements = {}
  places: dict[tuple[str, str], str] = {}
  for path in paths:
    read_rows = _table if tables.ending(path) in TABLES else _records
    for where, query, passage, grade in read_rows(path):
      row = f'{path}, {where}'
      known = qrels.setdefault(query, {})
      if known.get(passage, grade) != grade:
        raise UsageError(
          f'{row} gives passage {passage!r} of query {query!r} the grade '
          f'{grade:g}, {places[query, passage]} gave it {known[passage]:g}'
        )
      known[passage] = grade
      places[query, passage] = where
  if not qrels:
    raise UsageError(f'{paths[0]} holds no judgements')
  return qrels


def _records(path: Path) -> Iterator[tuple[str, str, str, float]]:
  """(line, query, passage, grade) of JSON lines or Parquet; 1 without one."""
  for where, values in tables.rows(path):
    row = f'{path}, {where}'
    query, passage = (
      tables.name_of(values[tables.key(values, COLUMNS[side], row)], row)
      for side in ('query', 'passage')
    )
    grades = [values[key] for key in COLUMNS['grade'] if key in values]
    yield where, query, passage, _grade(grades[0] if grades else 1, row)


def _table(path: Path) -> Iterator[tuple[str, str, str, float]]:
  """Likewise of lines of fields: `query passage grade`, or TREC's four.

  Fields stand between tabs, without tabs in a line between blanks.
  """
  places: tuple[int, int, int] | None = None
  width = 0
  with tables.opened(path) as file:
    for line in tables.lines(file, path):
      row = f'{path}, line {line.number}'
      fields = line.text.split('\t') if '\t' in line.text else line.text.split()
      if places is None:
        width = len(fields)
        places = _header(fields)
        if places is not None:
          continue
        places = _places(fields, row)
      if len(fields) != width:
        raise UsageError(
          f'{row} has {len(fields)} fields where {width} are expected; is the '
          'file cut off?'
        )
      query, passage = (fields[place] for place in places[:2])
      grade = _grade(fields[places[2]] if places[2] >= 0 else 1, row)
      if not (query and passage):
        raise UsageError(f'{row} has an empty id')
      yield f'line {line.number}', query, passage, grade


def _header(fields: Sequence[str]) -> tuple[int, int, int] | None:
  """The places of query, passage and grade that a header names, -1 for none."""
  names = [field.strip().lower() for field in fields]
  places = [
    next((names.index(n) for n in known if n in names), -1)
    for known in COLUMNS.values()
  ]
  query, passage, grade = places
  return None if min(query, passage) < 0 else (query, passage, grade)


def _places(fields: Sequence[str], row: str) -> tuple[int, int, int]:
  """Those of a line without a header above it."""
  if len(fields) == 3:
    return 0, 1, 2
  if len(fields) == 4:
    return 0, 2, 3
  raise UsageError(
    f'{row} has {len(fields)} fields; judgements are query-id, corpus-id, '
    "score between tabs, or TREC's `query 0 passage grade`"
  )


def _grade(value, row: str) -> float:
  try:
    grade = math.nan if isinstance(value, bool) else float(value)
  except (TypeError, ValueError):
    grade = math.nan
  if not math.isfinite(grade):
    raise UsageError(f'{row} has the grade {value!r}; it must be a number')
  return grade


def _oddities(
  qrels: Judgements, known: Judgements, corpus: StoredTexts, path: Path
) -> list[str]:
  """Sentences about judgements of nothing, and passages of no text.

  Raises:
    UsageError: if no judgement above 0 is about a passage that is there.
  """
  passages = set(corpus.ids.tolist())
  wanted = [p for judged in known.values() for p, g in judged.items() if g > 0]
  unknown = [passage for passage in wanted if passage not in passages]
  if len(unknown) == len(wanted):
    missing = f', such as {unknown[0]!r}' if unknown else ''
    raise UsageError(
      f'{path} finds none of the {len(passages):,} passages relevant: it names '
      f'{len(wanted):,} with a grade above 0{missing}, and the corpus has '
      f'{corpus.ids[0].item()!r}'
    )
  sentences = []
  if len(known) < len(qrels):
    absent = next(name for name in qrels if name not in known)
    sentences.append(
      f'{len(qrels) - len(known):,} of {len(qrels):,} judged queries are '
      f'unknown, such as {absent!r}: they are left out.'
    )
  if unknown:
    sentences.append(
      f'{len(unknown):,} of {len(wanted):,} relevant judgements name a passage '
      f'that the corpus lacks, such as {unknown[0]!r}: none can be found, and '
      'each counts as missed.'
    )
  if corpus.empty:
    sentences.append(
      f'{len(corpus.empty):,} of {len(corpus):,} passages have neither title '
      f'nor text, such as {corpus.empty[0]!r}; they are ranked too.'
    )
  return sentences
