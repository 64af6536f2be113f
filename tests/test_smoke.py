"""Whole runs: every config trains, evaluates, saves; no data is refused."""

from pathlib import Path

import pytest

from mrl_jax import environment
from tests.samples import runs, upstream

ROOT = Path(__file__).parent.parent

CONFIGS = {
  'vit_mrl.py:smoke': [],
  'vit_mrl.py:digits,smoke': [],
  'vit_mrl.py:fashion_mnist,smoke': ['--config.data.source.path={up}'],
  'vit_mrl.py:cifar10,smoke': ['--config.data.source.path={up}'],
  'vit_mrl.py:cifar100,smoke': ['--config.data.source.path={up}'],
  'vit_mrl.py:imagenet,smoke': [],
  'vit_mrl.py:imagenet,B/16,smoke': [],
  'reproduce/fashion_mnist.py:mrl_e,seed=1,smoke': [
    '--config.data.source.path={up}'
  ],
  'reproduce/fashion_mnist.py:ff=8,smoke': ['--config.data.source.path={up}'],
  'vit_folder.py:smoke': ['--config.data.source.path={up}/images'],
}
FAST = 'vit_mrl.py:digits,smoke'


def test_every_config_is_smoked():
  folder = ROOT / 'configs'
  files = {str(path.relative_to(folder)) for path in folder.rglob('*.py')}
  assert files == {name.partition(':')[0] for name in CONFIGS}
  for path in files:
    top = (folder / path).read_text().split('"""')[1]
    assert f'python train.py --config=configs/{path}' in top


def check_files(work, step):
  for file in (
    'config.json environment.json metrics.jsonl '
    f'checkpoints/{step}/manifest.json '
    f'eval/{step}/results.jsonl eval/{step}/curves.csv '
    f'eval/{step}/accuracy_vs_dimension.png eval/{step}/report.html'
  ).split():
    assert (work / file).exists(), file
  assert list((work / 'tensorboard').glob('events*'))


def check_metrics(work):
  metrics = runs.metrics(work)
  assert [m['step'] for m in metrics] == sorted(m['step'] for m in metrics)
  first = runs.losses(work)[0]
  for key in ('train/loss/d8', 'train/accuracy/d8', 'train/learning_rate'):
    assert key in first


def check_rows(rows, trained):
  keys = 'evaluator metric dim value ci_low ci_high n step trained'.split()
  assert all(key in row for row in rows for key in keys)
  assert {row['evaluator'] for row in rows} == {'linear', 'knn'}
  assert {row['dim'] for row in rows} >= {8, 12, 16, 32}
  for row in rows:
    assert row['trained'] == (row['dim'] in trained), row
  assert any(row['dim'] == 12 for row in rows if not row['trained'])


@pytest.mark.parametrize(
  'name',
  [
    name if name == FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in CONFIGS
  ],
)
def test_smoke(run_cli, tmp_path, monkeypatch, photos, name):
  """Trains on eight devices, evaluates, saves, and eval.py agrees."""
  work, data, up = (tmp_path / word for word in ('work', 'tfds', 'up'))
  up.mkdir()
  upstream.everything(up, photos, monkeypatch)
  if 'imagenet' in name:
    upstream.prepare_imagenet(data, photos)
  words = [word.format(up=up) for word in CONFIGS[name]]
  words += [f'--config.data.dir={data}', '--config.eval.knn.neighbours=5']
  argv = ['train', f'--config=configs/{name}', f'--workdir={work}', *words]
  code, out, err = run_cli(*argv)
  assert code == 0, err
  steps, trained = runs.facts(work)
  check_files(work, steps)
  check_metrics(work)
  first = runs.rows(work, steps)
  check_rows(first, trained)

  table = out[out.rindex('with 95% intervals') :]
  code, out, err = run_cli('eval', f'--workdir={work}')
  assert code == 0, err
  assert runs.rows(work, steps) == first
  assert out[out.rindex('with 95% intervals') :] == table

  # A finished run says the same again, trains nothing and logs nothing twice.
  logged = (work / 'metrics.jsonl').read_text()
  code, out, err = run_cli(*argv)
  assert code == 0 and f'resuming from step {steps}' in out, err
  assert (work / 'metrics.jsonl').read_text() == logged
  assert runs.rows(work, steps) == first


def test_an_empty_split_is_refused(run_cli, tmp_path, photos):
  upstream.image_tree(tmp_path / 'images', photos, count=1)
  code, _, err = run_cli(
    'train',
    '--config=configs/vit_folder.py:smoke',
    f'--workdir={tmp_path / "w"}',
    f'--config.data.source.path={tmp_path / "images"}',
  )
  assert code == 2 and 'its validation part has no records' in err


@pytest.mark.slow
def test_evaluation_uses_the_moving_average(tmp_path):
  settings = runs.loaded(
    'vit_mrl.py:digits,smoke', '--config.optim.average=0.5'
  )
  run = runs.built(settings, tmp_path)
  fresh = run.create()
  rows = runs.evaluated(run, 'linear', runs.broken(fresh))
  assert rows == runs.evaluated(run, 'linear', runs.averaged(fresh))


def test_environment_names_what_a_repeat_needs():
  description = environment.describe()
  assert description['versions']['jax']
  assert description['devices'] == ['8 x cpu']
