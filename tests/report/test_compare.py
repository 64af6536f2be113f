"""Several runs side by side."""

import json
import re

import pytest

from mrl_jax.report import compare, results
from tests.samples.report import few_rows, grown


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
