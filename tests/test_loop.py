"""The loop saves before it evaluates."""

import json
from pathlib import Path

import pytest

from mrl_jax import integrity
from mrl_jax.errors import UsageError
from mrl_jax.evaluators import EVALUATORS

ROOT = Path(__file__).parents[1]
SMOKE = '--config=configs/vit_mrl.py:digits,smoke'


class Broken:
  """An evaluator that fails, as a full disk or a missing folder would."""

  needs = ()
  metrics = ('top1',)
  error: Exception = UsageError('the folder of the shifted images is gone')

  def run(self, evidence):
    raise self.error


@pytest.mark.slow
@pytest.mark.parametrize('error', [UsageError('gone'), RuntimeError('broken')])
def test_nothing_that_an_evaluation_raises_loses_a_step(
  run_cli, tmp_path, monkeypatch, error
):
  monkeypatch.setitem(EVALUATORS, 'linear', Broken)
  monkeypatch.setattr(Broken, 'error', error)
  argv = ['train', SMOKE, f'--workdir={tmp_path}', '--config.eval.only=linear']
  if isinstance(error, UsageError):
    code, _, err = run_cli(*argv)
    assert code == 2 and 'gone' in err
  else:
    with pytest.raises(RuntimeError, match='broken'):
      run_cli(*argv)
  assert integrity.newest_whole(tmp_path / 'checkpoints') == 3
  assert not (tmp_path / 'checkpoints' / 'evaluated.json').exists()

  # Mended, the run evaluates the step that it could not, and goes on.
  monkeypatch.undo()
  monkeypatch.chdir(ROOT)
  code, out, err = run_cli(*argv)
  assert code == 0 and 'resuming from step 3' in out, err
  assert (tmp_path / 'eval' / '3' / 'results.jsonl').exists()
  done = json.loads((tmp_path / 'checkpoints' / 'evaluated.json').read_text())
  assert sorted(done) == ['3', '6']
