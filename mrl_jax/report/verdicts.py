"""Which of two runs is better, and at which dimensions, in sentences."""

import math
from collections.abc import Iterable, Mapping, Sequence

from mrl_jax.report import blocks, curves, differences
from mrl_jax.report.differences import Difference, Pair

FIRST = 'knn/top1'  # the curve that a sentence is about, where it is shared
WORDS = ('better', 'worse', 'level', 'undecided')


def sentence(pair: Pair) -> str:
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


def others(pair: Pair) -> str:
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
      said.setdefault(words, []).append(curves.label(name))
  return '; '.join(
    f'{_listed(names)}: {words}' for words, names in said.items()
  )


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


def explanation(groups: Sequence[Sequence[Pair]]) -> list[str]:
  """How the intervals are to be read, and what was not compared in full."""
  pairs = [pair for group in groups for pair in group]
  every = [it for pair in pairs for it in pair.differences]
  if not every:
    return []
  texts = [
    'Differences are the first run minus the second, in points of percent. '
    f'All {len(every)} intervals of differences on this page hold at once '
    'with 95% (Bonferroni). Better or worse: 0 lies outside of the interval. '
    f'Level: all of it lies within {100 * differences.LEVEL:g} points of 0. '
    'Undecided: all others.'
  ]
  counts = [it.seeds for it in every if it.seeds is not None]
  if counts:
    texts.append(
      'Groups are compared over the seeds that both have '
      f'({_listed(sorted(map(str, set(counts))))}); intervals over few seeds '
      'are wide, and one seed leaves every difference undecided.'
    )
  alone = dict.fromkeys(
    f'{pair.first.name} and {pair.second.name}'
    for pair in pairs
    if any(not it.paired and math.isfinite(it.low) for it in pair.differences)
  )
  if alone:
    texts.append(
      f'Not paired, so wider than need be: {"; ".join(alone)}. The evaluations '
      'do not both have values per query, or do not say that their data are '
      'the same: evaluate these runs again (python eval.py --workdir=RUN).'
    )
  return texts


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
  within = ''
  largest = max(given, key=lambda it: abs(it.value))
  if word == 'level':
    largest = max(given, key=lambda it: it.furthest)
    within = f' within {math.ceil(1000 * largest.furthest) / 10:g} points'
  at = f', largest at {blocks.size(largest.size)}' * (len(given) > 1)
  return f'{within} at {_sizes(given, every)}{at}: {largest.text}'


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
