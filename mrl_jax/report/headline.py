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
        f'{curves.label(name)}: {blocks.percent(small["value"], 1)}% with '
        f'{small["dim"]:g} of {full["dim"]:g} dimensions, '
        f'{blocks.percent(full["value"], 1)}% with all.'
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
  if curves.judged(points):
    return _undecided_judged(next(iter(main.values())))
  if not main or not all(rows.alike(curve) for curve in main.values()):
    return ''
  curve = next(iter(main.values()))
  return (
    'This evaluation cannot tell dimensions apart: the intervals of all from '
    f'{curve[0]["dim"]:g} to {curve[-1]["dim"]:g} overlap in '
    f'{", ".join(main)}. So none is recommended; more queries or finer '
    'classes may tell. To decide by neighbours alone, leave the labels out.'
  )


def _undecided_judged(curve: Sequence[Row]) -> str:
  """That no prefix surely differs from the full width on the same queries."""
  prefixes = [row for row in curve if 'to_full' in row]
  if not prefixes or any(
    row['to_full_low'] > 0 or row['to_full_high'] < 0 for row in prefixes
  ):
    return ''
  return (
    'This evaluation cannot tell dimensions apart: on the same queries none '
    f'from {prefixes[0]["dim"]:g} on differs for sure from all '
    f'{curve[-1]["dim"]:g} in {curves.short(curves.JUDGED)}. So none is '
    'recommended; more queries may tell.'
  )


def _of_full_depth(points: Sequence[Row]) -> list[Row]:
  """The rows of a curve with as many layers as its last one."""
  depth = points[-1].get('depth')
  return [row for row in points if row.get('depth') == depth]


def _decided(evaluation) -> str:
  """What `stores` decides, '' if it does not."""
  text = evaluation.decision.get('text')
  return text[:1].upper() + text[1:] if isinstance(text, str) else ''


def _within(row: Row, full: Row, name: str) -> bool:
  """Whether a row is surely within POINTS of the full width."""
  if name == curves.JUDGED and 'to_full_low' in row:
    return row['to_full_low'] >= -POINTS
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
      f'{label} {blocks.percent(first["value"], 1)}% '
      f'({blocks.percent(first["ci_low"], 1)} to '
      f'{blocks.percent(first["ci_high"], 1)}) against '
      f'{blocks.percent(full["value"], 1)}% with all (chosen on these queries).'
    )
  return ''
