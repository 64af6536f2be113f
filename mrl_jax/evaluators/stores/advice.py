"""The decision in words, and the table it rests on."""

import numpy as np

from mrl_jax import intervals
from mrl_jax.embed.store import (
  NAMES,
  Store,
  amount,
  in_percent,
  phrased,
  reduced,
)
from mrl_jax.evaluators.stores import certificate
from mrl_jax.evaluators.stores.book import Book

MEASURES = {
  'top1': 'classification by 1-NN',
  'recall': 'the {} nearest rows at full width',
  'ndcg': 'nDCG@{}',
}
SHORT = {
  'top1': 'right by 1-NN',
  'recall': 'same {} nearest',
  'ndcg': 'nDCG@{}',
}


def named(name: str, names=SHORT) -> str:
  """A measure for people: 'same 10 nearest'."""
  base, _, k = name.partition('@')
  return names[base].format(k)


def point(book: Book, one: Store) -> dict:
  """A store as a line of a table or a point of a chart."""
  return {
    'label': phrased(one, book.width),
    'reduction': one.reduction,
    'dim': one.dim,
    'format': one.format,
    'shortlist': one.shortlist,
    'rescore': one.rescore,
    'index': one.index,
    'held': book.held(one),
    'stored': one.stored(book.width, book.count),
    'milliseconds': book.milliseconds(one),
    'measures': {name: book.measured(one, name) for name in book.full},
  }


def explaining(book: Book, chosen: Store | None) -> list[Store]:
  """The stores that explain the decision: the cheapest of each kind."""

  def cheapest(reduction: str, reranked: bool, index: bool) -> Store | None:
    return book.cheapest(
      lambda one: (
        (not reduction or one.reduction == reduction)
        and bool(one.shortlist) == reranked
        and bool(one.index) == index
      )
    )

  kinds = [(name, by, False) for by in (True, False) for name in NAMES]
  kinds += [('', by, True) for by in (False, True)]
  found = [cheapest(*kind) for kind in kinds]
  alone = []
  if chosen is not None and chosen.dim < book.width:
    alone = [Store('prefix', chosen.dim, 'float32')]
    if chosen.reduction != 'prefix':
      alone.append(Store(chosen.reduction, chosen.dim, 'float32'))
  listed = [chosen, *found, *alone, book.reference]
  return list(dict.fromkeys(one for one in listed if one is not None))


def unbeaten(book: Book) -> list[Store]:
  """Points of the picture: per kind of store those that none beats."""
  kinds: dict[tuple, list[Store]] = {}
  for one in book.found:
    kind = one.reduction, bool(one.shortlist), one.index.partition(' ')[0]
    kinds.setdefault(kind, []).append(one)
  chosen = []
  for kind in kinds.values():
    best = -1.0
    for one in sorted(kind, key=book.cost):
      if book.least_kept(one) > best:
        best = book.least_kept(one)
        chosen.append(one)
  return chosen


def decision(book: Book, limits: dict) -> dict:
  """The decision: its status, its sentences and the store chosen.

  Args:
    limits: 'bytes' and 'milliseconds', 0 for none.
  """

  def within(one: Store) -> bool:
    if limits['bytes'] and book.held(one) > limits['bytes']:
      return False
    if not limits['milliseconds']:
      return True
    time = book.milliseconds(one)
    return time is not None and time <= limits['milliseconds']

  chosen = book.proven(within)
  asked = ' and of '.join(named(name, MEASURES) for name in book.weighed)
  words = {
    'task': asked,
    'keep': book.keep,
    'proving_queries': len(book.halves[1]),
  }
  limited = any(limits.values())
  if chosen is not None and chosen != book.reference:
    status, text = 'proven', _chosen(book, chosen)
  else:
    count = None
    if book.weighed:
      count = certificate.needed(book.weighed, book.keep)
    total = sum(map(len, book.halves))
    words['needed'] = count
    sure = book.proven(lambda one: one == book.reference) is not None
    if not sure:
      status, text = 'few', _few(book, within, count, total)
    elif limited and chosen is None:
      status, text = 'limit', _limit(book, within, limits, asked)
    else:
      status = 'nothing'
      text = (
        f'Keep {phrased(book.reference, book.width)}: nothing smaller '
        f'surely keeps {in_percent(book.keep)} of {asked}.'
      )
      chosen = book.reference
  return words | {
    'status': status,
    'text': text,
    'why': _why(book, chosen, asked) if status == 'proven' else _rule(status),
    'chosen': None if chosen is None else phrased(chosen, book.width),
  }, chosen


def _chosen(book: Book, one: Store) -> str:
  held, stored = book.held(one), one.stored(book.width, book.count)
  files = f' and {amount(stored - held)} in files' if one.rescore else ''
  return (
    f'Deploy {phrased(one, book.width)}: {amount(held)} bytes a row in '
    f'memory{files}, where all {book.width} dims in float32 take '
    f'{amount(book.held(book.reference))}.'
  )


def _loss(name: str, measured: dict) -> str:
  """A measure, and what was lost of full width, never more than there is."""
  value, kept, low = (measured[key] for key in ('value', 'kept', 'kept_low'))
  words = f'{named(name)} {100 * value:.1f}%'
  if kept is None:
    return f'{words}, nothing to lose'
  most = f'at most {100 * max(1 - low, 0):.1f}% lost, 95%'
  if kept >= 1:
    return f'{words}, no loss seen ({most})'
  share = '' if kept == value else f', {100 * kept:.1f}% of full width'
  return f'{words}{share} ({most})'


def _why(book: Book, chosen: Store, asked: str) -> list[str]:
  """Sentences: the numbers, the rotation, the same dims alone, an index."""
  choosing, proving = map(len, book.halves)
  numbers = '; '.join(
    _loss(name, book.measured(chosen, name)) for name in book.full
  )
  tried, rows = book.timer.rows, book.count
  among = f', among the {tried:,} rows tried' if tried < rows else ''
  out = [
    f'It keeps at least {in_percent(book.keep)} of {asked}{among}, with 95% '
    f'confidence: chosen on {choosing:,} queries, proven on {proving:,} '
    f'others. On all of them: {numbers}.'
  ]
  out += _rotated(book, chosen)
  other = book.cheapest(lambda s: not s.shortlist and not s.index)
  if chosen.shortlist and other is not None:
    out.append(
      'Without a rerank, the cheapest that kept as much on these queries '
      f'(not proven) is {phrased(other, book.width)}: '
      f'{amount(book.held(other))} bytes.'
    )
  return out + _faster(book, chosen)


def _rotated(book: Book, chosen: Store) -> list[str]:
  """Where a rotation was taken: what the prefix keeps in its place."""
  if chosen.reduction == 'prefix':
    return []
  name = list(book.weighed)[-1]
  mean = book.full[name].mean()
  ours, theirs = (
    book.found[Store(reduction, chosen.dim, 'float32')][name]
    for reduction in (chosen.reduction, 'prefix')
  )
  difference = ours - theirs
  error = difference.std() / np.sqrt(len(difference))
  apart = difference.mean() > intervals.Z * error
  sentence = (
    f'by the {named(name)}, {reduced(chosen)} keep '
    f'{100 * ours.mean() / mean:.1f}% and {chosen.dim} leading dims '
    f'{100 * theirs.mean() / mean:.1f}% (float32, no rerank)'
  )
  if enough := _dims_as_good(book, chosen.dim, name, ours.mean()):
    sentence += f'; it takes {enough} leading dims to keep as much'
  start = 'These vectors are not nested as well as they could be: '
  return [
    (start if apart else 'Here a rotation is cheaper: ') + sentence + '.',
    'The matrix is in stores.npz: embed by (z - mean) @ matrix, then '
    'normalise.',
  ]


def _dims_as_good(book: Book, dim: int, name: str, least: float) -> int:
  """The smallest prefix of more dims that is as good; 0 without one."""
  return min(
    (
      one.dim
      for one in book.found
      if one == Store('prefix', one.dim, 'float32')
      and one.dim > dim
      and book.found[one][name].mean() >= least
    ),
    default=0,
  )


def _faster(book: Book, chosen: Store) -> list[str]:
  """An index that answers sooner, if one was seen to keep as much."""
  time = book.milliseconds(chosen)
  if time is None or chosen.index:
    return []
  sooner = [
    one
    for one in book.timed
    if book.timed[one] < time / 1.5 and book.least_kept(one) >= book.keep
  ]
  words = (
    f'The choice answers in {time:.2g} ms on one thread, by a scan, all of it '
    'in memory'
  )
  if not sooner:
    return [f'{words}.']
  one = min(sooner, key=book.cost)
  return [
    f'{words}; sooner, unproven: {phrased(one, book.width)} in '
    f'{book.timed[one]:.2g} ms, {amount(book.held(one))} bytes a row.'
  ]


def _rule(status: str) -> list[str]:
  """Why the proof asks for more than the intervals of the page do."""
  if status != 'few':
    return []
  return [
    'Half of the queries choose, the others prove, and the proof assumes '
    'nothing of their values; the intervals of this page assume more.'
  ]


def _few(book: Book, within, count: int | None, total: int) -> str:
  if not book.weighed:
    return (
      'Full width itself gets nothing right on these queries, so there is '
      'nothing to keep.'
    )
  start = (
    f'{total:,} queries are too few to prove that any store keeps '
    f'{in_percent(book.keep)}, even one that loses nothing: '
  )
  if count is None:
    start += 'no number of queries would do; ask for a smaller `keep`. '
  else:
    more = max(count, total + total // 5)  # near the bound luck decides
    start += f'about {more:,} are needed. '
  seen = book.cheapest(within)
  if seen is None:
    return start + 'None of those tried was seen to keep as much.'
  return start + (
    f'The cheapest seen to keep it, unproven: {phrased(seen, book.width)}, '
    f'{amount(book.held(seen))} bytes a row.'
  )


def _limit(book: Book, within, limits: dict, asked: str) -> str:
  bound = ' and '.join(
    f'{value:g} {"bytes a row" if name == "bytes" else "ms a query"}'
    for name, value in limits.items()
    if value
  )
  best = book.best(within)
  if best is None:
    least = min(book.found, key=book.cost)
    known = {one: book.milliseconds(one) for one in book.found}
    times = [time for time in known.values() if time is not None]
    fastest = f', the fastest {min(times):.2g} ms' if times else ''
    return (
      f'No store fits {bound}; the smallest tried takes '
      f'{amount(book.held(least))} bytes a row{fastest}.'
    )
  kept = book.least_kept(best)
  words = (
    f'No store within {bound} surely keeps {in_percent(book.keep)} of '
    f'{asked}; the best there is, {phrased(best, book.width)}, keeps '
    f'{100 * kept:.1f}%.'
  )
  free = book.proven(lambda one: True)
  if free is not None:
    words += (
      f' {phrased(free, book.width)} keeps it, with '
      f'{amount(book.held(free))} bytes a row.'
    )
  return words
