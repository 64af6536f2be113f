"""stores: quality of each way to store, against bytes and against time."""

import math
from collections.abc import Mapping, Sequence

from mrl_jax import rows
from mrl_jax.report import blocks, charts, headline

# Kind of store -> colour and style; dashed: a shortlist is reranked.
REDUCTIONS = {
  'prefix': ('leading dims', 0),
  'pca': ('principal components', 1),
  'svd': ('singular directions', 3),
}
INDEXES = {'HNSW': 4, 'IVF': 5}
MEASURES = {
  'top1': 'nearest row has the right class (1-NN)',
  'recall': 'same {} nearest rows as with all',
  'ndcg': 'nDCG@{}',
  'spearman': 'Spearman of cosines and scores',
}
BRIEF = {
  'top1': 'right by 1-NN',
  'recall': 'same {} nearest',
  'ndcg': 'nDCG@{}',
  'spearman': 'Spearman',
}
SHORT = {'float32': 'f32', 'float16': 'f16', 'float8': 'f8', 'binary': 'bit'}
CORRELATIONS = ('spearman',)
APART = 0.2, 0.08  # between names, of the width and the height of a chart
TERMS = (
  'Rerank: the best rows by few bytes are ordered anew by whole rows, which '
  'may lie in a file. Names: dims, number format, rows reranked.'
)


def noun(name: str) -> str:
  """A measure in words: `recall@10` as 'same 10 nearest rows as with all'."""
  base, _, k = name.partition('@')
  return MEASURES.get(base, name).format(k)


def _item(evaluation) -> str:
  """What is kept."""
  return 'text' if evaluation.decider == 'pairs' else 'row'


def _headed(words: str, name: str) -> str:
  """The words for a measure, with its unit."""
  return f'{words} x 100' if name in CORRELATIONS else f'{words}, %'


def _brief(name: str) -> str:
  """A measure as a header names it."""
  base, _, k = name.partition('@')
  return BRIEF.get(base, name).format(k)


def joint_front(evaluation):
  """Each measure against bytes held, and against time, the choice marked."""
  points = list(evaluation.detail(evaluation.decider, 'front'))
  chosen = _choice(evaluation)
  for name in evaluation.detail(evaluation.decider, 'measures'):
    for key, words in (
      ('held', f'bytes a {_item(evaluation)} in memory'),
      ('milliseconds', 'milliseconds a query, one thread'),
    ):
      known = [p for p in points if p.get(key) and name in p['measures']]
      if known:
        title = noun(name)
        yield charts.draw(
          f'{blocks.capital(title)}, against {words.split(" a ")[0]}',
          charts.Axes(words, _headed(title, name), log_x=True),
          _lines(known, key, name, chosen),
          TERMS if key == 'held' and name not in CORRELATIONS else '',
        )


def _lines(
  points: Sequence[Mapping], key: str, name: str, chosen: Mapping | None
) -> list[charts.Line]:
  """A line per kind of store, the names of the front, the choice."""
  kinds: dict[tuple, list] = {}
  for point in points:
    index = point['index'].partition(' ')[0].rstrip(',')
    kind = index or point['reduction'], bool(point['shortlist'])
    kinds.setdefault(kind, []).append(point)
  lines = []
  for (kind, reranked), of_kind in kinds.items():
    label, colour = REDUCTIONS.get(kind, (kind, INDEXES.get(kind, 6)))
    of_kind = _front(of_kind, key, name)
    lines.append(
      charts.Line(
        label + ', reranked' * reranked,
        [point[key] for point in of_kind],
        [100 * point['measures'][name]['value'] for point in of_kind],
        colour=colour,
        style='--' if reranked else '-',
        marker=charts.MARKERS[colour],
      )
    )
  lines.append(_named(points, key, name))
  if chosen is not None and chosen.get(key):
    value = 100 * chosen['measures'][name]['value']
    lines.append(
      charts.Line(
        'the choice', [chosen[key]], [value], colour=7, style='', marker='*'
      )
    )
  return lines


def _front(points: Sequence[Mapping], key: str, name: str) -> list[Mapping]:
  """The points that no other beats, from the cheapest on."""
  pairs = [(point[key], point['measures'][name]['value']) for point in points]
  return [points[index] for index in rows.front(pairs)]


def _named(points: Sequence[Mapping], key: str, name: str) -> charts.Line:
  """Names at the front of all, where there is room; no line of its own."""
  front = _front(points, key, name)
  costs = [math.log(point[key]) for point in points]
  values = [point['measures'][name]['value'] for point in points]
  wide, high = max(costs) - min(costs), max(values) - min(values)
  kept: list[Mapping] = []
  for point in reversed(front):
    if not kept or (
      math.log(kept[-1][key] / point[key]) > APART[0] * wide
      or kept[-1]['measures'][name]['value'] - point['measures'][name]['value']
      > APART[1] * high
    ):
      kept.append(point)
  return charts.Line(
    '',
    [point[key] for point in kept],
    [100 * point['measures'][name]['value'] for point in kept],
    style='',
    marker='',
    names=[_short(point) for point in kept],
  )


def _short(point: Mapping) -> str:
  """A store as a chart names it: `48 int8 +50`."""
  kind = SHORT.get(point['format'], point['format'])
  more = f' +{point["shortlist"]}' if point['shortlist'] else ''
  return f'{point["dim"]} {kind}{more}'


def _choice(evaluation) -> Mapping | None:
  """The store decided for; None too where the page recommends none."""
  if headline.undecided(evaluation.rows):
    return None
  return evaluation.chosen


def cheapest(evaluation) -> blocks.Table | None:
  """The stores that explain the decision, by bytes held; None without any."""
  points = sorted(
    evaluation.detail(evaluation.decider, 'table'),
    key=lambda point: point['held'],
  )
  if not points:
    return None
  names, choice = list(points[0]['measures']), _choice(evaluation)
  times = evaluation.decider == 'stores'  # else nothing is searched
  header = [
    f'how the {_item(evaluation)}s are kept',
    *(_headed(_brief(name), name) for name in names),
    'bytes in memory',
  ]
  return blocks.Table(
    header + ['in files', 'ms a query'] * times,
    [_line(point, names, times, point is choice) for point in points],
    _note(evaluation),
    chosen=next((i for i, p in enumerate(points) if p is choice), None),
  )


def _line(
  point: Mapping, names: Sequence[str], times: bool, chosen: bool = False
) -> list[str]:
  time = point['milliseconds']
  files = point['stored'] - point['held']
  more = [
    f'{files:,.1f}'.removesuffix('.0') if files > 0.05 else '-',
    '-' if time is None else f'{time:.2g}',
  ]
  return [
    point['label'] + ', chosen' * chosen,
    *(_value(point['measures'][name]) for name in names),
    f'{point["held"]:,.1f}'.removesuffix('.0'),
    *(more * times),
  ]


def _value(measured: Mapping) -> str:
  value, low, high = (
    blocks.percent(measured[key], 1) for key in ('value', 'ci_low', 'ci_high')
  )
  return f'{value} ({low}\xa0to\xa0{high})'  # brackets stay in one line


def _note(evaluation) -> str:
  """What is to be kept, on how many queries and rows, where time is from."""
  detail = evaluation.details.get(evaluation.decider, {})
  words = [
    f'To be kept: {100 * detail["keep"]:.4g}% of each measure at full width in '
    'float32.',
  ]
  if evaluation.decider == 'pairs':
    words += [
      f'Measured on {detail["pairs"]:,} pairs, both sides kept alike. Bytes of '
      f'a text among {detail["rows"]:,}, with its share of matrices.'
    ]
    return ' '.join(words)
  words += [
    f'Measured on {_of(detail, "queries")} queries and '
    f'{_of(detail, "database_rows")} rows.',
  ]
  whole = max(detail.get('rows', 0), detail.get('database_rows_of', 0))
  if detail['database_rows'] < whole:
    words.append(
      f'Among {whole:,} rows, fewer of the nearest would be found, and later.'
    )
  if count := detail.get('rows'):
    words.append(f'Bytes of a row among {count:,}, with its share of matrices.')
  times = [point['milliseconds'] for point in detail['table']]
  if any(time is not None for time in times):
    words.append('Time: faiss, one thread, all in memory')
    words[-1] += ' (it has no float8).' if None in times else '.'
  return ' '.join(words)


def _of(detail: Mapping, key: str) -> str:
  """`2,000 of the 10,000`, or `1,000` where those are all."""
  taken, all_of = detail[key], detail.get(f'{key}_of', detail[key])
  some = f' of the {all_of:,}' if all_of != taken else ''
  return f'{taken:,}{some}'


def every(evaluation):
  """Every point of the charts as a folded table."""
  points = sorted(
    evaluation.detail(evaluation.decider, 'front'),
    key=lambda point: point['held'],
  )
  if points:
    table = cheapest(evaluation)
    names = list(points[0]['measures'])
    yield blocks.Table(
      table.header if table else [],
      [_line(point, names, evaluation.decider == 'stores') for point in points],
      fold=f'All {len(points)} stores of the charts',
    )
