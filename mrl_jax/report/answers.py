"""The first sentence of each chapter: its question answered with a number.

Each returns '' where the rows that it needs are missing.
"""

import statistics
from collections.abc import Mapping, Sequence

from mrl_jax.report import blocks, curves, margin, search
from mrl_jax.rows import Row

# Main curve -> the words before its percent.
SUBJECTS = {
  'linear/top1': 'The linear head is right on',
  'probe/top1': 'A new linear classifier is right on',
  'knn/top1': 'The nearest row has the right class for',
  'knn/weighted': 'A vote of near rows is right on',
  'retrieval/map@10': 'mAP@10 is',
  'retrieval/ndcg@10': 'nDCG@10 is',
}
RANKINGS = {
  'retrieval/top1': 'The first row is right for',
  'retrieval/ndcg@10': 'nDCG@10 is',
  'retrieval/mrr@10': 'MRR@10 is',
  'retrieval/map@10': 'mAP@10 is',
}
LITTLE = 0.02  # of a correlation
ENOUGH = 0.99  # share of the true neighbours that a fast search must find


def how_accurate(evaluation) -> str:
  """The first main curve at both ends, and where it stops to rise."""
  for name, points in curves.main(evaluation.rows).items():
    if curves.correlated(name):
      continue
    points = curves.deepest(points)
    words = _ends(SUBJECTS[curves.main_name(name)], points)
    paired = name == curves.JUDGED and 'difference_high' in points[0]
    level = _level(points, paired)
    if level is not points[-1]:
      words += f' From {level["dim"]:g} dimensions on, '
      words += (
        'none is surely worse than all on the same queries.'
        if paired
        else 'the intervals overlap with that of all.'
      )
    return words
  return ''


def follows_scores(evaluation) -> str:
  """Spearman at both ends, and from where on little is lost for sure.

  LITTLE at most, by the interval of the difference over the same pairs.
  """
  points = curves.deepest(evaluation.curve('pairs/spearman'))
  words = _ends('Spearman x 100 is', points, '')
  little: list[Row] = []
  for row in reversed(points[:-1]):
    if row['difference_low'] < -LITTLE:
      break
    little.append(row)
  if little:
    row = little[-1]
    most = max(0.0, -row['difference_low'])
    words += (
      f' With {row["dim"]:g} dimensions it differs by '
      f'{100 * row["difference"]:+.1f} points from all (at most '
      f'{blocks.percent(most, 1)} lost), over the same pairs.'
    )
  return words


def is_nested(evaluation) -> str:
  """The prefix against its rivals, where it leads a random rotation most.

  In points, on the same queries, with 95% intervals. The verdict widens them,
  as for a normal deviate, for as many dims as it looks at.
  """
  said = nesting(evaluation)
  rivals = {
    name: {point['dim']: point for point in points}
    for name, points in said.get('by', {}).items()
  }
  leads = rivals.get('random_rotation', {})
  if not leads:
    return ''
  wider = _wider(len(leads))
  sure = {
    m: it['value'] - wider * (it['value'] - it['low'])
    for m, it in leads.items()
  }
  dim, width = max(sure, key=lambda m: (sure[m], -m)), said['width']
  rotation, pca, subset = (
    rivals[name][dim] for name in ('random_rotation', 'pca', 'random_subset')
  )
  verdict = 'No' if rotation['high'] < 0 else 'Not shown'
  if rotation['low'] > 0:
    verdict = 'Not for sure'
  if sure[dim] > 0:
    verdict = 'Yes' if pca['high'] >= 0 else 'In part, PCA keeps more'
  what = {
    'knn_top1': 'nearest rows of the right class',
    'ndcg': f'nDCG@{said.get("k")}',
    'spearman': 'Spearman x 100',
  }.get(said['metric']) or f'the {said["k"]} nearest rows'
  return (
    f'{verdict}: by {what}, the first {dim:g} of {width:g} dimensions differ '
    f'by {_in_points(rotation)} from a random rotation of the same vectors, '
    f'{_in_points(subset)} from random dimensions and {_in_points(pca)} from '
    f'PCA.{_ahead(rivals["pca"], dim)}'
  )


def _ahead(points: Mapping[float, Mapping], said: float) -> str:
  """Where PCA surely leads the prefix most; '' if nowhere else than `said`."""
  losses = {m: -it['value'] for m, it in points.items() if it['high'] < 0}
  if not losses or (dim := max(losses, key=losses.__getitem__)) == said:
    return ''
  low, high = (-100 * points[dim][end] for end in ('high', 'low'))
  return (
    f' PCA leads most at {dim:g}, by {100 * losses[dim]:.1f} points '
    f'({low:.1f} to {high:.1f}).'
  )


def nesting(evaluation) -> Mapping:
  """What is known of the prefix and its rivals, over queries or pairs."""
  known = (evaluation.detail(it, 'nested', {}) for it in ('baselines', 'pairs'))
  return next(filter(None, known), {})


def _wider(looks: int) -> float:
  """How much wider an interval is that holds for so many looks at once."""
  normal = statistics.NormalDist()
  return normal.inv_cdf(1 - 0.025 / looks) / normal.inv_cdf(0.975)


def _in_points(difference: Mapping) -> str:
  """`+2.3 points (1.0 to 3.6)`; the interval is 95%."""
  value, low, high = (100 * difference[key] for key in ('value', 'low', 'high'))
  return f'{value:+.1f} points ({low:.1f} to {high:.1f})'


def cheap_queries(evaluation) -> str:
  """The strictest rule with bounded risk that saves; else the paper's.

  Without any, by margins of the scores.
  """
  policies = evaluation.by('variant', 'cascade', 'top1')
  bounded = [
    row
    for name, points in policies.items()
    if name.startswith('risk')
    for row in curves.deepest(points)
  ]
  bounded.sort(key=lambda row: float(row['variant'].removeprefix('risk')))
  saving = [row for row in bounded if row['expected_dim'] < row['dim']]
  by = evaluation.detail('cascade', 'by', '')
  right = f'right by the {by}' if by else 'right'
  if bounded and not saving:
    return (
      'Not shown: no rule that surely loses few queries uses fewer than all '
      f'{bounded[0]["dim"]:g} dimensions here; {share(bounded[0])} are {right}.'
    )
  for row in saving or curves.deepest(policies.get('paper', ())):
    words = f'{share(row)} are {right}'
    if fixed := evaluation.detail('cascade', 'fixed'):
      words += f', {_fixed(fixed[-1])} with all on every query'
    verdict = 'Yes, with' if saving else 'With'
    return (
      f'{verdict} {row["expected_dim"]:.1f} of {row["dim"]:g} dimensions on '
      f'average: {words}.'
    )
  return margin.saved_by_margins(evaluation)


def _fixed(point: Mapping) -> str:
  """A point of cascade.json, whose keys are not those of a row."""
  names = {'value': 'accuracy', 'ci_low': 'low', 'ci_high': 'high'}
  return share({key: point[name] for key, name in names.items()})


def right_first(evaluation) -> str:
  """The plainest measure of the ranking at both ends."""
  for name, subject in RANKINGS.items():
    if points := curves.deepest(evaluation.curve(name)):
      return _ends(subject, points)
  return ''


def how_fast(evaluation) -> str:
  """The fastest method that finds nearly all, against all of every row."""
  timed = [
    entry
    for entry in evaluation.detail('search', 'methods')
    if entry.get('milliseconds_batch') and (entry.get('recall') or 0) >= ENOUGH
  ]
  timed.sort(key=lambda entry: entry['milliseconds_batch'])
  exact = [
    entry
    for entry in timed
    if entry['method'] in ('prefix', 'device')
    and entry['dim'] == evaluation.width
  ]
  if not exact:
    return ''
  fast, whole = timed[0], f'{exact[0]["milliseconds_batch"]:.2g} ms a query'
  if fast is exact[0]:
    return (
      f'Comparing with every row in all {evaluation.width:g} dimensions takes '
      f'{whole}; nothing that finds {ENOUGH:.0%} of the true neighbours is '
      'faster here.'
    )
  label = search.METHODS.get(fast['method'], (fast['method'],))[0]
  about = f' ({fast["about"]})' if fast.get('about') else ''
  return (
    f'In {fast["milliseconds_batch"]:.2g} ms a query, {label}{about} finds '
    f'{_found(evaluation, fast)} of the true neighbours; comparing with every '
    f'row in all {evaluation.width:g} dimensions takes {whole}.'
  )


def _found(evaluation, entry: Mapping) -> str:
  """The recall of a method with the interval of its row, if there is one."""
  points = evaluation.by('variant', 'search', 'recall').get(entry['method'], ())
  sought = entry['dim'], entry['recall']
  for row in points:
    if (row['dim'], row['value']) == sought:
      return share(row)
  return f'{blocks.percent(entry["recall"], 1)}%'


def store_cost(evaluation) -> str:
  """What each number format keeps at the full width."""
  for metric, words in (
    ('top1', 'right answers by 1-NN'),
    ('recall', 'nearest rows'),
    ('ndcg', 'nDCG'),
  ):
    formats = evaluation.by('variant', 'stores', metric)
    kept = [
      f'{name} {_kept(row)}'
      for name in ('float16', 'int8', 'binary')
      for row in curves.deepest(formats.get(f'prefix.{name}', ()))[-1:]
      if row.get('kept') is not None and row['dim'] == evaluation.width
    ]
    if kept:
      return (
        f'Of the {words} that float32 gives with all {evaluation.width:g} '
        f'dimensions, {"; ".join(kept)}.'
      )
  return _of_pairs(evaluation)


def _of_pairs(evaluation) -> str:
  """What the store that is decided for by scored pairs keeps."""
  one = evaluation.chosen
  measured = one and one['measures'].get('spearman')
  if not measured or measured['kept'] is None:
    return ''
  ends = {'ci_low': measured['kept_low'], 'ci_high': measured['kept_high']}
  return (
    f'{one["label"][:1].upper()}{one["label"][1:]}, keep '
    f"{share({'value': measured['kept'], **ends})} of Spearman's correlation "
    f'at full width, with {one["held"]:,.1f} bytes a text.'
  )


def _kept(row: Row) -> str:
  """What is kept of the full quality; never more than all of it."""
  size = blocks.number(round(4 * row['dim'] / row['held'], 1))
  if row['kept'] >= 1:
    lost = blocks.percent(max(0, 1 - row['kept_low']), 1)
    words = f'loses none that can be seen (at most {lost}%)'
  else:
    ends = {'ci_low': row['kept_low'], 'ci_high': min(1, row['kept_high'])}
    words = f'keeps {share({"value": row["kept"], **ends})}'
  return f'{words} at 1/{size} of the bytes'


def trusted(evaluation) -> str:
  """How far confidence is off at both ends."""
  points = curves.deepest(evaluation.curve('calibration/ece'))
  return _ends('The stated confidence is off by', points, ' points')


def bad_images(evaluation) -> str:
  """Corrupted against clean images at the full width."""
  variants = evaluation.by('variant', 'robustness', 'top1')
  clean, mean = (
    curves.deepest(variants.get(it, ()))[-1:] for it in ('clean', 'mean')
  )
  if not clean or not mean:
    return ''
  return (
    f'With all {mean[0]["dim"]:g} dimensions, {share(mean[0])} of corrupted '
    f'images are classified right, {share(clean[0])} of clean ones.'
  )


def which_classes(evaluation) -> str:
  """Rare against frequent classes; else the mean of classes."""
  rare, frequent = (
    curves.deepest(evaluation.curve(f'classes/{name}'))
    for name in ('tail', 'head')
  )
  if not rare or not frequent:
    points = curves.deepest(evaluation.curve('classes/per_class'))
    return _ends('The mean class is right on', points)
  few, full = rare[0], rare[-1]
  verdict = 'Neither rare nor frequent ones for sure'
  if full['ci_high'] < frequent[-1]['ci_low']:
    verdict = 'The rare ones'
  elif full['ci_low'] > frequent[-1]['ci_high']:
    verdict = 'The frequent ones'
  return (
    f'{verdict}: rare classes are right on {share(full)} with all '
    f'{full["dim"]:g} dimensions and {share(few)} with {few["dim"]:g}, '
    f'frequent ones on {share(frequent[-1])} and {share(frequent[0])}.'
  )


def how_far_apart(evaluation) -> str:
  """How often a pair of one class is more alike than one of two."""
  points = curves.deepest(evaluation.curve('cosine/separation'))
  return _ends('A pair of one class is more alike than one of two in', points)


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


def _ends(subject: str, points: Sequence[Row], unit: str = '%') -> str:
  """A curve at the full width and at its smallest dimension."""
  if not points:
    return ''
  small, full = points[0], points[-1]
  words = f'{subject} {share(full, unit)} with all {full["dim"]:g} dimensions'
  if small is not full:
    words += f', {share(small, unit)} with {small["dim"]:g}'
  return f'{words}.'


def _level(points: Sequence[Row], paired: bool) -> Row:
  """The first row from which on all intervals overlap the last one's.

  `paired` looks at the differences to the last one.
  """
  level = points[-1]
  for row in reversed(points):
    worse = row['ci_high'] < points[-1]['ci_low']
    if row.get('difference_high', 0) < 0 if paired else worse:
      break
    level = row
  return level


def share(row: Mapping, unit: str = '%') -> str:
  """`91.2% (90.0 to 92.3)`."""
  value, low, high = (
    blocks.percent(row[key], 1) for key in ('value', 'ci_low', 'ci_high')
  )
  return f'{value}{unit} ({low} to {high})'
