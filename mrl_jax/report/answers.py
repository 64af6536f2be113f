"""The first sentence of each chapter: its question answered with a number.

Each returns '' where the rows that it needs are missing.
"""

from collections.abc import Mapping, Sequence

from mrl_jax.report import blocks, cascade, curves
from mrl_jax.rows import Row

# Main curve -> the words before its percent.
SUBJECTS = {
  'linear/top1': 'the linear head is right on',
  'probe/top1': 'a linear classifier is right on',
  'knn/top1': 'the nearest row has the right class for',
  'knn/weighted': 'the vote of the nearest rows is right on',
  'retrieval/map@10': 'mAP@10 is',
}
RANKINGS = {
  'retrieval/top1': 'the first row is right for',
  'retrieval/ndcg@10': 'nDCG@10 is',
  'retrieval/mrr@10': 'MRR@10 is',
  'retrieval/map@10': 'mAP@10 is',
}
ENOUGH = 0.99  # share of the true neighbours that a fast search must find


def how_accurate(evaluation) -> str:
  """The first main curve at both ends, and where it stops to rise."""
  for name, points in curves.main(evaluation.rows).items():
    points = curves.deepest(points)
    words = _ends(SUBJECTS[curves.main_name(name)], points)
    level = _level(points)
    if level is not points[-1]:
      words += (
        f' From {level["dim"]:g} dimensions on, no loss against all can be '
        'seen: the intervals overlap.'
      )
    return words
  return ''


def is_nested(evaluation) -> str:
  """The prefix against random coordinates and PCA at a quarter of the width."""
  ways = evaluation.by('variant', 'baselines', 'knn_top1')
  ways = ways or evaluation.by('variant', 'baselines', 'probe_top1')
  prefix, random = (_by_dim(ways.get(w)) for w in ('prefix', 'random_subset'))
  dims = [dim for dim in prefix if dim in random and dim < evaluation.width]
  if not dims:
    return ''
  dim = min(dims, key=lambda m: (abs(m - evaluation.width / 4), m))
  first, other = prefix[dim], random[dim]
  pca = _by_dim(ways.get('pca')).get(dim)
  verdict = 'No: '
  if first['ci_low'] > other['ci_high']:
    verdict = 'Yes: '
    if pca and pca['ci_low'] > first['ci_high']:
      verdict = 'In part, PCA keeps more: '
  words = (
    f'{verdict}the first {dim:g} of {evaluation.width:g} dimensions are right '
    f'on {_share(first)}, {dim:g} random ones on {_share(other)}'
  )
  return words + (f', {dim:g} of a PCA on {_share(pca)}.' if pca else '.')


def cheap_queries(evaluation) -> str:
  """The first rule with bounded risk that saves; else the paper's."""
  policies = evaluation.by('variant', 'cascade', 'top1')
  bounded = [
    row
    for name, points in policies.items()
    if name.startswith('risk')
    for row in curves.deepest(points)
  ]
  saving = [row for row in bounded if row['expected_dim'] < row['dim']]
  if bounded and not saving:
    return (
      'Not shown: no rule with bounded risk uses fewer than all '
      f'{bounded[0]["dim"]:g} dimensions on these queries; '
      f'{_share(bounded[0])} are right.'
    )
  verdict = 'Yes: ' if saving else ''
  for row in saving or curves.deepest(policies.get('paper', ())):
    words = (
      f'{verdict}with {row["expected_dim"]:.1f} of {row["dim"]:g} dimensions '
      f'on average, {_share(row)} are right'
    )
    fixed = evaluation.detail('cascade', 'fixed')
    against = ''
    if fixed:
      against = f', with all on every query {_fixed(fixed[-1])}'
    label = cascade.policy_label(row['variant'])
    return f'{words}{against} ({label}).'
  return ''


def _fixed(point: Mapping) -> str:
  """A point of cascade.json, whose keys are not those of a row."""
  names = {'value': 'accuracy', 'ci_low': 'low', 'ci_high': 'high'}
  return _share({key: point[name] for key, name in names.items()})


def right_first(evaluation) -> str:
  """The plainest measure of the ranking at both ends."""
  for name, subject in RANKINGS.items():
    if points := curves.deepest(evaluation.curve(name)):
      return _ends(subject, points)
  return ''


def how_fast(evaluation) -> str:
  """The fastest method that finds nearly all, against the exact search."""
  timed = [
    entry
    for entry in evaluation.detail('search', 'methods')
    if entry.get('milliseconds_batch') and (entry.get('recall') or 0) >= ENOUGH
  ]
  exact = [
    entry
    for entry in timed
    if (entry['method'], entry['dim']) == ('prefix', evaluation.width)
  ]
  if not exact:
    return ''
  fast = min(timed, key=lambda entry: entry['milliseconds_batch'])
  whole = f'{exact[0]["milliseconds_batch"]:.2g} ms a query'
  if fast is exact[0]:
    return (
      f'Nothing that finds {ENOUGH:.0%} of the true neighbours is faster than '
      f'comparing with every row in all {evaluation.width:g} dimensions: '
      f'{whole}.'
    )
  points = evaluation.by('variant', 'search', 'recall').get(fast['method'], ())
  found = next(
    (
      _share(row)
      for row in points
      if (row['dim'], row['value']) == (fast['dim'], fast['recall'])
    ),
    f'{blocks.percent(fast["recall"], 1)}%',
  )
  about = f' ({fast["about"]})' if fast.get('about') else ''
  return (
    f'In {fast["milliseconds_batch"]:.2g} ms a query {fast["method"]}{about} '
    f'finds {found} of the true neighbours; comparing with every row in all '
    f'{evaluation.width:g} dimensions takes {whole}.'
  )


def format_cost(evaluation) -> str:
  """What int8 and binary keep at the full width."""
  for metric, word in (('top1', '1-NN'), ('recall', 'the true neighbours')):
    formats = evaluation.by('variant', 'precision', metric)
    kept = [
      f'{name} {_kept(row)}'
      for name in ('float16', 'int8', 'binary')
      for row in curves.deepest(formats.get(name, ()))[-1:]
      if row.get('kept') is not None and row['dim'] == evaluation.width
    ]
    if kept:
      return (
        f'With all {evaluation.width:g} dimensions, of {word} in float32: '
        f'{"; ".join(kept)}.'
      )
  return ''


def _kept(row: Row) -> str:
  """What is kept of the full quality; never more than all of it."""
  share = blocks.number(32 * row['dim'] / (8 * row['bytes']))
  low = row['kept_low']
  if row['kept'] >= 1:
    lost = blocks.percent(max(0, 1 - low), 1)
    words = f'loses nothing that is seen (at most {lost}%)'
  else:
    row = {'value': row['kept'], 'ci_low': low, 'ci_high': row['kept_high']}
    words = f'keeps {_share(row | {"ci_high": min(1, row["ci_high"])})}'
  return f'{words} at 1/{share} of the bytes'


def trusted(evaluation) -> str:
  """How far confidence is off at both ends."""
  points = curves.deepest(evaluation.curve('calibration/ece'))
  return _ends('its stated confidence is off by', points)


def bad_images(evaluation) -> str:
  """Corrupted against clean images at the full width."""
  variants = evaluation.by('variant', 'robustness', 'top1')
  clean, mean = (
    curves.deepest(variants.get(it, ()))[-1:] for it in ('clean', 'mean')
  )
  if not clean or not mean:
    return ''
  return (
    f'With all {mean[0]["dim"]:g} dimensions, {_share(mean[0])} of corrupted '
    f'images are classified right, {_share(clean[0])} of clean ones.'
  )


def which_classes(evaluation) -> str:
  """Rare against frequent classes; else the mean of classes."""
  rare, frequent = (
    curves.deepest(evaluation.curve(f'classes/{name}'))
    for name in ('tail', 'head')
  )
  if not rare or not frequent:
    points = curves.deepest(evaluation.curve('classes/per_class'))
    return _ends('the mean class is right on', points)
  few, full = rare[0], rare[-1]
  verdict = 'Neither rare nor frequent ones for sure'
  if full['ci_high'] < frequent[-1]['ci_low']:
    verdict = 'The rare ones'
  elif full['ci_low'] > frequent[-1]['ci_high']:
    verdict = 'The frequent ones'
  return (
    f'{verdict}: rare classes are right on {_share(full)} with all '
    f'{full["dim"]:g} dimensions and {_share(few)} with {few["dim"]:g}, '
    f'frequent ones on {_share(frequent[-1])} and {_share(frequent[0])}.'
  )


def how_far_apart(evaluation) -> str:
  """How often a pair of one class is more alike than one of two."""
  points = curves.deepest(evaluation.curve('cosine/separation'))
  return _ends('a pair of one class is more alike than one of two in', points)


def in_examples(evaluation) -> str:
  """How many neighbours of the example images are of their class."""
  examples = evaluation.detail('examples', 'examples')
  counts = {}
  for example in examples:
    for dim, nearest in example['neighbours'].items():
      counts.setdefault(dim, []).extend(bool(it['right']) for it in nearest)
  if not counts:
    return ''
  shares = ', '.join(
    f'{sum(right)} of {len(right)} with {dim} dimensions'
    for dim, right in counts.items()
  )
  return f'Neighbours of the right class, of {len(examples)} images: {shares}.'


def _ends(subject: str, points: Sequence[Row]) -> str:
  """A curve at the full width and at its smallest dimension."""
  if not points:
    return ''
  small, full = points[0], points[-1]
  words = f'With all {full["dim"]:g} dimensions {subject} {_share(full)}'
  if small is not full:
    words += f', with {small["dim"]:g} {_share(small)}'
  return f'{words}.'


def _level(points: Sequence[Row]) -> Row:
  """The first row from which on all intervals overlap the last one's."""
  level = points[-1]
  for row in reversed(points):
    if row['ci_high'] < points[-1]['ci_low']:
      break
    level = row
  return level


def _share(row: Mapping) -> str:
  """`91.2% (90.0 to 92.3)`."""
  value, low, high = (
    blocks.percent(row[key], 1) for key in ('value', 'ci_low', 'ci_high')
  )
  return f'{value}% ({low} to {high})'


def _by_dim(points: Sequence[Row] | None) -> dict[float, Row]:
  return {row['dim']: row for row in curves.deepest(points or ())}
