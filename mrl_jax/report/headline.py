"""The answer in words: which dimension, kept in which way, to deploy."""

from collections.abc import Sequence

from mrl_jax import rows
from mrl_jax.report import blocks, curves
from mrl_jax.rows import Row

POINTS = 0.01  # how far below the full width an interval may reach


def words(evaluation) -> list[str]:
  """Sentences: the decision first, then what each curve keeps.

  Where dimensions are alike, that stands in the place of a decision.
  """
  sentences = [
    undecided(evaluation.rows)
    or _decided(evaluation)
    or smallest(evaluation.rows)
  ]
  for name, points in curves.main(evaluation.rows).items():
    points = _of_full_depth(points)
    small, full = points[0], points[-1]
    if len(points) > 1 and curves.main_name(name) != 'knn/weighted':
      sentences.append(
        f'{curves.label(name)}: {curves.in_words(small)} with '
        f'{small["dim"]:g} of {full["dim"]:g} dimensions, '
        f'{curves.in_words(full)} with all.'
      )
  return [sentence for sentence in sentences if sentence]


def undecided(points: Sequence[Row]) -> str:
  """That no main curve tells two dimensions apart; '' if one does.

  As with one class, with classes that nothing tells apart, or where the
  fewest dimensions are enough for all queries.
  """
  main = {
    curves.short(name): _of_full_depth(curve)
    for name, curve in curves.main(points).items()
  }
  if not main or not all(map(_alike, main.values())):
    return ''
  curve = next(iter(main.values()))
  more = (
    'more queries or finer classes may tell. To decide by neighbours alone, '
    'leave the labels out.'
  )
  if curves.correlated(rows.curve_name(curve[0])):
    more = 'more pairs may tell.'
  elif curves.judged(points):
    more = 'more queries may tell.'
  return (
    'This evaluation cannot tell dimensions apart: the intervals of all from '
    f'{curve[0]["dim"]:g} to {curve[-1]["dim"]:g} overlap in '
    f'{", ".join(main)}. So none is recommended; {more}'
  )


def _alike(curve: Sequence[Row]) -> bool:
  """Whether neither intervals nor paired differences tell dimensions apart."""
  return rows.alike(curve) and not any(
    row['difference_low'] > 0 or row['difference_high'] < 0
    for row in curve
    if 'difference' in row
  )


def _of_full_depth(points: Sequence[Row]) -> list[Row]:
  """The rows of a curve with as many layers as its last one."""
  depth = points[-1].get('depth')
  return [row for row in points if row.get('depth') == depth]


def _decided(evaluation) -> str:
  """What is decided, '' if nothing is."""
  text = evaluation.decision.get('text')
  return text[:1].upper() + text[1:] if isinstance(text, str) else ''


def _within(row: Row, full: Row, name: str) -> bool:
  """Whether a row is surely within POINTS of the full width."""
  if name == curves.JUDGED and 'difference_low' in row:
    return row['difference_low'] >= -POINTS
  return row is full or row['ci_low'] >= full['value'] - POINTS


def smallest(points: Sequence[Row]) -> str:
  """The smallest dim whose interval ends within a point of the full width.

  Of the first main curve that is an accuracy; '' if there is none.
  """
  for name, curve in curves.main(points).items():
    curve = _of_full_depth(curve)
    full, label = curve[-1], curves.label(name)
    if len(curve) < 2:
      continue
    enough = [row for row in curve if _within(row, full, name)]
    if not enough or enough[0] is full:
      return (
        f'No dimension below {full["dim"]:g} is surely within one point of '
        f'the full width in {label}.'
      )
    first = enough[0]
    return (
      f'{first["dim"]:g} of {full["dim"]:g} dimensions are enough: '
      f'{label} {curves.in_words(first)} '
      f'({blocks.percent(first["ci_low"], 1)} to '
      f'{blocks.percent(first["ci_high"], 1)}) against '
      f'{curves.in_words(full)} with all (chosen on these '
      f'{"pairs" if curves.correlated(name) else "queries"}).'
    )
  return ''
