"""The report against the rows it is made of: words, tables, charts, pages."""

import base64
import html
import io
import json
import math
import re

import pytest

from mrl_jax.report import (
  adaptive,
  blocks,
  charts,
  compare,
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

DIMS = (8, 12, 16, 32, 64)
TRAINED = (8, 16, 32, 64)
PRECISIONS = {'float32': 32, 'float16': 16, 'float8': 8, 'int8': 8, 'binary': 1}


def row(evaluator, metric, dim, value, half=0.01, **extra):
  return {
    'evaluator': evaluator,
    'metric': metric,
    'dim': dim,
    'value': value,
    'ci_low': max(value - half, -1),
    'ci_high': min(value + half, 1),
    'n': 10_000,
    'step': 1500,
    'trained': dim in TRAINED,
    **extra,
  }


def grown(dim, top, lost):
  """A curve that rises with the dimension."""
  return top - lost * math.exp(-dim / 12)


def few_rows():
  return [
    row(name, metric, dim, grown(dim, top, 0.2), **extra)
    for name, metric, top, extra in (
      ('linear', 'top1', 0.912, {}),
      ('knn', 'top1', 0.884, {}),
      ('knn', 'weighted', 0.899, {'k': 20}),
    )
    for dim in DIMS
  ]


def all_rows():
  rows = few_rows()
  for name, metric, top, extra in (
    ('linear', 'top5', 0.99, {}),
    ('probe', 'top1', 0.91, {}),
    ('retrieval', 'top1', 0.884, {}),
    *(
      ('retrieval', metric, top - k / 2000, {'k': k})
      for k in (10, 25, 50, 100)
      for metric, top in (
        ('p', 0.86),
        ('r', 0.1),
        ('map', 0.84),
        ('map_min', 0.85),
        ('ndcg', 0.87),
        ('mrr', 0.92),
      )
    ),
    ('classes', 'superclass', 0.97, {}),
    ('classes', 'head', 0.92, {}),
    ('classes', 'tail', 0.8, {}),
    ('classes', 'per_class', 0.905, {}),
    *(('few_shot', 'top1', 0.5 + k / 30, {'k': k}) for k in (1, 3, 5, 7, 9)),
    ('robustness', 'top1', 0.912, {'variant': 'clean'}),
    *(
      ('robustness', 'top1', 0.9 - s / 12, {'variant': f'severity{s}'})
      for s in range(1, 6)
    ),
    ('robustness', 'top1', 0.7, {'variant': 'gaussian_noise'}),
    ('robustness', 'top1', 0.66, {'variant': 'defocus_blur'}),
    ('robustness', 'top1', 0.65, {'variant': 'mean'}),
    *(
      ('baselines', metric, top - i / 40, {'variant': variant})
      for metric, top in (('knn_top1', 0.88), ('probe_top1', 0.91))
      for i, variant in enumerate(
        (*'prefix pca svd random_subset random_projection'.split(), 'ff')
      )
    ),
  ):
    rows += [row(name, metric, d, grown(d, top, 0.2), **extra) for d in DIMS]
  for i, dim in enumerate(DIMS):
    rows += [
      row('calibration', 'ece', dim, 0.02 + 0.01 * i),
      row('calibration', 'ece_adaptive', dim, 0.021 + 0.01 * i),
      row('cosine', 'positive', dim, 0.9 - 0.05 * i),
      row('cosine', 'negative', dim, -0.05 + 0.02 * i),
      row('cosine', 'separation', dim, 0.9 + 0.01 * i),
      row('agreement', 'first_right', dim, (0.8, 0.06, 0.04, 0.02, 0.01)[i]),
    ]
  rows += cascade_rows() + search_rows() + precision_rows()
  return rows


def cascade_rows():
  rows = [
    row(
      'cascade',
      'top1',
      64,
      0.905 + 0.001 * i,
      variant=variant,
      expected_dim=11.5 + 4 * i,
      cumulative=14.5 + 6 * i,
      deviation=0.002,
      expected_dim_deviation=0.4,
    )
    for i, variant in enumerate(
      'paper conditional joint16 joint32 risk0.005 risk0.01 risk0.02'.split()
    )
  ]
  return [
    *rows,
    row('agreement', 'oracle', 64, 0.95, expected_dim=10.2),
    row('agreement', 'vote', 64, 0.91),
  ]


def search_rows():
  rows = []
  for i, variant in enumerate(
    'prefix ar funnel funnel_auto hnsw ivf flat device'.split()
  ):
    for dim in DIMS:
      work = dim * (0.2 if variant in ('hnsw', 'ivf') else 1)
      rows += [
        row(
          'search',
          metric,
          dim,
          grown(dim, 1 - i / 50, lost),
          variant=variant,
          mflops=0.06 * work + 0.0128 * (variant == 'ar'),
          mflops_shortlist=0.06 * work,
          bytes=240_000 * dim,
          **extra,
        )
        for metric, lost, extra in (
          ('recall', 0.8, {'k': 10}),
          ('top1', 0.2, {}),
        )
      ]
  return rows


def precision_rows():
  rows = []
  for dim in DIMS:
    for name, bits in [*PRECISIONS.items(), ('binary_rescored', 1)]:
      value = grown(dim, 0.88, 0.2) - {8: 0.004, 1: 0.15}.get(bits, 0)
      value += 0.1 * (name == 'binary_rescored')
      rows.append(
        row(
          'precision',
          'top1',
          dim,
          value,
          variant=name,
          bytes=math.ceil(dim * bits / 8),
          bytes_rescore=dim * (name == 'binary_rescored'),
          kept=value / 0.88,
          kept_low=value / 0.88 - 0.01,
          kept_high=value / 0.88 + 0.01,
        )
      )
  return rows


RECOMMENDATION = '32 dims in int8 keep 99.1% (98.7 to 99.4) of top-1'


def png(size=24, shade=120):
  from PIL import Image

  out = io.BytesIO()
  Image.new('L', (size, size), shade).save(out, 'PNG')
  return base64.b64encode(out.getvalue()).decode()


def all_details():
  nearest = [
    {'row': i, 'label': i % 2, 'name': 'Bag', 'right': i != 1, 'image': png()}
    for i in range(5)
  ]
  return {
    'cascade': {
      'texts': ['Risk-controlled: with 12.0 of 64 dimensions it is right'],
      'fixed': [
        {
          'dim': d,
          'accuracy': grown(d, 0.91, 0.2),
          'low': grown(d, 0.90, 0.2),
          'high': grown(d, 0.92, 0.2),
        }
        for d in TRAINED
      ],
      'frontier': [{'policy': 'paper', 'expected_dim': 11.5, 'accuracy': 0.9}],
    },
    'agreement': {'text': 'Some prefix is right on 95.0% of the queries.'},
    'classes': {
      'dims': list(DIMS),
      'text': 'From 8 to 64 dimensions, of 10 classes: 8 rises, 2 flat.',
      'classes': [
        {
          'name': f'class <{i}>',
          'n': 1000,
          'accuracy': [grown(d, 0.99 - i / 40, i / 20) for d in DIMS],
          'trend': 'rises' if i > 1 else 'flat',
        }
        for i in range(10)
      ],
    },
    'calibration': {
      'dims': list(DIMS),
      'text': 'Confidence: 8 dimensions are off by 2.0 points.',
      'reliability': [
        [
          {
            'bin': b,
            'confidence': (b + 0.5) / 15,
            'accuracy': ((b + 0.5) / 15) ** (1 + i / 5),
            'count': 10 * b,
          }
          for b in range(15)
        ]
        for i in range(len(DIMS))
      ],
    },
    'cosine': {
      'dims': list(DIMS),
      'edges': [b / 25 - 1 for b in range(51)],
      'histograms': {
        name: [
          [
            round(4000 * math.exp(-(((b - mean) / (9 - i)) ** 2)))
            for b in range(50)
          ]
          for i in range(len(DIMS))
        ]
        for name, mean in (('positive', 42), ('negative', 26))
      },
    },
    'search': {
      'left_out': {'hnsw': 'more than 300000 rows'},
      'methods': [
        {
          'method': r['variant'],
          'about': 'exact at 8, then 200 at 64',
          'dim': r['dim'],
          'recall': r['value'],
          'top1': r['value'] - 0.1,
          'mflops': r['mflops'],
          'mflops_shortlist': r['mflops_shortlist'],
          'bytes': r['bytes'],
          'milliseconds_batch': r['mflops'] / 9,
          'milliseconds_single': r['mflops'] / 2 + 0.1,
          'build_seconds': 0.1,
        }
        for r in search_rows()
        if r['metric'] == 'recall'
      ],
    },
    'precision': {
      'recommendation': {
        'metric': 'top-1',
        'dim': 32,
        'precision': 'int8',
        'text': RECOMMENDATION,
      }
    },
    'examples': {
      'examples': [
        {
          'row': 3,
          'label': 1,
          'name': 'Coat & hat',
          'image': png(shade=40),
          'neighbours': {'8': nearest, '64': nearest},
          'saliency': {str(d): png(shade=d * 3) for d in TRAINED},
        }
      ]
      * 6
    },
  }


def made(tmp_path, rows, details=None, config=None, step=1500):
  """A run with an evaluation; returns (folder, text of the page)."""
  work = tmp_path / 'run'
  folder = work / 'eval' / str(step)
  results.write(folder, rows, details or {})
  (work / 'config.json').write_text(
    json.dumps(config or {'seed': 0, 'note': '<b>&'})
  )
  return folder, page.write(folder, work).read_text()


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


def ticks(svg):
  """Texts of an axis with their places, left to right."""
  found = re.findall(
    r'<text[^>]*?text-anchor: middle[^>]*?(?:x="([\d.]+)"|translate\(([\d.]+))'
    r'[^>]*>([^<]+)<',
    svg,
  )
  return [(float(a or b), word) for a, b, word in found]


def value(word):
  top, _, below = word.partition('/')
  return float(top) / float(below or 1)


def test_ticks_increase_and_do_not_touch():
  dims = [8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048]
  line = charts.Line('a', dims, range(len(dims)))
  for axes in (
    charts.Axes('x', 'y', dims=dims),
    charts.Axes('x', 'y', log_x=True),
    charts.Axes('x', 'y', shares=True),
  ):
    if axes.shares:
      line = charts.Line('a', [d / 2048 for d in dims], range(len(dims)))
    svg = charts.draw('t', axes, [line]).svg
    found = [
      (x, value(word)) for x, word in ticks(svg) if re.match('[0-9]', word)
    ]
    assert len(found) >= 3
    assert found == sorted(found)
    places = [x for x, _ in found]
    assert min(b - a for a, b in zip(places, places[1:])) > 18
  assert charts.thin(dims)[-1] == 2048 and charts.thin([7]) == [7]


def test_a_chart_places_its_points_by_their_values():
  """Markers of a line y = x on equal axes: equal steps, upward."""
  line = charts.Line('a', [8, 16, 32], [10, 20, 30], marker='o')
  svg = charts.draw('t', charts.Axes('x', 'y', dims=[8, 16, 32]), [line]).svg
  points = [
    (float(x), float(y))
    for x, y in re.findall(r'<use href="#\w+" x="([\d.]+)" y="([\d.]+)"', svg)
  ]
  assert any(
    math.isclose(b[0] - a[0], c[0] - b[0], abs_tol=0.1)
    and math.isclose(a[1] - b[1], b[1] - c[1], abs_tol=0.1)
    and c[0] > b[0] > a[0] and a[1] > b[1] > c[1]
    for a, b, c in zip(points, points[1:], points[2:])
  )  # fmt: skip


def test_charts_repeat_exactly_and_keep_text_as_text():
  lines = [charts.Line('<a>', [1, 2], [3, 4], [2, 3], [4, 5])]
  one, two = (charts.draw('t', charts.Axes('ax & b', 'y'), lines) for _ in 'ab')
  assert one == two
  assert 'ax &amp; b</text>' in one.svg and one.keys[0].label == '<a>'
  assert not re.search('abcd|fefe|font-family|<metadata', one.svg)


def test_few_short_names_stand_at_the_ends_apart():
  lines = [
    charts.Line(name, [1, 2], [50, 50 + i / 10])
    for i, name in enumerate(('one', 'two', 'three'))
  ]
  picture = charts.draw('t', charts.Axes('x', 'y'), lines)
  assert not picture.keys
  heights = sorted(
    float(re.search(rf'y="([\d.]+)"[^>]*>{n}<', picture.svg)[1])
    for n in ('one', 'two', 'three')
  )
  assert min(b - a for a, b in zip(heights, heights[1:])) > 9


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


def runs(tmp_path):
  """Three seeds of one config, and a run of another."""
  folders = []
  for name, shift, seed in (
    ('a', 0, 0),
    ('b', 0.003, 1),
    ('c', -0.006, 2),
    ('<i>', -0.02, 0),
  ):
    rows = [{**r, 'value': r['value'] + shift} for r in few_rows()]
    results.write(tmp_path / name / 'eval' / '200', rows)
    results.write(tmp_path / name / 'eval' / '90', few_rows()[:1])
    head = 'mrl_e' if name == '<i>' else 'mrl'
    (tmp_path / name / 'config.json').write_text(
      json.dumps({'seed': seed, 'head': {'name': head}, 'steps': 200})
    )
    folders.append(str(tmp_path / name))
  return folders


def test_runs_side_by_side(tmp_path):
  path = compare.write(runs(tmp_path), tmp_path / 'out')
  text, written = path.read_text(), (tmp_path / 'out/compare.md').read_text()
  assert path.name == 'compare.html'
  assert '<i>' not in text and not re.search('https?:', text)
  assert '<td>head.name</td><td>&quot;mrl&quot;</td>' in text
  assert '<td>steps</td>' not in text
  assert '4 runs side by side' in text and 'weighted k-NN (k=20)' in text
  for shift in (0, 0.003, -0.006, -0.02):
    cell = f'{100 * (grown(8, 0.912, 0.2) + shift):.2f} (79.9 to 81.9)'
    assert cell in text and cell in written
  assert 'linear/top1/d8' in text and 'linear/top1/d8' in written


def test_seeds_become_their_mean_and_spread(tmp_path):
  path = compare.write(runs(tmp_path), tmp_path / 'out', group_seeds=True)
  text = path.read_text()
  middle = grown(8, 0.912, 0.2)
  assert 'a, 3 seeds' in text and '2 runs side by side' in text
  assert (
    f'{100 * (middle - 0.001):.2f} ({100 * (middle - 0.006):.1f} '
    f'to {100 * (middle + 0.003):.1f})' in text
  )
  assert '<td>seed</td><td>[0, 1, 2]</td><td>0</td>' in text


def test_names_of_groups():
  assert compare.common(['mrl-seed0', 'mrl-seed1']) == 'mrl'
  assert compare.common(['ff8_s0', 'ff8_s1']) == 'ff8'
  assert compare.common(['a', 'b']) == 'a'


def test_a_run_without_results_is_named(tmp_path):
  (tmp_path / 'run' / 'eval').mkdir(parents=True)
  with pytest.raises(
    ValueError, match=r'run has no results; make them: python eval.py --workdir'
  ):
    compare.write([tmp_path / 'run'], tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_runs_of_one_name_are_counted(tmp_path):
  folders = []
  for parent in 'xy':
    results.write(tmp_path / parent / 'run' / 'eval' / '1', few_rows())
    folders.append(tmp_path / parent / 'run')
  text = compare.write(folders, tmp_path / 'out').read_text()
  assert 'run (1)' in text and 'run (2)' in text
  assert 'The configs are the same.' in text


def test_the_picture_is_drawn(whole):
  from PIL import Image

  with Image.open(whole[0] / 'accuracy_vs_dimension.png') as picture:
    assert picture.size[0] > 800
    assert len(picture.convert('RGB').getcolors(1 << 24)) > 20
