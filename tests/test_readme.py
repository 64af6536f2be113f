"""The README's commands, parsed out of the README and run."""

import re
import shlex
from pathlib import Path

import pytest

from mrl_jax import cli
from tests.samples import processes, runs

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / 'README.md').read_text()


def bash_commands():
  return re.findall(r'```bash\n(.*?)\n```', TEXT, re.DOTALL)


def test_two_commands_do_all_the_set_up():
  """`.ci/run` runs both whole in a fresh environment."""
  train, test = bash_commands()
  assert train.startswith('pip install -e . && python train.py')
  assert test == "pip install -e '.[test]' && python -m pytest"
  assert '\n' not in train


@pytest.mark.slow
def test_the_main_job_reaches_its_accuracy_and_eval_repeats_it(tmp_path):
  """A curve that bends: bars on characters in typefaces not seen before."""
  install, train = bash_commands()[0].split(' && ')
  words = shlex.split(train)
  assert words[0] == 'python'
  work = f'--workdir={tmp_path}'
  out = processes.python(*words[1:], work)
  results = tmp_path / 'eval' / '2400' / 'results.jsonl'
  first = results.read_text()
  value = {
    (row['evaluator'], row['metric'], row.get('variant'), row['dim']): row[
      'value'
    ]
    for row in runs.rows(tmp_path, 2400)
  }
  linear, nearest = (
    {m: value[name, 'top1', None, m] for m in (8, 64)}
    for name in ('linear', 'knn')
  )
  assert linear[64] >= 0.8 and linear[8] <= linear[64] - 0.15
  assert nearest[64] >= 0.86
  random = value['baselines', 'knn_top1', 'random_subset', 8]
  assert nearest[8] >= random + 0.2
  some = '--only=linear,knn,retrieval,stores'
  again = processes.python('eval.py', work, some, '--fresh')
  assert results.read_text() == first

  def table(text):
    return text[text.rindex('with 95% intervals') :].split('report:')[0]

  assert table(out) == table(again)


def test_links_and_configs_of_the_documents_exist():
  for document in [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')]:
    text = document.read_text()
    for link in re.findall(r'\]\((?!http)([^)#]+)\)', text):
      assert (document.parent / link).exists(), link
    for config in re.findall(r'configs/\w+\.py', text):
      assert (ROOT / config).exists(), config


def test_commands_shown_are_understood(run_cli):
  """Every other line of the README parses, training with its config."""
  shown = re.findall(r'^python (train|eval)\.py (.*)$', TEXT, re.MULTILINE)
  assert len(shown) >= 4
  for entry, line in shown:
    words = shlex.split(line)
    if entry == 'eval':  # what it evaluates is not here
      assert cli.parse(words, 'eval')[1] == [], line
      continue
    if '--help' not in words:
      words.append('--print_config')
    assert run_cli(entry, *words)[0] == 0, line
