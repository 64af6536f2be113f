"""Which of two runs is better, and at which dimensions, in sentences."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mrl_jax.report import blocks, curves, differences
from mrl_jax.report.differences import Compared, Difference, Pair

FIRST = 'knn/top1'  # the curve that a sentence is about, where it is shared
WORDS = ('better', 'worse', 'level', 'undecided')


def texts(
  groups: Sequence[Sequence[Compared]], pairs: Sequence[Sequence[Pair]]
) -> list[blocks.Text]:
  """A sentence per pair of runs of each group, and how to read them."""
  every = [pair for of_group in pairs for pair in of_group]
  lines = []
  if len(groups) > 1:
    names = '; '.join(map(data, groups))
    lines.append(blocks.Text(f'Different data, not compared: {names}.'))
  for pair in every:
    lines.append(blocks.Text(_sentence(pair), strong=True))
    if words := _others(pair):
      lines.append(blocks.Text(words))
  if not every:
    lines.append(blocks.Text('One run: there is nothing to compare.'))
  notes = [words for group in groups for words in _of_group(group)]
  return lines + list(map(blocks.Text, [*notes, *_reading(every)]))


def data(group: Sequence[Compared]) -> str:
  """`a, b (10,000 queries, data 1f3c)`."""
  return f'{", ".join(run.name for run in group)} ({kind(group)})'


def kind(group: Sequence[Compared]) -> str:
  """What no other group has: `10,000 queries, data 1f3c`."""
  known = next((run.data for run in group if run.data), '')
  named = f', data {known}' if known else ''
  names = [name for run in group for name in run.curves]
  noun = 'pairs' if curves.units(names) == curves.HUNDREDTHS else 'queries'
  return f'{group[0].queries:,} {noun}{named}'


def _of_group(group: Sequence[Compared]) -> Iterator[str]:
  """What was not compared, and what is not known of the data."""
  if len(group) > differences.MOST:
    yield f'{len(group)} runs: each is compared with {group[0].name} only.'
  silent = [run.name for run in group if not run.data]
  if silent and len(group) > 1:
    yield (
      f'{", ".join(silent)}: nothing says which data this is. The number of '
      'queries is the same, so the data are taken for the same.'
    )


def _reading(pairs: Sequence[Pair]) -> Iterator[str]:
  """What the intervals and the words mean, and which could be narrower."""
  every = [it for pair in pairs for it in pair.differences]
  if not every:
    return
  unit = curves.units(it.curve for it in every)
  points = (
    'points of percent' if unit == '%' else f'points (correlation {unit})'
  )
  yield (
    f'Differences are the first run minus the second, in {points}. '
    f'Their intervals ({len(every)} on this page) hold all at once with 95% '
    '(Bonferroni). Better or worse: 0 lies outside of the interval. '
    f'Level: all of it lies within {100 * differences.LEVEL:g} points of 0. '
    'Undecided: all others.'
  )
  counts = {it.seeds for it in every if it.seeds is not None}
  if counts:
    yield (
      'Groups are compared over the seeds that both have '
      f'({_listed([*map(str, sorted(counts))])}). Few seeds make wide '
      'intervals; one seed leaves every difference undecided.'
    )
  wide = [
    f'{pair.first.name} and {pair.second.name}'
    for pair in pairs
    if any(not it.paired and math.isfinite(it.low) for it in pair.differences)
  ]
  if wide:
    which = 'all pairs' if len(wide) == len(pairs) > 1 else '; '.join(wide)
    yield (
      f'Not paired by query, so wider than need be: {which}. Values per query '
      'that fit the rows, or the name of the data, are missing: evaluate again '
      '(python eval.py --workdir=RUN).'
    )


def _sentence(pair: Pair) -> str:
  """The verdict by one curve: by 1-NN where both have it."""
  first, second = pair.first.name, pair.second.name
  if not pair.differences:
    return f'{first} and {second} share no main curve.'
  name, points = _subject(pair)
  words = _by_verdict(points)
  clauses = [
    (word, _clause(word, given, points)) for word, given in words.items()
  ]
  opening = {
    'better': f'{first} is better than {second}',
    'worse': f'{first} is worse than {second}',
    'level': f'{first} and {second} are level',
    'undecided': f'{first} against {second} is undecided',
  }
  (word, start), *rest = clauses
  text = f'{opening[word]} by {curves.label(name)}{start}'
  return '; '.join([text, *(word + clause for word, clause in rest)]) + '.'


def _others(pair: Pair) -> str:
  """What the other curves say, without numbers; '' if there is none."""
  if len(pair.curves) < 2:
    return ''
  subject, points = _subject(pair)
  said: dict[str, list[str]] = {}
  for name, given in pair.curves.items():
    if name != subject:
      words = ', '.join(
        f'{word} at {_sizes(at, given)}'
        for word, at in _by_verdict(given).items()
      )
      if _verdicts(given) == _verdicts(points):
        words = 'the same'
      said.setdefault(words, []).append(curves.short(name))
  text = '; by '.join(
    f'{_listed(names)}: {words}' for words, names in said.items()
  )
  return f'By {text}.'


def table(name: str, pairs: Iterable[Pair]) -> blocks.Table:
  """The differences of one curve: a line per pair, a column per size."""
  columns = {
    f'{pair.first.name} - {pair.second.name}': {
      it.size: f'{it.verdict}: {it.text}' for it in pair.curves[name]
    }
    for pair in pairs
    if name in pair.curves
  }
  sizes = sorted(
    {size for column in columns.values() for size in column},
    key=lambda size: (size.depth or math.inf, size.dim),
  )
  return blocks.Table(
    [f'{curves.label(name)}, dim', *columns],
    [
      [blocks.size(size), *(it.get(size, '-') for it in columns.values())]
      for size in sizes
    ],
  )


def _subject(pair: Pair) -> tuple[str, list[Difference]]:
  """The curve that the sentence is about."""
  name = FIRST if FIRST in pair.curves else next(iter(pair.curves))
  return name, pair.curves[name]


def _by_verdict(
  points: Sequence[Difference],
) -> Mapping[str, list[Difference]]:
  """Differences by verdict, in the order of WORDS."""
  return {
    word: given
    for word in WORDS
    if (given := [it for it in points if it.verdict == word])
  }


def _verdicts(points: Sequence[Difference]) -> dict:
  return {it.size: it.verdict for it in points}


def _clause(
  word: str, given: Sequence[Difference], every: Sequence[Difference]
) -> str:
  """` at 8 and 16 dims, largest at 8: +31.2 points (29.0 to 33.4)`."""
  dims = f' at {_sizes(given, every)}'
  if word == 'level':
    furthest = max(it.furthest for it in given)
    dims = f' within {math.ceil(1000 * furthest) / 10:.1f} points{dims}'
    if len(given) > 1:
      return dims
  largest = max(given, key=lambda it: abs(it.value))
  at = f', largest at {blocks.size(largest.size)}' * (len(given) > 1)
  return f'{dims}{at}: {largest.text}'


def _sizes(given: Sequence[Difference], every: Sequence[Difference]) -> str:
  """`8 dims`, `8, 16 and 32 dims`, `8 to 64 dims`, `all 5 dims`."""
  names = [blocks.size(it.size) for it in given]
  if len(given) == len(every) > 1:
    return f'all {len(given)} dims'
  start = every.index(given[0])
  if len(given) > 3 and given == every[start : start + len(given)]:
    return f'{names[0]} to {names[-1]} dims'
  return f'{_listed(names)} dims'


def _listed(words: Sequence[str]) -> str:
  """`a, b and c`."""
  if len(words) < 2:
    return ''.join(words)
  return f'{", ".join(words[:-1])} and {words[-1]}'
