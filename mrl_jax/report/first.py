"""The first screen: the decision, its reason, one table, one curve."""

import dataclasses
import math
import re
import shlex
from collections.abc import Mapping, Sequence

from mrl_jax import rows
from mrl_jax.report import answers, blocks, charts, curves, headline, stores
from mrl_jax.rows import Row

PICTURE = 'accuracy_vs_dimension.png'  # beside the report
QUESTION = 'Which dimension should I deploy?'
# Measure of the decision -> the curve to draw; else the first there is.
STATED = {'top1': 'knn/top1', 'ndcg@10': 'retrieval/ndcg@10'}
# What counts the rows, queries and classes: evaluator and key of its details.
ROWS = {
  'search': 'database_rows',
  'stores': 'database_rows_of',
  'baselines': 'database',
}
CLASSES = dict.fromkeys(('probe', 'few_shot', 'classes'), 'classes')
# Options of eval.py that name the vectors, and what they are judged by.
SOURCES = ('embeddings|model', 'retrieval|pairs')
SEARCHED = ('linear', 'probe', 'knn', 'retrieval', 'search', 'stores')


def decide(evaluation):
  """What to deploy, in strong words."""
  for words in headline.words(evaluation)[:1]:
    yield blocks.Text(words, strong=True)


def reason(evaluation):
  """Why that, and whether the embedding is nested."""
  if headline.undecided(evaluation.rows):
    return
  if why := ' '.join(map(str, evaluation.decision.get('why', ()))):
    yield blocks.Text(why)
  if nested := answers.is_nested(evaluation):
    yield blocks.Text(
      f'Is it nested, are the first dimensions worth most? {nested}'
    )


def main_curve(evaluation):
  """One measure against the dimension, its values at its points."""
  points, _, chosen = _measured(evaluation)
  if points:
    yield _curve(points, chosen)


def main_table(evaluation):
  """A line per store; without stores per dimension: quality, bytes, time."""
  points, recall, _ = _measured(evaluation)
  if kept := stores.cheapest(evaluation):
    yield kept
  elif points:
    yield _table(evaluation, points, recall)


def oddities(evaluation):
  """What is odd about the data."""
  return blocks.sentences(evaluation, 'evaluation', 'notes')


def _measured(evaluation) -> tuple[list[Row], list[Row], Row | None]:
  """The rows of the measure, those of the recall, and the chosen row."""
  points, recall = _measure(evaluation), _recall(evaluation)
  if (
    points
    and recall
    and rows.curve_name(recall[0]) == rows.curve_name(points[0])
  ):
    recall = []
  return points, recall, _chosen(evaluation, points)


def extent(evaluation) -> str:
  """How many rows, queries and classes of what data; '' if nothing is known."""
  known = {
    'rows': _largest(evaluation, ROWS),
    'queries': max(
      (r['n'] for r in evaluation.rows if r['evaluator'] in SEARCHED),
      default=0,
    ),
    'classes': _largest(evaluation, CLASSES),
    'pairs': evaluation.detail('pairs', 'pairs', 0),
    'texts': evaluation.detail('pairs', 'texts', 0),
  }
  counts = [f'{count:,} {noun}' for noun, count in known.items() if count]
  source = _source(evaluation)
  return ': '.join(part for part in (source, ', '.join(counts)) if part)


def _largest(evaluation, places) -> int:
  """The largest of the counts, or lists, under these keys; 0 without any."""
  counts = [evaluation.detail(*place, 0) for place in places.items()]
  counts = [len(it) if isinstance(it, list) else it for it in counts]
  return max((it for it in counts if isinstance(it, int)), default=0)


def _source(evaluation) -> str:
  """The name of the data: of the config, or what was evaluated.

  That is a file, or a model, and the set that it was judged by.
  """
  source = (evaluation.config.get('data') or {}).get('source') or {}
  if name := source.get('dataset') or source.get('name'):
    return str(name)
  command = evaluation.detail('evaluation', 'environment', {}).get('command')
  names = (_given(str(command or ''), flags) for flags in SOURCES)
  return ', '.join(name for name in names if name)


def _given(command: str, flags: str) -> str:
  """The last part of the path that a command gives for one of `flags`."""
  found = re.search(rf'--(?:{flags})[= ](.*)', command)
  try:
    words = shlex.split(found[1]) if found else []
  except ValueError:  # an open quote
    words = []
  return re.split(r'[\\/]', words[0].rstrip('\\/'))[-1] if words else ''


def _measure(evaluation) -> list[Row]:
  """The curve that the decision is about, of full depth.

  Else the first main curve, or the recall of the exact search.
  """
  measured = curves.main(evaluation.rows)
  stated = STATED.get(next(iter(evaluation.detail('stores', 'measures')), ''))
  name = stated if stated in measured else next(iter(measured), '')
  return curves.deepest(measured.get(name) or _recall(evaluation))


def _recall(evaluation) -> Sequence[Row]:
  """How many of the neighbours by all dims are found with fewer, exactly."""
  return curves.deepest(
    evaluation.by('variant', 'search', 'recall').get('prefix')
    or evaluation.by('variant', 'stores', 'recall').get('prefix.float32')
    or []
  )


def _chosen(evaluation, points: Sequence[Row]) -> Row | None:
  """The row of the prefix that is chosen; None if it is none of them."""
  chosen = evaluation.chosen
  if headline.undecided(evaluation.rows) or chosen is None:
    return None
  if chosen['reduction'] != 'prefix':
    return None
  return next((row for row in points if row['dim'] == chosen['dim']), None)


def _noun(row: Row) -> str:
  """What a percent of a row means, in plain words."""
  if row['metric'] == 'recall':
    return f'same {row.get("k", "")} nearest rows as with all'
  return curves.meaning(rows.curve_name(row))


def _short(row: Row | None) -> str:
  """`91.2 (90.0 to 92.3)`."""
  if row is None:
    return '-'
  value, low, high = (
    blocks.percent(row.get(key), 1) for key in ('value', 'ci_low', 'ci_high')
  )
  return f'{value} ({low}\xa0to\xa0{high})'  # brackets stay in one line


def _curve(points: Sequence[Row], chosen: Row | None) -> blocks.Picture:
  """The drawing of these rows."""
  name, noun = rows.curve_name(points[0]), _noun(points[0])
  lines = curves.lines(noun, points, curves.colour(name))
  correlated = curves.correlated(name)
  axes = charts.Axes(
    curves.DIMENSIONS,
    curves.headed(curves.short(name), name) if correlated else '%',
    dims=curves.dims(*lines),
    values=True,
    chosen=None if chosen is None else chosen['dim'],
  )
  note = 'The band is the 95% interval.'
  if chosen is not None:
    note += ' The ring marks the dims of the choice; all is float32, no rerank.'
  note += ' Open points were not trained.' * any(it.hollow for it in lines)
  title = f'{blocks.capital(noun)}, by dimension'
  picture = charts.draw(title, axes, lines, note)
  alt = 'Correlation by dimension' if correlated else 'Accuracy by dimension'
  return dataclasses.replace(picture, file=PICTURE, alt=alt)


def _table(
  evaluation, points: Sequence[Row], recall: Sequence[Row]
) -> blocks.Table:
  """The table of these rows."""
  also = {row['dim']: row for row in recall}
  times = _times(evaluation)
  columns = {
    'dims': [f'{row["dim"]:g}' for row in points],
    curves.headed(_noun(points[0]), rows.curve_name(points[0])): [
      _short(row) for row in points
    ],
  }
  if recall:
    columns[f'{_noun(recall[0])}, %'] = [
      _short(also.get(row['dim'])) for row in points
    ]
  columns['bytes a vector'] = [blocks.number(4 * r['dim']) for r in points]
  if times:
    columns['ms a query'] = _milliseconds(points, times)
  about = _about(evaluation, points, recall)
  return blocks.Table(list(columns), list(zip(*columns.values())), about)


def _times(evaluation) -> dict[float, float]:
  """Milliseconds a query of the exact search in batches, by dimension."""
  return {
    entry['dim']: entry['milliseconds_batch']
    for entry in evaluation.detail('search', 'methods')
    if entry['method'] == 'prefix' and entry.get('milliseconds_batch')
  }


def _milliseconds(
  points: Sequence[Row], times: Mapping[float, float]
) -> list[str]:
  """The times of rows, with as many decimals as two digits of the least."""
  digits = max(0, 1 - math.floor(math.log10(min(times.values()))))
  return [
    f'{times[row["dim"]]:,.{digits}f}' if row['dim'] in times else '-'
    for row in points
  ]


def _about(evaluation, points: Sequence[Row], recall: Sequence[Row]) -> str:
  """Where the columns come from."""
  words = ['Bytes: numbers of 4 bytes (float32).']
  if recall and recall[0]['n'] != points[0]['n']:
    words.append(f'Same rows: of {recall[0]["n"]:,} queries.')
  if _times(evaluation):
    words.append('Time: comparing with every row, many queries at once.')
  return ' '.join(words)
