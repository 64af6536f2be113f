"""Runs that go on: from their checkpoint, on another mesh, from another run."""

import shutil

import chex
import pytest

from tests.samples import processes, runs


@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
  """The folder of a finished smoke run; tests copy it before they change it."""
  from mrl_jax import commands

  work = tmp_path_factory.mktemp('smoke') / 'run'
  assert commands.run_train([runs.SMOKE, f'--workdir={work}']) == 0
  return work


@pytest.mark.slow
def test_resume_is_exact(tmp_path):
  """20 steps == 10 + a new process + 10, bit for bit, batches and metrics."""
  train = ['train.py', runs.SMOKE, *runs.TWENTY]
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  processes.python(*train, f'--workdir={whole}', devices=2)
  # The second run is killed without warning some time after step 10 is saved.
  sealed = parts / 'checkpoints' / '10' / 'manifest.json'
  with processes.Child(*train, f'--workdir={parts}', devices=2) as child:
    child.wait_until(sealed.exists)
  shutil.rmtree(parts / 'checkpoints' / '20', ignore_errors=True)
  out = processes.python(*train, f'--workdir={parts}', devices=2)
  assert 'resuming from step 10' in out

  chex.assert_trees_all_equal(
    runs.host_state(whole, 20), runs.host_state(parts, 20)
  )
  keys = ('step', 'train/loss', 'train/accuracy/d8', 'train/gradient_norm')

  def values(folder):
    return [[line[key] for key in keys] for line in runs.losses(folder)]

  assert values(whole) == values(parts)
  assert [row[0] for row in values(parts)] == list(range(1, 21))


@pytest.mark.slow
def test_resume_on_another_mesh_is_within_float_error(tmp_path, run_cli):
  argv = ['train', runs.SMOKE, *runs.TWENTY]
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  assert run_cli(*argv, f'--workdir={whole}')[0] == 0
  shutil.copytree(whole, parts)
  shutil.rmtree(parts / 'checkpoints' / '20')
  code, out, err = run_cli(
    *argv, f'--workdir={parts}', '--config.mesh.data=2', '--config.mesh.fsdp=4'
  )
  assert code == 0 and 'resuming from step 10' in out, err
  one, other = (runs.host_state(folder, 20)[0] for folder in (whole, parts))
  # Adam divides by the root of tiny second moments: float32 noise grows.
  chex.assert_trees_all_close(
    runs.parameters(one), runs.parameters(other), atol=5e-3
  )


@pytest.mark.slow
def test_init_from_takes_the_encoder_only(run_cli, tmp_path, smoke):
  settings = runs.loaded(
    'vit_mrl.py:digits,smoke', f'--config.init_from={smoke}', '--config.seed=5'
  )
  fresh = runs.parameters(runs.built(settings, tmp_path / 'fresh').create())
  old = runs.parameters(runs.host_state(smoke, 6)[0])
  chex.assert_trees_all_equal(fresh['encoder'], old['encoder'])
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(fresh['head'], old['head'])
  code, _, err = run_cli(
    'train',
    runs.SMOKE,
    f'--workdir={tmp_path / "other"}',
    f'--config.init_from={smoke}',
    '--config.encoder.depth=3',
  )
  assert code == 2 and 'init_from: the encoder of' in err


@pytest.mark.slow
@pytest.mark.parametrize('schedule', ['cosine', 'constant'])
def test_a_finished_run_is_extended_and_never_cut(run_cli, tmp_path, schedule):
  def go(*words):
    return run_cli(
      'train',
      runs.SMOKE,
      f'--workdir={tmp_path}',
      f'--config.optim.schedule={schedule}',
      '--config.eval.only=linear',
      '--config.optim.warmup_steps=0',
      *words,
    )

  assert go()[0] == 0
  code, out, err = go('--config.train.steps=8')
  assert code == 0 and 'resuming from step 6' in out, err
  assert 'the run is now 8 steps long' in out
  assert ('cosine schedule differs' in out) == (schedule == 'cosine')
  saved = (tmp_path / 'config.json').read_text(encoding='utf-8')
  assert runs.facts(tmp_path)[0] == 8
  short = ['--config.train.steps=0', '--config.train.epochs=1e-5']
  for words in (['--config.train.steps=7'], [], short):
    code, _, err = go(*words)
    assert code == 2 and 'has saved step 8 and the config ends at' in err
    assert (tmp_path / 'config.json').read_text(encoding='utf-8') == saved
  code, out, err = go('--config.train.steps=8')
  assert code == 0 and 'steps long' not in out, err


@pytest.mark.slow
def test_damaged_and_changed_runs_are_refused(run_cli, tmp_path, smoke):
  work = tmp_path / 'work'
  shutil.copytree(smoke, work)
  code, _, err = run_cli('eval', f'--workdir={work}', '--step=4')
  assert code == 2 and 'has no step 4; it has 3, 6' in err
  code, _, err = run_cli('eval', f'--workdir={work}', '--config.dims=8,32')
  assert code == 2 and 'does not fit this config' in err
  for step in (3, 6):
    manifest = work / 'checkpoints' / str(step) / 'manifest.json'
    manifest.write_text('{')
  code, _, err = run_cli('train', runs.SMOKE, f'--workdir={work}')
  assert code == 2 and 'none is whole' in err
