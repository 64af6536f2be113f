"""margin: searches by two prefixes beside one dimension for all queries."""

from mrl_jax.report import blocks, charts, curves, tables

MEASURES = {'ndcg': 'nDCG@{}', 'top1': 'first row right'}
NEAR = 0.01  # a difference to all dims that is near enough


def saved_by_margins(evaluation) -> str:
  """The cheapest rule that is surely near all dims, and whether it saves."""
  points = _points(evaluation)
  if not points:
    return ''
  name, width = _measure(points[0]), points[0]['dim']
  near = [row for row in points if row['to_full_low'] >= -NEAR]
  saving = [row for row in near if row['cumulative'] < width]
  if not saving:
    return (
      f'Not proven: on {points[0]["n"]:,} queries that did not choose it, no '
      'rule that adds dimensions where rows score alike is surely within one '
      f'point of always searching all {width:g} in {name}.'
    )
  row = saving[0]
  to_full = blocks.apart(row, 'to_full')
  if row['first'] == row['then']:
    return (
      f'Not shown: within {row["budget"]:g} dimensions the best rule found is '
      f'{row["first"]:g} for all queries; it differs by {to_full} points from '
      f'all {width:g} in {name}.'
    )
  verdict = 'Yes' if row['to_fixed_low'] > 0 else 'Not shown'
  return (
    f'{verdict}: with {row["cumulative"]:.1f} of {width:g} dimensions searched '
    f'on average, first {row["first"]:g}, then {row["then"]:g} where rows '
    f'score alike, {name} differs by {to_full} points from all and by '
    f'{blocks.apart(row, "to_fixed")} from {row["budget"]:g} for all queries.'
  )


def margin(evaluation):
  """The measure against the dims searched, and a line per budget."""
  points = _points(evaluation)
  if not points:
    yield from blocks.sentences(evaluation, 'margin')
    return
  name = _measure(points[0])
  fixed = [
    {**it, 'ci_low': it['low'], 'ci_high': it['high']}
    for it in evaluation.detail('margin', 'fixed')
  ]
  lines = curves.lines('the same for all queries', fixed, 0)
  lines += curves.lines(
    'goes on where rows score alike', points, 4, x='cumulative', style=''
  )
  yield charts.draw(
    f'{name}, against the dimensions searched',
    charts.Axes(
      'dimensions searched, mean of the queries',
      '%',
      dims=[it['dim'] for it in fixed],
    ),
    lines,
    'A query searches with few dimensions, and again with more where the '
    'first rows score nearly alike; both searches count. No rule was chosen '
    'on the queries shown.',
  )
  yield blocks.Table(
    [
      'dims at most',
      'rule',
      f'{name}, %',
      'dims searched, mean',
      'gain over as many for all',
      'to all dims',
    ],
    [
      [
        f'{row["budget"]:g}',
        _rule(row),
        blocks.interval(row),
        blocks.number(row['cumulative']),
        _beside_fixed(row),
        _beside_full(row),
      ]
      for row in points
    ],
    'Differences in points, on the same queries, with 95% intervals.',
    fold=tables.folded(points, 'budgets'),
  )


def _points(evaluation) -> list:
  """The rows, by budget."""
  points = [row for row in evaluation.rows if row['evaluator'] == 'margin']
  return sorted(points, key=lambda row: row['budget'])


def _measure(row) -> str:
  return MEASURES[row['metric']].format(row.get('k', ''))


def _beside_fixed(row) -> str:
  """The difference to as many dims for all; `-` where the rule is that."""
  same = row['first'] == row['then'] == row['budget']
  return '-' if same else blocks.apart(row, 'to_fixed')


def _beside_full(row) -> str:
  """The difference to all dims; `-` where the rule is that."""
  same = row['first'] == row['then'] == row['dim']
  return '-' if same else blocks.apart(row, 'to_full')


def _rule(row) -> str:
  """`16, then 64` or `16 for all`."""
  if row['first'] == row['then']:
    return f'{row["first"]:g} for all'
  return f'{row["first"]:g}, then {row["then"]:g}'
