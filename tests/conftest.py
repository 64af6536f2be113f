"""Eight emulated CPU devices, one dataset folder, and small pieces to test."""

import os
from pathlib import Path

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['MPLBACKEND'] = 'agg'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import jax
import numpy as np
import pytest

import tests.samples.checked  # noqa: F401 (found by name in setup.cfg)

jax.config.update('jax_num_cpu_devices', 8)

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items):
  """The longest test begins first, so that no core waits for its end."""
  items.sort(key=lambda item: 'test_the_main_job' not in item.name)


@pytest.fixture(scope='session', autouse=True)
def data_dir(tmp_path_factory):
  """A dataset folder of the tests' own, shared by all workers of a run."""
  base = tmp_path_factory.getbasetemp()
  shared = base.parent if os.environ.get('PYTEST_XDIST_WORKER') else base
  folder = shared / 'datasets'
  folder.mkdir(exist_ok=True)
  os.environ['TFDS_DATA_DIR'] = str(folder)
  return folder


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
  monkeypatch.chdir(ROOT)


@pytest.fixture(scope='session')
def photos():
  """Real image patches [n 32 32 3] cut from scikit-learn's two photos."""
  from sklearn.datasets import load_sample_images

  patches = []
  for photo in load_sample_images().images:
    h, w = photo.shape[0] // 32 * 32, photo.shape[1] // 32 * 32
    grid = photo[:h, :w].reshape(h // 32, 32, w // 32, 32, 3)
    patches.append(grid.swapaxes(1, 2).reshape(-1, 32, 32, 3))
  return np.concatenate(patches)


@pytest.fixture
def run_cli(capsys):
  """run_cli('train', args...) -> (exit code, stdout, stderr), in process."""
  from mrl_jax import commands

  entries = {
    'train': commands.run_train,
    'eval': commands.run_eval,
    'embed': commands.run_embed,
    'plan': commands.run_plan,
  }

  def run(entry, *argv):
    try:
      code = entries[entry]([str(a) for a in argv])
    except SystemExit as stop:
      code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run
