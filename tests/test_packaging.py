"""What setup.cfg promises, and that hooks and workflows call what CI calls."""

import configparser
import os
import re
import subprocess
import textwrap
from pathlib import Path

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
