"""The benchmarks run and compare equal numbers; their speed is not tested."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmark(monkeypatch):
  """benchmark(name) -> the module, its control never refusing a round."""
  monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
  monkeypatch.setattr(importlib.import_module('measure'), 'MOVED', 1e9)
  return importlib.import_module


def test_all_forms_of_all_losses_race(benchmark, monkeypatch):
  module = benchmark('nested_loss')
  forms = {'blocks': None, 'columns': None, 'columns, small tiles': (8, 8)}
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
    assert found['columns']['memory_bytes'] > 0
    assert found['loop of slices']['rounds'] == 4


def test_a_race_of_different_losses_is_refused(benchmark):
  module = benchmark('nested_loss')
  forms = {
    name: (lambda value=value: (value,), 0, 0)
    for name, value in (('plain', 1.0), ('rows', 2.0), ('columns', 2.1))
  }
  with pytest.raises(AssertionError, match='columns'):
    module.check(forms)


def test_whole_steps_are_compared(benchmark, monkeypatch, capsys):
  module = benchmark('step')
  words = '--config=configs/vit_mrl.py:smoke --rounds=4'
  monkeypatch.setattr(sys, 'argv', ['step.py', *words.split()])
  module.main()
  printed = capsys.readouterr().out
  rows = [line for line in printed.splitlines() if line.startswith('| m')]
  assert [row.split()[1] for row in rows] == ['mrl', 'mrl_e']
  # FLOPs, memory and exchanged bytes, each over FF's.
  ratios = [float(cell.split()[0]) for cell in rows[1].split('|')[2:5]]
  assert ratios[0] == 1 and all(0.9 < ratio < 1.5 for ratio in ratios)
