"""The page against the rows it is made of."""

import html
import re

import pytest

from mrl_jax import rows
from mrl_jax.report import blocks, page, tables
from tests.samples.report import (
  DIMS,
  all_details,
  all_rows,
  few_rows,
  grown,
  made,
  row,
)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Everything at once: (folder, page)."""
  return made(tmp_path_factory.mktemp('whole'), all_rows(), all_details())


def test_the_page_stands_alone_and_is_light(whole):
  _, text = whole
  assert len(text.encode()) < 1_000_000
  assert not re.search(r'https?:|xlink|//[a-z]+\.', text)
  loads = re.findall(r'(?:src|href)="([^"]{0,20})', text)
  assert loads and all(u.startswith(('#', 'data:image/png')) for u in loads)
  assert not re.search(r'url\((?!#)', text)
  assert '<script' not in text
  assert 'left out' not in text


def test_every_chapter_has_its_charts(whole):
  _, text = whole
  for title in (
    'Accuracy by dimension;Kept of what all dimensions reach;'
    'Other ways to the same size, 1-NN;'
    'Other ways to the same size, linear probe;'
    'With few labelled examples of each class;'
    'Right answers against the dimensions used;'
    'Smallest dimension that is right;Ranking by dimension;'
    'Search: true neighbours found, against work;'
    'Search: first row right, against work;'
    'Search: true neighbours found, against time, many queries at once;'
    'Search: true neighbours found, against time, one query at a time;'
    'Same 10 nearest rows as with all, against milliseconds;'
    'Same 10 nearest rows as with all, against bytes;'
    'How far confidence is off (ECE);'
    'Is it right as often as it is sure?;Groups of classes;'
    'Classes that lose most and least with few dimensions;Corrupted images;'
    'How alike pairs are (cosine);How cosines are spread'
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


def test_every_chapter_is_a_question_and_its_answer(whole):
  _, text = whole
  for chapter in page.CHAPTERS:
    heading = f'<h2>{chapter.question}</h2>'
    _, body = text.split(heading)
    answer = re.match(r'\s*<p class="strong">(.*?)</p>', body)[1]
    assert chapter.question.endswith('?') and re.search(r'\d', answer), answer
    assert f'>{chapter.link}</a>' in text
  assert text.count('<p class="strong">') == 1 + len(page.CHAPTERS)


def test_markdown_is_short_and_shows_the_picture(whole):
  folder, text = whole
  written = (folder / 'report.md').read_text()
  assert len(written.splitlines()) < 150
  assert '\n![Accuracy by dimension](accuracy_vs_dimension.png)\n' in written
  assert (folder / 'accuracy_vs_dimension.png').exists()
  for chapter in page.CHAPTERS:
    assert f'\n## {chapter.question}\n\n**' in written
  for title in ('All 25 methods', 'All numbers', 'config.json'):
    assert title in text and title not in written
  assert 'results.jsonl' in written


def test_paper_is_light_open_and_unbroken(whole):
  rules = whole[1].split('<style>')[1].split('</style>')[0].replace('\n', '')
  screen, paper = rules.split('@media print')
  assert '@media screen and (prefers-color-scheme:dark)' in screen
  assert 'prefers-color-scheme' not in screen.replace('screen and (pref', '')
  assert 'color-scheme:light}' in paper and 'dark' not in paper
  opened = re.search(r'details::details-content\{([^}]*)\}', paper)[1]
  assert 'visibility:visible' in opened and 'details>*{display:block}' in paper
  assert re.search(r'figure[^{]*\{break-inside:avoid\}', paper)
  assert 'nav{display:none}' in paper


def test_markdown_leaves_long_tables_to_the_page(tmp_path, monkeypatch):
  def part(_):
    for lines in (12, 13):
      yield blocks.Table(['x'], [[f'{lines} lines']] * lines)

  chapter = page.CHAPTERS[0]._replace(parts=(part,))
  monkeypatch.setattr(page, 'CHAPTERS', [chapter])
  folder, text = made(tmp_path, few_rows())
  written = (folder / 'report.md').read_text()
  assert '13 lines' in text and '13 lines' not in written
  assert text.count('12 lines') == written.count('12 lines') == 12


def test_leads_over_rivals_have_a_line_per_dimension(whole):
  _, text = whole
  for dim in (8, 12, 16, 32):
    cells = ['+2.0 (1.5 to 2.5)', '+20.0 (19.5 to 20.5)', '-1.0 (-1.5 to -0.5)']
    line = ''.join(f'<td>{cell}</td>' for cell in [dim, *cells])
    assert f'<tr>{line}</tr>' in text


def test_every_row_is_in_the_page(whole):
  _, text = whole
  for found in all_rows():
    value, low, high = (found[key] for key in ('value', 'ci_low', 'ci_high'))
    cell = f'{100 * value:.2f} ({100 * low:.1f} to {100 * high:.1f})'
    if found['evaluator'] == 'cosine':
      cell = f'{value:.4g} ({low:.4g} to {high:.4g})'
    assert f'<td>{cell}</td>' in text
  name = rows.curve_name(all_rows()[0])
  line = re.search(rf'<tr><td>{name}</td>.*', text)[0]
  values = [float(v) for v in re.findall(r'<td>([\d.]+) \(', line)]
  assert values == [round(100 * grown(d, 0.912, 0.2), 2) for d in DIMS]


def test_text_is_escaped_everywhere(tmp_path):
  points = few_rows() + [row('<i>x', '<i>y', 8, 0.5, variant='<i>&"z')]
  details = all_details()
  details['classes']['classes'][0]['name'] = '<i>class'
  details['stores']['decision']['text'] = 'use <i>8'
  details['stores']['table'][0]['label'] = '<i>8'
  details['examples']['examples'][0]['name'] = '"><i>'
  _, text = made(tmp_path, points, details, {'note': '<i>&'})
  assert '<i>' not in text and '&lt;i&gt;&amp;' in text
  assert '"><i>' not in text


def test_an_image_that_is_not_base64_is_refused(tmp_path):
  details = {'examples': all_details()['examples']}
  details['examples']['examples'][0]['image'] = '" onerror="x'
  _, text = made(tmp_path, few_rows(), details)
  assert 'onerror' not in text and 'neighbours was left out' in text


@pytest.mark.parametrize('kept', ['linear', 'cascade', 'search', 'cosine', ''])
def test_missing_evaluators(tmp_path, kept):
  points = [r for r in all_rows() if r['evaluator'] == kept]
  _, text = made(tmp_path, points)
  assert 'left out' not in text
  assert all(r['evaluator'] in text for r in points)
  assert tables.text(points)


@pytest.mark.parametrize('trained', [True, None])
def test_a_run_without_labels_or_a_linear_head(tmp_path, trained):
  """Retrieval, search and stores only; rows may not know what is trained."""
  kinds = ('retrieval', 'search', 'stores')
  points = [r for r in all_rows() if r['evaluator'] in kinds]
  points = [r for r in points if r['metric'] not in ('top1', 'map')]
  if trained is None:
    points = [{k: v for k, v in r.items() if k != 'trained'} for r in points]
  details = {name: all_details()[name] for name in ('search', 'stores')}
  folder, text = made(tmp_path, points, details)
  assert 'left out' not in text
  for title in (
    'Ranking by dimension',
    'Search: true neighbours found, against work',
    'Same 10 nearest rows as with all, against bytes',
  ):
    assert f'<figcaption>{title}</figcaption>' in text
  assert 'nDCG@10 by dimension' in text and 'mAP@10' not in text
  assert 'Can cheap queries' not in text
  assert (folder / 'accuracy_vs_dimension.png').stat().st_size > 10_000


MALFORMED = {
  'cosine': {'dims': [8], 'histograms': {'negative': [[1], [2]]}},
  'calibration': {'dims': [8], 'reliability': [[{'count': 99}]]},
  'classes': {'classes': [{'name': 'a'}]},
  'search': {'methods': 7},
  'cascade': {'fixed': [{'dim': 8}]},
  'examples': {'examples': [{}]},
  'stores': {'decision': 'text', 'front': [{'held': 1}], 'measures': ['top1']},
}


def test_malformed_details_are_named_and_the_rest_is_drawn(tmp_path):
  _, text = made(tmp_path, all_rows(), MALFORMED)
  for part in (
    'diagram;trends;methods;milliseconds;cascade;neighbours;spans;'
    'main table;how fast;in examples;cheap queries'
  ).split(';'):
    assert re.search(f'<p class="soft">{part} was left out: [A-Z]', text), part
  assert '<p class="strong">' in text.split('<nav')[0]
  assert 'Other ways to the same size' in text and 'Groups of classes' in text
  assert 'joint front was left out' in text


def test_files_that_are_not_json_objects_are_named(tmp_path):
  folder, _ = made(tmp_path, few_rows())
  (folder / 'search.json').write_text('{"methods": [')
  (folder / 'stores.json').write_text('[1]')
  (folder / 'cosine.json').write_bytes(b'\xff\xfe')
  text = page.write(folder, tmp_path / 'run').read_text()
  for name in ('search', 'stores', 'cosine'):
    assert f'{name}.json was left out' in text
  (tmp_path / 'run' / 'config.json').write_text('{')
  assert (
    'config.json was left out'
    in page.write(folder, tmp_path / 'run').read_text()
  )


def test_the_picture_is_drawn(whole):
  from PIL import Image

  with Image.open(whole[0] / 'accuracy_vs_dimension.png') as picture:
    assert picture.size[0] > 800
    assert len(picture.convert('RGB').getcolors(1 << 24)) > 20
