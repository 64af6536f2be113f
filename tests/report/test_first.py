"""The first screen against the rows it is made of."""

import re

import pytest

from mrl_jax.report import blocks, first, page, results
from tests.samples.report import (
  DECISION,
  DIMS,
  all_details,
  all_rows,
  few_rows,
  grown,
  made,
  row,
  stores_rows,
)


def advised():
  """Everything, and how many classes."""
  return all_details() | {'few_shot': {'classes': 10}}


def screen(rows, details=None, config=None):
  evaluation = results.Evaluation('a', rows, details or {}, config or {})
  return [block for part in page.SCREEN for block in part(evaluation)]


def only(kind, contents):
  (one,) = [block for block in contents if isinstance(block, kind)]
  return one


def without_stores():
  return {k: v for k, v in advised().items() if k != 'stores'}


def test_the_table_against_the_rows():
  table = only(blocks.Table, screen(all_rows(), without_stores()))
  assert list(table.header) == [
    'dims',
    'right by the trained classifier (linear head), %',
    'same 10 nearest rows as with all, %',
    'bytes a vector',
    'ms a query',
  ]
  for line, dim in zip(table.lines, DIMS, strict=True):
    for cell, (evaluator, metric, variant) in zip(
      line[1:3], [('linear', 'top1', None), ('search', 'recall', 'prefix')]
    ):
      (one,) = [
        r
        for r in all_rows()
        if (r['evaluator'], r['metric']) == (evaluator, metric)
        and r.get('variant') == variant
        and r['dim'] == dim
      ]
      numbers = [float(x) for x in re.findall(r'[\d.]+', cell)]
      assert numbers == [
        round(100 * one[key], 1) for key in ('value', 'ci_low', 'ci_high')
      ]
    assert line[3] == str(4 * dim)
    assert float(line[4]) == pytest.approx(0.06 * dim / 9, rel=0.05)
  assert [line[0] for line in table.lines] == list(map(str, DIMS))
  assert table.chosen is None


def test_the_table_of_stores_against_the_details():
  table = only(blocks.Table, screen(all_rows(), advised()))
  assert list(table.header) == [
    'how the rows are kept',
    'right by 1-NN, %',
    'same 10 nearest, %',
    'bytes in memory',
    'in files',
    'ms a query',
  ]
  points = sorted(advised()['stores']['table'], key=lambda p: p['held'])
  for line, point in zip(table.lines, points, strict=True):
    assert line[0].startswith(point['label'])
    for cell, name in zip(line[1:3], ('top1', 'recall@10')):
      numbers = [float(x) for x in re.findall(r'[\d.]+', cell)]
      assert numbers == [
        round(100 * point['measures'][name][key], 1)
        for key in ('value', 'ci_low', 'ci_high')
      ]
    assert float(line[3]) == point['held']
    assert line[4] == ('128' if point['shortlist'] else '-')
    assert float(line[5]) == pytest.approx(point['milliseconds'], rel=0.05)
  assert table.chosen == 1 and table.lines[1][0].endswith(', chosen')
  assert '95% of each measure' in table.note
  assert '2,000 of the 10,000 queries and 50,000 of the 60,000' in table.note
  assert 'Among 60,000 rows, fewer of the nearest' in table.note


def test_the_decision_the_reason_and_the_curve():
  decision, why, nested, curve, table = screen(all_rows(), advised())
  assert decision.strong and decision.words == DECISION
  assert why.words == 'Chosen on 500 queries.'
  assert nested.words.startswith('Is it nested, are the first')
  assert curve.file == first.PICTURE
  chosen = 100 * grown(32, 0.884, 0.2)
  values = re.findall(r'<text[^>]*>(\d\d\.\d)</text>', curve.svg)
  knn = [
    r for r in all_rows() if (r['evaluator'], r['metric']) == ('knn', 'top1')
  ]
  assert set(values) == {f'{100 * r["value"]:.1f}' for r in knn}
  assert (
    'font-weight: 700' in re.search(rf'<text[^>]*>{chosen:.1f}<', curve.svg)[0]
  )
  assert 'The ring marks the dims' in curve.note


def test_nothing_is_chosen_where_nothing_is_recommended():
  contents = screen(few_rows())
  assert len(contents) == 3
  table = only(blocks.Table, contents)
  assert table.chosen is None and 'chosen' not in str(table.lines)
  assert table.header[1] == 'right by the trained classifier (linear head), %'
  assert 'ring' not in only(blocks.Picture, contents).note
  flat = [row('knn', 'top1', dim, 0.5) for dim in DIMS]
  contents = screen(flat, advised())
  assert contents[0].words.startswith('This evaluation cannot tell')
  assert only(blocks.Table, contents).chosen is None


def test_no_store_is_chosen_where_nothing_is_recommended():
  flat = [row('knn', 'top1', dim, 0.5) for dim in DIMS]
  table = only(blocks.Table, screen(flat, advised()))
  assert table.header[0] == 'how the rows are kept'
  assert table.chosen is None and 'chosen' not in str(table.lines)


def test_without_classes_the_measure_is_recall():
  points = [
    r for r in stores_rows() if r['dim'] > 8 and r['metric'] == 'recall'
  ]
  table = only(blocks.Table, screen(points))
  assert list(table.header) == [
    'dims', 'same 10 nearest rows as with all, %', 'bytes a vector',
  ]  # fmt: skip
  assert len(table.lines) == 4 and screen([]) == []


def test_how_much_of_what_data():
  config = {'data': {'source': {'name': 'glyphs'}}}
  evaluation = results.Evaluation('a', all_rows(), advised(), config)
  assert first.extent(evaluation) == (
    'glyphs: 60,000 rows, 10,000 queries, 10 classes'
  )
  command = 'eval.py --embeddings="/far/my vectors.npy" --labels=y.npy'
  details = {'evaluation': {'environment': {'command': command}}}
  evaluation = results.Evaluation('a', few_rows(), details)
  assert first.extent(evaluation) == 'my vectors.npy: 10,000 queries'
  assert first.extent(results.Evaluation('a', [])) == ''
  listed = {'classes': all_details()['classes']}
  evaluation = results.Evaluation('a', few_rows(), listed)
  assert first.extent(evaluation).endswith(', 10 classes')


def test_the_screen_is_laid_out_in_this_order(tmp_path):
  """Decision and reason, then the curve, then the table; two columns."""
  _, text = made(tmp_path, all_rows(), advised())
  text = text.replace('>\n<', '><')
  head, curve, tail, nav = (
    text.index(words)
    for words in (
      '<div class="head"><h1>Which dimension should I deploy?</h1>',
      '<div class="curve"><div class="figures"><figure>',
      '<div class="tail"><div class="wide"><table>',
      '<nav',
    )
  )
  assert head < text.index(DECISION) < curve < tail < nav
  assert text.count('<tr class="chosen"><td>32 prefix int8 , chosen</td>') == 1
  assert '<title>run: Which dimension' in text
