"""The benchmarks run and compare equal numbers; their speed is not tested."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch):
  """benchmark(name) -> the module, its control never refusing a round."""
  monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
  monkeypatch.setattr(importlib.import_module('measure'), 'MOVED', 1e9)
  return importlib.import_module


@pytest.mark.slow
def test_all_forms_of_all_losses_race(benchmark, monkeypatch):
  module = benchmark('nested_loss')
  forms = {'dense': None, 'tiled': None, 'tiled, small tiles': (8, 8)}
  monkeypatch.setattr(
    module,
    'SHAPES',
    {
      kind: (kind, 16, 2, 12, classes, forms)
      for kind, classes in (
        ('tied', 20),
        ('separate', 20),
        ('info_nce', 0),
        ('sigmoid', 0),
      )
    },
  )
  for kind in module.SHAPES:
    # It refuses to race forms whose totals differ.
    found = module.measured(kind, 4)
    assert found['plain']['ratio'] == [1, 1, 1]
    assert found['tiled']['memory_bytes'] > 0
    assert found['loop of slices']['rounds'] == 4


def test_a_race_of_different_losses_is_refused(benchmark):
  module = benchmark('nested_loss')
  forms = {
    name: (lambda value=value: (value,), 0, 0)
    for name, value in (('plain', 1.0), ('dense', 2.0), ('tiled', 2.1))
  }
  with pytest.raises(AssertionError, match='tiled'):
    module.check(forms)


@pytest.mark.slow
def test_whole_steps_are_compared(benchmark, monkeypatch, capsys):
  module = benchmark('step')
  words = '--config=configs/vit_mrl.py:digits,smoke --rounds=4'
  monkeypatch.setattr(sys, 'argv', ['step.py', *words.split()])
  module.main()
  printed = capsys.readouterr().out
  rows = [line for line in printed.splitlines() if line.startswith('| m')]
  assert [row.split()[1] for row in rows] == ['mrl', 'mrl_e']
  # FLOPs, memory and exchanged bytes, each over FF's.
  ratios = [float(cell.split()[0]) for cell in rows[1].split('|')[2:5]]
  assert ratios[0] == 1 and all(0.9 < ratio < 1.5 for ratio in ratios)


def test_tables_of_the_reproduction(benchmark, tmp_path, capsys):
  """By hand: three seeds, of which one fixed-feature run is missing."""
  module = benchmark('reproduce')

  def run(method, seed, value):
    folder = module.workdir(tmp_path, method, seed) / 'eval' / '9'
    folder.mkdir(parents=True)
    row = {'evaluator': 'linear', 'metric': 'top1', 'dim': 4, 'value': value}
    (folder / 'results.jsonl').write_text(json.dumps(row) + '\n')

  for seed, value in enumerate((0.8, 0.81, 0.85)):
    run('mrl', seed, value)
  run('ff=4', 1, 0.80)
  run('ff=4', 2, 0.83)
  assert module.main(['table', f'--root={tmp_path}']) == 0
  lines = capsys.readouterr().out.splitlines()
  mean = next(line for line in lines if line.startswith('| MRL |'))
  assert '82.00 ± 6.57' in mean  # 4.303 * 2.646 / sqrt(3)
  gap = next(line for line in lines if line.startswith('| MRL - FF'))
  assert '1.50 (n=2)' in gap  # seeds 1 and 2: 1 and 2 points
  with pytest.raises(SystemExit):
    module.main(['run', '--methods', 'ff=5'])


def test_a_run_that_fails_fails_the_reproduction(
  benchmark, tmp_path, monkeypatch
):
  module = benchmark('reproduce')
  codes = iter((0, -9))
  monkeypatch.setattr(module, 'train', lambda *rest: next(codes))
  assert module.run(tmp_path, (0,), ('mrl', 'mrl_e'), [], 1) == 1


@pytest.mark.slow
@pytest.mark.parametrize('words', ['--quick', '--quick --million'])
def test_ways_to_search_are_compared(benchmark, monkeypatch, capsys, words):
  module = benchmark('retrieval')
  monkeypatch.setattr(sys, 'argv', ['retrieval.py', *words.split(), '--busy'])
  module.main()
  printed = capsys.readouterr().out
  assert 'GiB' in printed if '--million' in words else 'faiss Flat' in printed


@pytest.mark.slow
def test_prefixes_are_compared_with_the_full_width(
  benchmark, monkeypatch, capsys
):
  module = benchmark('prefixes')
  monkeypatch.setattr(sys, 'argv', ['prefixes.py', '--quick'])
  module.main()
  printed = capsys.readouterr().out
  for kind in ('as called', 'rows resident', 'products and maxima'):
    assert f'| {kind} |' in printed
  # The floor makes every prefix's products, and lowers none of them.
  calls = module.variants(module.QUICK, 1)
  for name, dims in (('64 alone', [64]), ('4 prefixes', [8, 16, 32, 64])):
    run = calls['products and maxima', name]
    rows, columns = run.args
    for m, maxima in zip(dims, run(), strict=True):
      assert maxima.shape == (4, 16, 16)
      np.testing.assert_allclose(
        np.max(maxima, (0, 1)), np.max(rows[:, :m] @ columns[:m], 0), rtol=1e-4
      )
