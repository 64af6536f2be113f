"""Accuracy against dimension: curves, baselines, published, few shots."""

from mrl_jax.report import blocks, charts, curves, published, tables

DIMENSIONS = 'dimensions used of the embedding'
BASELINES = {
  'prefix': ('prefix', 0),
  'pca': ('PCA', 1),
  'svd': ('SVD', 3),
  'random_subset': ('random subset', 2),
  'random_projection': ('random projection', 4),
  'random_rotation': ('random rotation', 5),
  'ff': ('trained at that size (FF)', 7),
}


def against_dimension(seen):
  """The main curves with their intervals."""
  lines = curves.main_lines(seen.rows)
  if not lines:
    return
  yield charts.draw(
    'Accuracy against dimension',
    charts.Axes(DIMENSIONS, '%', dims=curves.dims(*lines)),
    lines,
    'Bands are 95% intervals.'
    + (' Open points were not trained.' if hollow(lines) else ''),
  )
  names = list(curves.main(seen.rows))
  if published.comparable(seen.config):
    yield from beside_published(seen)
  yield from kept(seen)
  header, cells = tables.cells(seen.rows, names)
  yield blocks.Table(header, cells, tables.STAR if hollow(lines) else '')


def hollow(lines) -> bool:
  return any(line.hollow for line in lines)


def beside_published(seen):
  """Our curve and the published ones, percent of the same test set."""
  for name, points in curves.main(seen.rows).items():
    lines = curves.references(name)
    if lines:
      label = curves.SHORT[curves.base(name)]
      ours = curves.line('this run', points, curves.MAIN[curves.base(name)])
      source = published.beside(name)[0]['source']
      yield charts.draw(
        f'{label} beside the published curves',
        charts.Axes(DIMENSIONS, '%', dims=curves.dims(ours, *lines)),
        [ours, *lines],
        f'Dotted: ResNet-50 on ImageNet-1K, {source}.',
      )


def kept(seen):
  """What each size keeps of the full width, comparable across datasets."""
  lines = []
  for name, points in curves.main(seen.rows).items():
    full = points[-1]['value']
    if full > 0 and len(points) > 1 and curves.base(name) != 'knn/weighted':
      label = curves.SHORT[curves.base(name)]
      colour = curves.MAIN[curves.base(name)]
      share = [100 * p['value'] / full for p in points]
      x = [p['dim'] / points[-1]['dim'] for p in points]
      marker = charts.MARKERS[colour]
      lines.append(charts.Line(label, x, share, colour=colour, marker=marker))
  dotted = [
    charts.Line(
      line.label, [x / line.x[-1] for x in line.x], line.y,
      colour=line.colour, style=':', marker=line.marker,
    )
    for line in curves.references('linear/top1', relative=True)
  ]  # fmt: skip
  if lines:
    yield charts.draw(
      'Kept of the full width',
      charts.Axes(
        'share of the full width', '% of full width kept', shares=True
      ),
      [*lines, *dotted],
      'Dotted, for context only: ResNet-50 on ImageNet-1K, widths 8 to 2048, '
      f'linear top-1, {published.beside("linear/top1")[0]["source"]}.',
    )


def baselines(seen):
  """The prefix beside other ways to the same size of the same embedding."""
  for metric, word in (
    ('knn_top1', '1-NN'),
    ('probe_top1', 'linear probe'),
    ('linear_top1', 'linear head'),
  ):
    lines = []
    for points in seen.of('baselines', metric).values():
      variant = points[0].get('variant', '')
      label, colour = BASELINES.get(variant, (variant, len(lines)))
      style = '-' if variant in ('prefix', 'ff') else '--'
      lines.append(curves.line(label, points, colour, style=style))
    if lines and published.comparable(seen.config):
      beside = 'knn/top1' if metric == 'knn_top1' else 'linear/top1'
      lines += curves.references(beside, curves.BASELINES)
    if lines:
      yield charts.draw(
        f'Baselines at the same size, {word}',
        charts.Axes(DIMENSIONS, '%', dims=curves.dims(*lines)),
        lines,
      )


def few_shot(seen):
  """Nearest class mean from a few examples per class."""
  lines = [
    curves.line(shots(points[0].get('k')), points, colour)
    for colour, points in enumerate(
      sorted(
        seen.of('few_shot', 'top1').values(), key=lambda p: p[0].get('k', 0)
      )
    )
  ]
  yield from blocks.sentences(seen, 'few_shot')
  if lines:
    yield charts.draw(
      'Few examples per class, nearest mean',
      charts.Axes(DIMENSIONS, '%', dims=curves.dims(*lines)),
      lines,
    )


def shots(k) -> str:
  return f'{k} shot{"" if k == 1 else "s"}'


PARTS = (against_dimension, baselines, few_shot)
TITLE = 'Accuracy against dimension'
