"""What setup.cfg promises, and that hooks and workflows call what CI calls."""

import configparser
import os
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parent.parent
WORKFLOW = (ROOT / '.github/workflows/ci.yml').read_text()
# Peers of the benchmarks, too large for CI.
NOT_IN_CI = {'torch', 'sentence-transformers'}


def requirements():
  """The requirement lines of setup.cfg by extra, '' for the core."""
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  lines = dict(setup['options.extras_require'])
  lines[''] = setup['options']['install_requires']
  return {
    extra: [line for line in text.split('\n') if line and line[0] != '#']
    for extra, text in lines.items()
  }


def test_every_core_requirement_has_a_lower_bound():
  lines = requirements()[''] + requirements()['test']
  assert len(lines) > 20
  for line in lines:
    assert re.fullmatch(r'[\w.-]+(\[\w+\])?>=[\d.]+(,<[\d.]+)?', line), line


def test_the_workflow_turns_lower_bounds_into_versions(tmp_path):
  """Its own commands, run here."""
  step = WORKFLOW[WORKFLOW.index('Take the lower bounds') :]
  script = re.search(r'run: \|\n((?: {10}.*\n)+)', step)[1]
  (tmp_path / 'setup.cfg').write_text((ROOT / 'setup.cfg').read_text())
  subprocess.run(
    ['bash', '-euo', 'pipefail', '-c', textwrap.dedent(script)],
    cwd=tmp_path,
    env=os.environ | {'GITHUB_ENV': str(tmp_path / 'variables')},
    check=True,
  )
  expected = set()
  for line in sum(requirements().values(), []):
    bound = re.match(r'([\w.-]+)(?:\[\w+\])?>=([\d.]+)', line)
    if bound and bound[1] not in NOT_IN_CI:
      expected.add(f'{bound[1]}=={bound[2]}')
  lines = (tmp_path / 'oldest.txt').read_text().splitlines()
  assert set(lines) == expected and len(lines) == len(expected)
  # One version each: pip refuses two.
  assert len({line.partition('==')[0] for line in lines}) == len(lines)
  path = f'PIP_CONSTRAINT={tmp_path}/oldest.txt'
  assert (tmp_path / 'variables').read_text().strip() == path


def test_the_workflow_and_the_hooks_call_what_ci_calls():
  assert 'bash .ci/run' in WORKFLOW
  ci = (ROOT / '.ci/run').read_text()
  hooks = (ROOT / '.pre-commit-config.yaml').read_text()
  for tool in ('ruff format', 'ruff check', 'lint-imports', 'mypy'):
    assert tool in ci and f'entry: {tool}' in hooks
  assert 'docs/make_api.py' in ci and 'docs/make_api.py' in hooks


def test_setup_cfg_lists_every_package():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  listed = setup['options']['packages'].split()
  configs = {
    '.'.join(('mrl_jax', *path.parent.relative_to(ROOT).parts))
    for path in (ROOT / 'configs').rglob('*.py')
  }
  found = find_packages(str(ROOT), include=['mrl_jax*'])
  assert sorted(listed) == sorted({*found, *configs})


ELSEWHERE = """
import numpy as np
import mrl_jax
from mrl_jax.data import digits

source = digits.load()
images = np.stack([source.validation[i]['image'] for i in range(9)])
model = mrl_jax.load('work')
vectors = model.embed(images, dim=16)
model.save('model')
again = mrl_jax.load('model')
assert (again.embed(images, dim=16) == vectors).all()
assert len(again.classify(images, 8).names) == 9
assert 'site' in mrl_jax.__file__, mrl_jax.__file__
"""


@pytest.mark.slow
def test_the_wheel_works_alone(tmp_path):
  """It trains by a config of its own, embeds and saves, in an empty folder."""

  def python(*words, cwd):
    done = subprocess.run(
      [sys.executable, *words],
      cwd=cwd,
      env=os.environ | {'PYTHONPATH': str(tmp_path / 'site')},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

  source, empty = tmp_path / 'source', tmp_path / 'empty'
  empty.mkdir()
  wanted = 'mrl_jax', 'configs', 'setup.cfg', 'pyproject.toml', 'README.md'
  source.mkdir()
  for name in (*wanted, 'LICENSE'):
    subprocess.run(['cp', '-r', ROOT / name, source / name], check=True)
  build = 'from setuptools import build_meta as b; b.build_wheel("..")'
  python('-c', build, cwd=source)
  (wheel,) = tmp_path.glob('*.whl')
  with zipfile.ZipFile(wheel) as file:
    file.extractall(tmp_path / 'site')
  train = 'from mrl_jax import commands; commands.run_train()'
  config = '--config=configs/vit_mrl.py:digits,smoke'
  python('-c', train, config, '--workdir=work', cwd=empty)
  python('-c', ELSEWHERE, cwd=empty)
