"""What a command loads before its first line, its help or a typo's answer.

Times depend on the machine; what was imported does not.
"""

import pytest

from tests.samples import processes

# Runs a command, then says which of some packages are there.
COUNT = """
import sys
entry, *words = sys.argv[1:]
if entry == 'parse':
  from mrl_jax import cli
  cli.parse(words[1:], words[0])
else:
  try:
    from mrl_jax import commands
    code = getattr(commands, f'run_{entry}')(words)
  except SystemExit as stop:
    code = stop.code
  print('code', code)
heavy = 'numpy jax flax orbax grain clu scipy.stats sklearn matplotlib'
print('loaded', *[name for name in heavy.split() if name in sys.modules])
"""


def loaded(*words):
  """The lines printed, and the heavy packages that were imported."""
  *lines, last = processes.python('-c', COUNT, *words).splitlines()
  return lines, set(last.split()[1:])


@pytest.mark.parametrize(
  ('entry', 'word'),
  [('train', '--config=configs/vit_mrl.py'), ('eval', '--workdir=runs/a')],
)
def test_the_first_line_comes_before_any_import(entry, word):
  lines, heavy = loaded('parse', entry, word)
  what = word.partition('=')[2]
  assert lines == [f'{what}: loading JAX and the data ...'] and not heavy


@pytest.mark.parametrize('entry', ['train', 'eval'])
@pytest.mark.parametrize('word', ['--help', '--confog=x.py'])
def test_help_and_unknown_flags_import_nothing(entry, word):
  lines, heavy = loaded(entry, word)
  assert not heavy
  assert lines[-1] == f'code {0 if word == "--help" else 2}'


@pytest.mark.slow
def test_an_unknown_key_is_answered_before_the_rest_is_loaded():
  config = '--config=configs/vit_mrl.py:digits,smoke'
  lines, heavy = loaded('train', config, '--config.optim.learning_rat=1')
  assert lines[-1] == 'code 2'
  assert heavy <= {'numpy', 'jax', 'flax', 'clu'}
