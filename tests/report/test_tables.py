"""Cells and tables for the terminal and for Markdown."""

import math

from mrl_jax.report import blocks, markdown, tables
from tests.samples.report import DECISION, DIMS, all_rows, few_rows, row


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
  points = [r for r in all_rows() if r['evaluator'] != 'pairs']
  text = tables.text(points, DECISION)
  assert max(map(len, text.splitlines())) <= 100
  for word in ('linear probe', 'mAP@10', '80.9 (79.9-81.9)'):
    assert word in text
  assert (
    'cascade, paper: 90.50 (89.5 to 91.5) with 11.5 of 64 dimensions' in text
  )
  assert f'decision: {DECISION}' in text
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
