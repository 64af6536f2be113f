"""The answer in words: which dimension, at which precision, to deploy."""

from mrl_jax.report import blocks, curves, results

POINTS = 0.01  # how far below the full width an interval may reach


def words(seen) -> list[str]:
  """Sentences: the recommendation first, then what each curve keeps."""
  said = [recommended(seen) or smallest(seen.rows)]
  for name, points in curves.main(seen.rows).items():
    small, full = points[0], points[-1]
    if len(points) > 1 and curves.base(name) != 'knn/weighted':
      said.append(
        f'{results.label(name)}: {blocks.percent(small["value"], 1)}% with '
        f'{small["dim"]:g} of {full["dim"]:g} dimensions, '
        f'{blocks.percent(full["value"], 1)}% with all.'
      )
  return [sentence for sentence in said if sentence]


def recommended(seen) -> str:
  """The recommendation of `precision`, '' if there is none."""
  found = seen.details.get('precision', {}).get('recommendation')
  text = found.get('text') if isinstance(found, dict) else None
  return text[:1].upper() + text[1:] if isinstance(text, str) else ''


def smallest(rows) -> str:
  """The smallest dim whose interval ends within a point of the full width.

  Of the first main curve that is an accuracy; '' if there is none.
  """
  for name, points in curves.main(rows).items():
    full = points[-1]
    enough = [p for p in points if p['ci_low'] >= full['value'] - POINTS]
    if len(points) < 2:
      continue
    if not enough or enough[0] is full:
      return (
        f'No dimension below {full["dim"]:g} is surely within one point of '
        f'the full width in {results.label(name)}.'
      )
    first = enough[0]
    return (
      f'{first["dim"]:g} of {full["dim"]:g} dimensions are enough: '
      f'{results.label(name)} {blocks.percent(first["value"], 1)}% '
      f'({blocks.percent(first["ci_low"], 1)} to '
      f'{blocks.percent(first["ci_high"], 1)}) against '
      f'{blocks.percent(full["value"], 1)}% with all (chosen on these queries).'
    )
  return ''
