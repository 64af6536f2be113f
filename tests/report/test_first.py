"""The first screen against the rows it is made of."""

import re

import pytest

from mrl_jax.report import blocks, first, page, results
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


def advised():
  """Everything, and a recommendation with the keys of `precision`."""
  details = all_details()
  details['precision']['recommendation'] |= {'bytes': 32}
  details['precision']['database_rows_of'] = 60_000
  details['few_shot'] = {'classes': 10}
  for entry in details['search']['methods']:
    entry['milliseconds_batch'] *= 1 if entry['method'] == 'prefix' else 7
  return details


def screen(rows, details=None, config=None):
  evaluation = results.Evaluation('a', rows, details or {}, config or {})
  return [block for part in page.SCREEN for block in part(evaluation)]


def only(kind, contents):
  (one,) = [block for block in contents if isinstance(block, kind)]
  return one


def test_the_table_against_the_rows():
  table = only(blocks.Table, screen(all_rows(), advised()))
  assert list(table.header) == [
    'dims',
    'nearest row has the right class (1-NN), %',
    'same 10 nearest rows as with all, %',
    'bytes a vector',
    'ms a query',
  ]
  for line, dim in zip(table.lines, DIMS, strict=True):
    for cell, (evaluator, metric, variant) in zip(
      line[1:3], [('knn', 'top1', None), ('search', 'recall', 'prefix')]
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
  assert [line[0] for line in table.lines] == [
    '8', '12', '16', '32, chosen', '64',
  ]  # fmt: skip
  assert table.chosen == 3
  assert 'in int8: 32 bytes' in table.note


def test_the_decision_the_reason_and_the_curve():
  decision, why, curve, table = screen(all_rows(), advised())
  assert decision.strong and decision.words == RECOMMENDATION
  chosen, full = (100 * grown(dim, 0.884, 0.2) for dim in (32, 64))
  words = f'{chosen:.1f}% ({chosen - 1:.1f} to {chosen + 1:.1f}) with 32 dim'
  assert words in why.words and f'{full:.1f}% (' in why.words
  assert re.search(r'Same 10 nearest rows as with all: [\d.]+% \(', why.words)
  assert curve.file == first.PICTURE
  values = re.findall(r'<text[^>]*>(\d\d\.\d)</text>', curve.svg)
  knn = [
    r for r in all_rows() if (r['evaluator'], r['metric']) == ('knn', 'top1')
  ]
  assert set(values) == {f'{100 * r["value"]:.1f}' for r in knn}
  assert (
    'font-weight: 700' in re.search(rf'<text[^>]*>{chosen:.1f}<', curve.svg)[0]
  )
  assert 'The ring is the choice' in curve.note


def test_a_choice_of_all_is_explained_by_the_next_fewer():
  details = advised()
  details['precision']['recommendation'] |= {'dim': 64}
  _, why, *_ = screen(all_rows(), details)
  quality, recall = (
    100 * grown(dim, top, lost)
    for dim, top, lost in ((32, 0.884, 0.2), (32, 1.0, 0.8))
  )
  assert f'(1-NN): {quality:.1f}% ' in why.words
  assert f'all: {recall:.1f}% ' in why.words
  one = [row('knn', 'top1', dim, 0.5 + dim / 99) for dim in (8, 64)][1:]
  _, why, *_ = screen(one, details)
  assert why.words.endswith('with 64 dimensions.')


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


def test_without_classes_the_measure_is_recall():
  points = [
    {**r, 'metric': 'recall', 'k': 10} for r in precision_rows() if r['dim'] > 8
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
    'glyphs: 60,000 rows searched, 10,000 queries, 10 classes'
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
  assert head < text.index(RECOMMENDATION) < curve < tail < nav
  assert text.count('<tr class="chosen"><td>32, chosen</td>') == 1
  assert '<title>run: Which dimension' in text
