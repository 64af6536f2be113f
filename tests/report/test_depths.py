"""Rows of two depths: told apart in lines, charts, tables and files."""

import csv
import re

from mrl_jax.report import charts, compare, curves, headline, results, tables
from tests.samples.report import cascade_rows, made, row, stores_rows

DIMS = (8, 64)


def two_depths():
  """A linear head after four layers and after eight; few-shot rows too."""
  return [
    row(name, metric, dim, 0.5 + dim / 1000 + depth / 100, depth=depth, **extra)
    for name, metric, extra in (
      ('linear', 'top1', {}),
      ('few_shot', 'top1', {'k': 5}),
      ('robustness', 'top1', {'variant': 'fog'}),
      ('agreement', 'first_right', {}),
    )
    for depth in (8, 4)
    for dim in DIMS
  ]


def test_a_curve_per_depth_with_its_layers_in_the_label():
  deep, shallow = curves.main_lines(two_depths())
  assert deep.label == 'linear head, 8 layers'
  assert shallow.label == 'linear head, 4 layers'
  assert deep.x == shallow.x == [8, 64]
  assert shallow.y == [100 * (0.5 + dim / 1000 + 0.04) for dim in DIMS]
  assert deep.colour == shallow.colour
  assert (deep.style, deep.marker) != (shallow.style, shallow.marker)


def test_all_layers_come_first_and_keep_the_plain_label():
  points = [row('knn', 'top1', 8, 0.5, depth=2), row('knn', 'top1', 8, 0.6)]
  whole, shallow = curves.lines('1-NN', points, 2)
  assert (whole.label, whole.y) == ('1-NN', [60])
  assert (shallow.label, shallow.y) == ('1-NN, 2 layers', [50])


def test_a_table_has_a_line_per_granularity():
  _, lines = tables.cells(two_depths(), ['linear/top1'])
  assert lines == [
    ['l4d8', '54.80 (53.8 to 55.8)'],
    ['l4d64', '60.40 (59.4 to 61.4)'],
    ['l8d8', '58.80 (57.8 to 59.8)'],
    ['l8d64', '64.40 (63.4 to 65.4)'],
  ]
  words = tables.text(two_depths())
  assert re.search(r'\n +l4d8 +54\.80 ', words) and 'l8d64' in words


def test_the_csv_has_a_line_per_granularity(tmp_path):
  results.write(tmp_path, two_depths())
  with (tmp_path / 'curves.csv').open() as file:
    lines = list(csv.DictReader(file))
  sizes = [(line['depth'], line['dim']) for line in lines]
  assert sizes == [('4', '8'), ('4', '64'), ('8', '8'), ('8', '64')]
  values = [round(float(line['linear/top1']), 6) for line in lines]
  assert values == [0.548, 0.604, 0.588, 0.644]


def test_the_page_shows_both(tmp_path):
  points = two_depths() + [{**r, 'depth': 4} for r in cascade_rows()]
  points += [{**r, 'depth': 4} for r in stores_rows()]
  _, text = made(tmp_path, points)
  assert 'left out' not in text
  for title in ('Accuracy by dimension', 'With few labelled examples'):
    figure = re.search(rf'(?s)<figcaption>{title}.*?</figure>', text)[0]
    assert '8 layers' in figure and '4 layers' in figure
  for size in ('l4d8', 'l8d64'):
    assert f'<td>{size}</td>' in text  # a line of the main curves
    assert f'<th scope="col">{size}</th>' in text  # a column of the others


def test_the_headline_is_about_all_layers():
  evaluation = results.Evaluation('a', two_depths())
  assert headline.words(evaluation)[1] == (
    'linear head, top-1: 58.8% with 8 of 64 dimensions, 64.4% with all.'
  )


def test_runs_are_compared_by_granularity(tmp_path):
  for name, shift in (('a', 0), ('b', 0.1)):
    points = [{**r, 'value': r['value'] + shift} for r in two_depths()]
    results.write(tmp_path / name / 'eval' / '1', points)
  path = compare.write([tmp_path / name for name in 'ab'], tmp_path / 'out')
  text = path.read_text()
  for name in ('linear/top1/l4d8', 'linear/top1/l8d64', 'l4d8'):
    assert f'<td>{name}</td>' in text
  assert 'a, 8 layers' in text and 'b, 4 layers' in text


def test_without_a_depth_nothing_says_so(tmp_path):
  results.write(tmp_path, [row('knn', 'top1', 8, 0.5)])
  header = (tmp_path / 'curves.csv').read_text().splitlines()[0]
  assert header.startswith('dim,knn/top1,')
  line = charts.Line('1-NN', [8], [50], [49], [51], 2, '-', 'D')
  assert curves.lines('1-NN', [row('knn', 'top1', 8, 0.5)], 2) == [line]
