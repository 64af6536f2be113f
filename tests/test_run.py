"""Whole runs: every config trains, evaluates, saves, resumes, repeats."""

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrl_jax import build, checkpoint, config, environment, state
from mrl_jax.data import cifar, download, fashion_mnist
from tests.data.test_data import cifar_archive, idx, prepare_imagenet

ROOT = Path(__file__).parent.parent


def rows_of(folder):
  lines = (folder / 'results.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.fixture
def upstream(tmp_path, monkeypatch, photos):
  """Small upstream files of real pixels behind every source of the configs."""
  folder = tmp_path / 'upstream'
  folder.mkdir()
  for name in ('CIFAR10', 'CIFAR100'):
    archive = getattr(cifar, name)
    path = folder / archive.url.rsplit('/', 1)[1]
    cifar_archive(path, photos, archive, 10)
    fake = dataclasses.replace(archive, checksum=download.sha256(path))
    monkeypatch.setattr(cifar, name, fake)
  import gzip
  import hashlib

  files = {}
  grey = photos[:60, :28, :28].mean(-1).astype(np.uint8)
  labels = (np.arange(60) % 10).astype(np.uint8)
  for split, part in (('train', slice(40)), ('t10k', slice(40, 60))):
    for kind, array in (('images-idx3', grey), ('labels-idx1', labels)):
      name, raw = f'{split}-{kind}-ubyte.gz', idx(array[part])
      (folder / name).write_bytes(gzip.compress(raw))
      files[name] = ('', hashlib.sha256(raw).hexdigest())
  monkeypatch.setattr(fashion_mnist, 'FILES', files)
  for c, label in enumerate(('cat', 'dog')):
    (folder / 'images' / label).mkdir(parents=True)
    for i in range(20):
      path = folder / 'images' / label / f'{i}.jpg'
      Image.fromarray(photos[20 * c + i]).save(path)
  return folder


CONFIGS = {
  'vit_mrl.py:smoke': [],
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


def test_every_config_is_smoked():
  folder = ROOT / 'configs'
  files = {str(path.relative_to(folder)) for path in folder.rglob('*.py')}
  assert files == {name.partition(':')[0] for name in CONFIGS}
  for path in files:
    top = (folder / path).read_text().split('"""')[1]
    assert f'python train.py --config=configs/{path}' in top


@pytest.mark.parametrize('name', CONFIGS)
def test_smoke(run_cli, tmp_path, upstream, photos, name):
  """Trains on eight devices, evaluates, saves, and eval.py agrees."""
  work, data = tmp_path / 'work', tmp_path / 'tfds'
  if 'imagenet' in name:
    prepare_imagenet(data, photos)
  words = [word.format(up=upstream) for word in CONFIGS[name]]
  words += [f'--config.data.dir={data}', '--config.eval.knn.neighbours=5']
  argv = ['train', f'--config=configs/{name}', f'--workdir={work}', *words]
  code, out, err = run_cli(*argv)
  assert code == 0, err
  saved = config.read_saved(work)
  steps = saved.train.steps

  for file in (
    'config.json environment.json metrics.jsonl '
    f'checkpoints/{steps}/manifest.json '
    f'eval/{steps}/results.jsonl eval/{steps}/curves.csv '
    f'eval/{steps}/accuracy_vs_dimension.png eval/{steps}/report.html'
  ).split():
    assert (work / file).exists(), file
  assert list((work / 'tensorboard').glob('events*'))
  metrics = [
    json.loads(line)
    for line in (work / 'metrics.jsonl').read_text().splitlines()
  ]
  assert [m['step'] for m in metrics] == sorted(m['step'] for m in metrics)
  trained = next(m for m in metrics if 'train/loss' in m)
  for key in ('train/loss/d8', 'train/accuracy/d8', 'train/learning_rate'):
    assert key in trained

  first = rows_of(work / 'eval' / str(steps))
  keys = 'evaluator metric dim value ci_low ci_high n step trained'.split()
  assert all(key in row for row in first for key in keys)
  assert {row['evaluator'] for row in first} == {'linear', 'knn'}
  assert {row['dim'] for row in first} >= {8, 12, 16, 32}
  fixed = saved.head.name == 'ff'
  for row in first:
    trained = (saved.head.dim,) if fixed else saved.dims
    assert row['trained'] == (row['dim'] in trained), row
  assert any(row['dim'] == 12 for row in first if not row['trained'])

  table = out[out.rindex('with 95% intervals') :]
  code, out, err = run_cli('eval', f'--workdir={work}')
  assert code == 0, err
  assert rows_of(work / 'eval' / str(steps)) == first
  assert out[out.rindex('with 95% intervals') :] == table

  # A finished run says the same again, trains nothing and logs nothing twice.
  logged = (work / 'metrics.jsonl').read_text()
  code, out, err = run_cli(*argv)
  assert code == 0 and f'resuming from step {steps}' in out, err
  assert (work / 'metrics.jsonl').read_text() == logged
  assert rows_of(work / 'eval' / str(steps)) == first


def command(*argv, devices=1):
  variables = os.environ | {
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    'JAX_PLATFORMS': 'cpu',
  }
  return dict(
    args=[sys.executable, *map(str, argv)],
    env=variables,
    cwd=ROOT,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def host_state(workdir, step):
  """A saved step's arrays on one device, through the run's own config."""
  run = build.run(config.read_saved(workdir), workdir)
  saver = run.checkpointer()
  restored, position = saver.restore(step, run.placed)
  saver.close()
  import jax

  return jax.device_get(restored), position


TWENTY = [
  '--config.train.steps=20',
  '--config.checkpoint.every=10',
  '--config.train.eval_every=100',
  '--config.train.log_every=1',
  '--config.encoder.dropout=0.1',
  '--config.task.mixup=0.2',
  '--config.optim.average=0.9',
  '--config.task.dims_per_step=2',
]


def test_resume_is_exact(tmp_path):
  """20 steps == 10 + a new process + 10, bit for bit, batches and metrics."""
  train = ['train.py', '--config=configs/vit_mrl.py:smoke', *TWENTY]
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  done = subprocess.run(**command(*train, f'--workdir={whole}', devices=2))
  assert done.returncode == 0, done.stderr
  # The second run is killed without warning some time after step 10 is saved.
  process = subprocess.Popen(**command(*train, f'--workdir={parts}', devices=2))
  sealed = parts / 'checkpoints' / '10' / 'manifest.json'
  deadline = time.monotonic() + 120
  while not sealed.exists() and process.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  process.kill()
  process.communicate()
  shutil.rmtree(parts / 'checkpoints' / '20', ignore_errors=True)
  again = subprocess.run(**command(*train, f'--workdir={parts}', devices=2))
  assert again.returncode == 0, again.stderr
  assert 'resuming from step 10' in again.stdout

  a, b = host_state(whole, 20), host_state(parts, 20)
  import chex

  chex.assert_trees_all_equal(a, b)
  steady = ('train/loss', 'train/accuracy/d8', 'train/gradient_norm')

  def values(folder):
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [
      [m['step'], *(m[k] for k in steady)] for m in found if steady[0] in m
    ]

  assert values(whole) == values(parts)
  assert [row[0] for row in values(parts)] == list(range(1, 21))


def test_resume_on_another_mesh_is_within_float_error(tmp_path, run_cli):
  import chex

  argv = ['train', '--config=configs/vit_mrl.py:smoke', *TWENTY]
  argv[2:2] = []
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  assert run_cli(*argv, f'--workdir={whole}')[0] == 0
  shutil.copytree(whole, parts)
  shutil.rmtree(parts / 'checkpoints' / '20')
  code, out, err = run_cli(
    *argv, f'--workdir={parts}', '--config.mesh.data=2', '--config.mesh.fsdp=4'
  )
  assert code == 0 and 'resuming from step 10' in out, err
  a, b = host_state(whole, 20)[0], host_state(parts, 20)[0]
  # Adam divides by the root of tiny second moments: float32 noise grows.
  chex.assert_trees_all_close(a.params, b.params, atol=5e-3)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_a_signal_saves_first(tmp_path, name):
  work = tmp_path / 'work'
  argv = [
    'train.py',
    '--config=configs/vit_mrl.py:smoke',
    f'--workdir={work}',
    '--config.train.steps=100000',
    '--config.train.eval_every=100000',
    '--config.checkpoint.every=100000',
    '--config.train.log_every=5',
  ]
  process = subprocess.Popen(**command(*argv))
  metrics = work / 'metrics.jsonl'
  deadline = time.monotonic() + 120
  while not (metrics.exists() and metrics.read_text()):
    assert time.monotonic() < deadline and process.poll() is None
    time.sleep(0.05)
  process.send_signal(signal.Signals[name])
  out, err = process.communicate(timeout=60)
  assert process.returncode == {'SIGTERM': 143, 'SIGINT': 130}[name], err
  (step,) = checkpoint.steps(work / 'checkpoints')
  assert f'stopped by {name} at step {step:,}, saved' in out
  assert (work / 'checkpoints' / str(step) / 'manifest.json').exists()


@pytest.mark.parametrize('log_every', [1, 100])
def test_a_loss_that_is_not_finite_gives_up(run_cli, tmp_path, log_every):
  code, _, err = run_cli(
    'train',
    '--config=configs/vit_mrl.py:smoke',
    f'--workdir={tmp_path}',
    '--config.optim.name=sgd',
    '--config.optim.learning_rate=1e30',
    '--config.optim.clip_norm=0',
    f'--config.train.log_every={log_every}',
    '--config.train.eval_every=100',
  )
  assert code == 3, err
  assert re.search(r'the (loss|gradient_norm) is (nan|inf) at step \d', err)
  # Step 3 would have been saved, had it not been checked first.
  assert checkpoint.steps(tmp_path / 'checkpoints') == []


def test_init_from_takes_the_encoder_only(run_cli, tmp_path):
  import chex

  smoke = '--config=configs/vit_mrl.py:smoke'
  first = tmp_path / 'first'
  assert run_cli('train', smoke, f'--workdir={first}')[0] == 0
  loaded, _ = config.load('configs/vit_mrl.py:smoke')
  config.override(loaded, [f'--config.init_from={first}', '--config.seed=5'])
  fresh = build.run(loaded, tmp_path / 'second').create()
  old, _ = host_state(first, 6)
  import jax

  params = jax.device_get(fresh.params)
  chex.assert_trees_all_equal(params['encoder'], old.params['encoder'])
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(params['head'], old.params['head'])
  code, _, err = run_cli(
    'train',
    smoke,
    f'--workdir={tmp_path / "third"}',
    f'--config.init_from={first}',
    '--config.encoder.depth=3',
  )
  assert code == 2 and 'init_from: the encoder of' in err


def test_an_empty_split_is_refused(run_cli, tmp_path, photos):
  for label, photo in zip(('cat', 'dog'), photos):
    (tmp_path / 'images' / label).mkdir(parents=True)
    Image.fromarray(photo).save(tmp_path / 'images' / label / '0.png')
  code, _, err = run_cli(
    'train',
    '--config=configs/vit_folder.py:smoke',
    f'--workdir={tmp_path / "w"}',
    f'--config.data.source.path={tmp_path / "images"}',
  )
  assert code == 2 and 'its validation part has no images' in err


def test_damaged_and_changed_runs_are_refused(run_cli, tmp_path):
  work = tmp_path / 'work'
  argv = ['train', '--config=configs/vit_mrl.py:smoke', f'--workdir={work}']
  assert run_cli(*argv)[0] == 0
  code, _, err = run_cli('eval', f'--workdir={work}', '--step=4')
  assert code == 2 and 'has no step 4; it has 3, 6' in err
  code, _, err = run_cli('eval', f'--workdir={work}', '--config.dims=8,32')
  assert code == 2 and 'does not fit this config' in err
  for step in (3, 6):
    manifest = work / 'checkpoints' / str(step) / 'manifest.json'
    manifest.write_text('{')
  code, _, err = run_cli(*argv)
  assert code == 2 and 'none is whole' in err


def test_evaluation_uses_the_moving_average(tmp_path):
  loaded, _ = config.load('configs/vit_mrl.py:smoke')
  config.override(loaded, ['--config.optim.average=0.5'])
  run = build.run(loaded, tmp_path)
  fresh = run.create()
  import jax

  broken = dataclasses.replace(
    fresh, params=jax.tree.map(lambda x: x * float('nan'), fresh.params)
  )
  linear = run.evaluators['linear']
  rows = linear.run(run.evidence(broken.best_params, broken.stats))
  assert rows == linear.run(run.evidence(fresh.average, fresh.stats))
  assert isinstance(broken, state.TrainState)


def test_environment_names_what_a_repeat_needs():
  found = environment.describe()
  assert found['versions']['jax'] and found['devices'] == ['8 x cpu']


WORKER = """
import sys
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
import train
sys.exit(train.main(sys.argv[1:]))
"""


def test_two_processes_train_and_one_restores(run_cli, tmp_path):
  """gloo: same losses as one process, a checkpoint that one process reads."""
  alone, pair = tmp_path / 'alone', tmp_path / 'pair'
  words = ['--config=configs/vit_mrl.py:smoke', *TWENTY]
  words.append('--config.train.steps=10')
  assert run_cli('train', *words, f'--workdir={alone}')[0] == 0

  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  processes = [
    subprocess.Popen(
      [
        sys.executable,
        '-c',
        WORKER,
        *words,
        f'--workdir={pair}',
        f'--distributed=127.0.0.1:{port},2,{index}',
      ],
      cwd=ROOT,
      env={k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'},
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    )
    for index in range(2)
  ]
  outputs = [process.communicate(timeout=240) for process in processes]
  for process, (_, err) in zip(processes, outputs):
    assert process.returncode == 0, err
  assert 'step' in outputs[0][0] and 'with 95% intervals' not in outputs[1][0]

  def losses(folder):
    lines = (folder / 'metrics.jsonl').read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [m['train/loss'] for m in found if 'train/loss' in m]

  assert len(losses(pair)) == 10
  np.testing.assert_allclose(losses(pair), losses(alone), rtol=1e-3)
  ours, theirs = (rows_of(f / 'eval' / '10') for f in (pair, alone))
  for a, b in zip(ours, theirs):
    assert (a['evaluator'], a['dim'], a['n']) == (
      b['evaluator'],
      b['dim'],
      b['n'],
    )
    assert abs(a['value'] - b['value']) < 0.02  # a few near ties of 360

  before = rows_of(pair / 'eval' / '10')
  code, _, err = run_cli('eval', f'--workdir={pair}')
  assert code == 0, err
  for a, b in zip(before, rows_of(pair / 'eval' / '10')):
    assert abs(a['value'] - b['value']) < 0.01
