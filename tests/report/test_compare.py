"""Several runs side by side."""

import json
import re

import numpy as np
import pytest

from mrl_jax.report import compare, results
from tests.samples.compared import changed, hits, write_run
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
  assert 'a (3 seeds)' in text and '2 runs side by side' in text
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
  assert 'configs' not in text  # of vectors, say, which have none
  for folder in folders:
    (folder / 'config.json').write_text('{"steps": 1}')
  text = compare.write(folders, tmp_path / 'out').read_text()
  assert 'The configs are the same.' in text


def measured(tmp_path, *names, n=400, **options):
  """Runs over the same queries; each has its own mistakes."""
  rng = np.random.default_rng(0)
  base = hits(rng, n, (0.6, 0.8, 0.9, 0.95))
  return [
    write_run(
      tmp_path / name,
      {('knn', 'top1'): changed(rng, base, 0.02 + 0.4 * index)},
      config={'name': name[0], 'seed': int(name[1:] or 0)},
      **options,
    )
    for index, name in enumerate(names)
  ]


def test_the_verdict_comes_first(tmp_path):
  path = compare.write(measured(tmp_path, 'a', 'b'), tmp_path / 'out')
  page, written = path.read_text(), path.with_suffix('.md').read_text()
  words = '<p class="strong">a is better than b by 1-NN at'
  titles = ['The same curves', 'What differs', 'All differences', 'All numbers']
  at = [page.index(f'<h2>{title}</h2>') for title in titles]
  assert page.index(words) < page.index('<nav') < at[0]
  assert at == sorted(at)
  assert written.split('\n\n')[2].startswith('**a is better than b by 1-NN')
  assert '| 64 | better: +' in written and '(4 on this page)' in written
  assert 'Not paired' not in page and 'nothing says' not in page


def test_different_data_stand_apart(tmp_path):
  folders = measured(tmp_path, 'a', 'b') + measured(tmp_path, 'c', data='x2')
  path = compare.write(folders, tmp_path / 'out')
  page = path.read_text()
  assert (
    'Different data, not compared: a, b (400 queries, data digits-1); '
    'c (400 queries, data x2).' in page
  )
  together, alone = (
    re.search(f'<h2>The same curves, {it}</h2>(.*?)</section>', page, re.S)[1]
    for it in ('400 queries, data digits-1', '400 queries, data x2')
  )
  assert all(f'>{name}</text>' in together for name in 'ab')
  assert '> c</span>' in alone.replace('</b>', '>')
  assert '>c</text>' not in together and '>a</text>' not in alone
  assert 'than c' not in page and 'c against' not in page


@pytest.mark.parametrize('other', [{'data': 'x2'}, {'n': 300}])
def test_runs_that_all_have_other_data_are_refused(tmp_path, other):
  folders = measured(tmp_path, 'a') + measured(tmp_path, 'b', **other)
  with pytest.raises(
    ValueError, match='nothing can be compared: a .*; b '
  ) as e:
    compare.write(folders, tmp_path / 'out')
  assert '\n' not in str(e.value) and not (tmp_path / 'out').exists()


def test_groups_of_seeds_have_a_verdict(tmp_path):
  names = ('a0', 'a1', 'a2', 'b0', 'b1', 'b2')
  path = compare.write(measured(tmp_path, *names), tmp_path / 'out', True)
  page = path.read_text()
  assert '2 runs side by side' in page
  assert 'a (3 seeds) against b (3 seeds)' in page or 'than b (3 seeds)' in page
  assert 'over the seeds that both have (3)' in page


def test_one_run_has_nothing_beside_it(tmp_path):
  path = compare.write(measured(tmp_path, 'a'), tmp_path / 'out')
  assert 'One run: there is nothing to compare.' in path.read_text()


def test_the_command_refuses_different_data_with_one_line(tmp_path, run_cli):
  folders = measured(tmp_path, 'a') + measured(tmp_path, 'b', data='x2')
  code, _, err = run_cli('eval', '--compare', *folders)
  assert code == 2 and 'Traceback' not in err
  assert err.strip().splitlines()[-1].endswith('on one data set')
