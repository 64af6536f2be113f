"""The report against the rows it is made of: words, tables, pages."""

import html
import math
import re

import pytest

from mrl_jax.report import (
  adaptive,
  blocks,
  charts,
  cost,
  curves,
  headline,
  markdown,
  page,
  published,
  reliability,
  results,
  tables,
)
from tests.samples.report import (
  DIMS,
  RECOMMENDATION,
  all_details,
  all_rows,
  few_rows,
  grown,
  made,
  precision_rows,
  row,
)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Everything at once: (folder, page)."""
  return made(tmp_path_factory.mktemp('whole'), all_rows(), all_details())


def test_results_round_trip_and_curves(tmp_path):
  results.write(tmp_path, few_rows(), {'probe': {'a': 1}})
  assert results.read(tmp_path) == few_rows()
  assert results.details(tmp_path) == {'probe': {'a': 1}}
  lines = (tmp_path / 'curves.csv').read_text().splitlines()
  assert lines[0].split(',')[:3] == ['dim', 'linear/top1', 'linear/top1/ci_low']
  assert lines[1].split(',')[:2] == ['8', repr(few_rows()[0]['value'])]
  assert len(lines) == 1 + len(DIMS)
  results.write(tmp_path, few_rows())  # a second time, without a probe
  assert results.details(tmp_path) == {}


def test_labels():
  names = {
    'linear/top1': 'linear head, top-1',
    'knn/weighted@20': 'weighted k-NN (k=20)',
    'retrieval/map@10': 'retrieval mAP@10',
    'search/recall@10.ar': 'search/recall@10.ar',
  }
  for name, label in names.items():
    assert results.label(name) == label


def test_policies_are_named_as_in_their_chart():
  names = 'paper conditional joint16 risk0.005 risk0.02 else'.split()
  assert [adaptive.policy(name) for name in names] == [
    "the paper's thresholds",
    'thresholds on those that arrive',
    'joint search, 16 dims',
    'bounded risk, 0.5%',
    'bounded risk, 2%',
    'else',
  ]


def test_bins_of_few_examples_are_not_drawn(monkeypatch):
  drawn = []
  monkeypatch.setattr(charts, 'draw', lambda *given: drawn.append(given[2]))

  def bins(*counts):
    return [
      {'confidence': 0.5, 'accuracy': c / 100, 'count': c} for c in counts
    ]

  details = {'dims': [8, 16], 'reliability': [bins(9, 10, 40), bins(3, 0)]}
  seen = results.Evaluation('run', [], {'calibration': details})
  assert list(reliability.diagram(seen)) == [None]
  ((line,),) = drawn
  assert line.label == '8 dims' and line.y == [10, 40]


def test_shares_are_in_percent_and_cosines_are_not():
  assert blocks.interval(row('knn', 'top1', 8, 0.5)) == '50.00 (49.0 to 51.0)'
  assert blocks.interval(row('cosine', 'negative', 8, -0.25, 0.125)) == (
    '-0.25 (-0.375 to -0.125)'
  )
  bare = {'evaluator': 'cosine', 'value': 0.5, 'ci_low': None}
  assert blocks.interval(bare) == '0.5'
  assert blocks.interval({'value': math.nan}) == blocks.interval(None) == '-'


def test_the_terminal_keeps_its_three_columns():
  lines = tables.text(few_rows()).splitlines()
  assert lines[0] == (
    'dim    linear head, top-1                  1-NN  weighted k-NN (k=20)'
  )
  assert lines[2].startswith('  8  80.93 (79.9 to 81.9)  78.13 (77.1 to 79.1)')
  assert lines[3].startswith('12*') and lines[-1] == tables.STAR


def test_the_terminal_fits_a_hundred_columns():
  text = tables.text(all_rows(), RECOMMENDATION)
  assert max(map(len, text.splitlines())) <= 100
  for word in ('linear probe', 'mAP@10', '80.9 (79.9-81.9)'):
    assert word in text
  assert (
    'cascade, paper: 90.50 (89.5 to 91.5) with 11.5 of 64 dimensions' in text
  )
  assert f'recommended: {RECOMMENDATION}' in text
  assert 'linear/top5' not in text and 'joint' not in text


def test_the_terminal_without_main_curves_or_rows():
  rows = [row('cosine', 'positive', d, 0.5) for d in DIMS]
  assert 'cosine/positive' in tables.text(rows)
  assert tables.text([]) == 'dim\n---'
  assert tables.text([row('linear', 'top1', 8, math.nan)]).endswith(' -')


def test_markdown_tables_escape_bars():
  assert tables.markdown(few_rows()).splitlines()[1].startswith('| --- |')
  assert tables.grid(['a|b'], [['c']]) == '| a\\|b |\n| --- |\n| c |'
  assert markdown.plain('<b>_x_*') == '&lt;b>\\_x\\_\\*'
  assert markdown.fenced('a ``` b').startswith('````json\n')


def test_the_page_stands_alone_and_is_light(whole):
  _, text = whole
  assert len(text.encode()) < 1_000_000
  assert not re.search(r'https?:|xlink|//[a-z]+\.', text)
  loads = re.findall(r'(?:src|href)="([^"]{0,20})', text)
  assert loads and all(u.startswith(('#', 'data:image/png')) for u in loads)
  assert not re.search(r'url\((?!#)', text)
  assert '<script' not in text
  assert 'left out' not in text


def test_every_section_has_its_charts(whole):
  _, text = whole
  for title in (
    'Accuracy against dimension;Kept of the full width;'
    'Baselines at the same size, 1-NN;Baselines at the same size, linear probe;'
    'Few examples per class, nearest mean;'
    'Accuracy against the expected dimension;First right at;'
    'Retrieval against dimension;Search: recall@10 against work;'
    'Search: top-1 against work;Search: recall against time, in batches;'
    'Search: recall against time, one by one;1-NN top-1 against bytes;'
    'Calibration error (ECE);Accuracy of what it is sure of;Groups of classes;'
    'Classes that gain most and least with size;Corrupted images;'
    'Cosine similarity of pairs;How cosines are spread'
  ).split(';'):
    assert f'<figcaption>{html.escape(title)}</figcaption>' in text, title
    assert f'aria-label="{title}"' in text
  for anchor in re.findall(r'href="#([a-z-]+)"', text):
    assert text.count(f'id="{anchor}"') == 1


def test_the_device_is_drawn_against_time_only(whole):
  _, text = whole
  figures = re.findall(r'(?s)<figure><figcaption>Search: .*?</figure>', text)
  assert len(figures) == 4
  for figure in figures:
    assert ('exact on the device' in figure) == ('against time' in figure)
    assert 'exact on the prefix' in figure
  assert text.count('exact on the device') == 2


def test_every_row_is_in_the_page_and_in_markdown(whole):
  folder, text = whole
  written = (folder / 'report.md').read_text()
  for found in all_rows():
    value, low, high = (found[key] for key in ('value', 'ci_low', 'ci_high'))
    cell = f'{100 * value:.2f} ({100 * low:.1f} to {100 * high:.1f})'
    if found['evaluator'] == 'cosine':
      cell = f'{value:.4g} ({low:.4g} to {high:.4g})'
    assert f'<td>{cell}</td>' in text
    assert f'| {cell} |' in written
  name = results.curve_name(all_rows()[0])
  line = re.search(rf'<tr><td>{name}</td>.*', text)[0]
  values = [float(v) for v in re.findall(r'<td>([\d.]+) \(', line)]
  assert values == [round(100 * grown(d, 0.912, 0.2), 2) for d in DIMS]


def test_text_is_escaped_everywhere(tmp_path):
  rows = few_rows() + [row('<i>x', '<i>y', 8, 0.5, variant='<i>&"z')]
  details = all_details()
  details['classes']['classes'][0]['name'] = '<i>class'
  details['precision']['recommendation']['text'] = 'use <i>8'
  details['examples']['examples'][0]['name'] = '"><i>'
  _, text = made(tmp_path, rows, details, {'note': '<i>&'})
  assert '<i>' not in text and '&lt;i&gt;&amp;' in text
  assert '"><i>' not in text


def test_an_image_that_is_not_base64_is_refused(tmp_path):
  details = {'examples': all_details()['examples']}
  details['examples']['examples'][0]['image'] = '" onerror="x'
  _, text = made(tmp_path, few_rows(), details)
  assert 'onerror' not in text and 'neighbours was left out' in text


@pytest.mark.parametrize('kept', ['linear', 'cascade', 'search', 'cosine', ''])
def test_missing_evaluators(tmp_path, kept):
  rows = [r for r in all_rows() if r['evaluator'] == kept]
  _, text = made(tmp_path, rows)
  assert 'left out' not in text
  assert all(r['evaluator'] in text for r in rows)
  assert tables.text(rows)


MALFORMED = {
  'cosine': {'dims': [8], 'histograms': {'negative': [[1], [2]]}},
  'calibration': {'dims': [8], 'reliability': [[{'count': 99}]]},
  'classes': {'classes': [{'name': 'a'}]},
  'search': {'methods': 7},
  'cascade': {'fixed': [{'dim': 8}]},
  'examples': {'examples': [{}]},
  'precision': {'recommendation': 'text'},
}


def test_malformed_details_are_named_and_the_rest_is_drawn(tmp_path):
  _, text = made(tmp_path, all_rows(), MALFORMED)
  for (
    part
  ) in 'diagram trends methods milliseconds cascade neighbours spans'.split():
    assert re.search(f'<p class="soft">{part} was left out: [A-Z]', text), part
  assert 'Baselines at the same size' in text and 'Groups of classes' in text
  assert '1-NN top-1 against bytes' in text and 'pareto' not in text


def test_files_that_are_not_json_objects_are_named(tmp_path):
  folder, _ = made(tmp_path, few_rows())
  (folder / 'search.json').write_text('{"methods": [')
  (folder / 'precision.json').write_text('[1]')
  (folder / 'cosine.json').write_bytes(b'\xff\xfe')
  text = page.write(folder, tmp_path / 'run').read_text()
  for name in ('search', 'precision', 'cosine'):
    assert f'{name}.json was left out' in text
  (tmp_path / 'run' / 'config.json').write_text('{')
  assert (
    'config.json was left out'
    in page.write(folder, tmp_path / 'run').read_text()
  )


def test_a_curve_has_one_colour_in_all_charts():
  alone = curves.main_lines([r for r in few_rows() if r['evaluator'] == 'knn'])
  among = curves.main_lines(all_rows())
  colours = {line.label: line.colour for line in among}
  assert all(line.colour == colours[line.label] for line in alone)
  assert len(set(colours.values())) == len(colours) == 5


def test_published_curves_beside_imagenet_only(tmp_path):
  _, text = made(tmp_path / 'a', few_rows())
  assert 'beside the published' not in text
  assert 'for context only' in text  # relative to the full width
  config = {'data': {'source': {'dataset': 'imagenet2012:5.1.0'}}}
  _, text = made(tmp_path / 'b', all_rows(), all_details(), config)
  assert 'linear head beside the published curves' in text
  assert 'cascade, published' in text


def test_published_values():
  """The ends of tables 1 and 2 as the paper's text and tables have them."""
  for name, beside, low, high in (
    ('MRL', 'linear/top1', 66.63, 76.80),
    ('FF', 'linear/top1', 65.29, 76.87),
    ('MRL', 'knn/top1', 62.19, 70.97),
    ('FF', 'knn/top1', 58.93, 71.19),
  ):
    found = [c for c in published.beside(beside) if c['name'] == name]
    assert [(c['values'][0], c['values'][-1]) for c in found] == [(low, high)]
  for found in published.CURVES:
    assert len(found['values']) == len(found['dims'])
    assert found['source'].startswith('arXiv:2205.13147, ')
    assert all(0 < v < 100 for v in found['values'])


def test_the_headline():
  seen = results.Evaluation('a', few_rows())
  said = headline.words(seen)[0]
  assert said.startswith('No dimension below 64 is surely within one point')
  close = [row('linear', 'top1', d, v, 0.002) for d, v in zip(DIMS, (
    0.891, 0.893, 0.893, 0.9, 0.9
  ))]  # fmt: skip
  said = headline.smallest(close)
  assert said.startswith('12 of 64 dimensions are enough')
  assert '89.3% (89.1 to 89.5) against 90.0% with all' in said
  assert headline.smallest([]) == ''
  told = results.Evaluation('a', few_rows(), all_details())
  assert headline.words(told)[0] == RECOMMENDATION
  odd = results.Evaluation('a', few_rows(), {'precision': {
    'recommendation': None
  }})  # fmt: skip
  assert headline.words(odd)[0] == headline.smallest(few_rows())


def test_the_front_against_all_pairs():
  points = precision_rows()
  best = cost.front(points)
  for point in points:
    beaten = any(
      (q['bytes'] <= point['bytes'] and q['value'] > point['value'])
      or (q['bytes'] < point['bytes'] and q['value'] >= point['value'])
      for q in points
    )
    if point in best:
      assert not beaten
    else:
      twins = [(b['bytes'], b['value']) for b in best]
      assert beaten or (point['bytes'], point['value']) in twins


def test_the_picture_is_drawn(whole):
  from PIL import Image

  with Image.open(whole[0] / 'accuracy_vs_dimension.png') as picture:
    assert picture.size[0] > 800
    assert len(picture.convert('RGB').getcolors(1 << 24)) > 20
