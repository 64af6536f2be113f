"""The examples of docs/adding.md are built, trained and evaluated."""

import importlib
import json
import re
import sys
import types
from pathlib import Path

import pytest

from mrl_jax import build, data, inputs, schema
from mrl_jax import config as configs
from tests.samples import pieces

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / 'docs' / 'adding.md').read_text()
STEP = re.compile(
  r'```python\n# (?P<path>\S+)\n(?P<code>.*?)```'
  r"|Row in `(?P<file>\S+)`, in `(?P<table>\w+)`: `'(?P<name>\w+)': "
  r'(?P<value>\S+)`',
  re.DOTALL,
)
PAIRS = """
from ml_collections import ConfigDict

def get_config(arg=''):
  return ConfigDict(dict(
    dims=(4, 8, 16),
    inputs={f: dict(name='words') for f in ('query', 'positive')},
    encoder=dict(name='bag', width=16),
    task=dict(name='towers'),
    data=dict(source=dict(name='made_pairs'), threads=1),
    train=dict(steps=150, batch_size=32),
    optim=dict(learning_rate=0.02),
    eval=dict(batch_size=32, only=('retrieval',)),
  ))
"""


class Words(pieces.Tokens):
  """The first letters of the page's encoder, from the words of a sample."""

  def __init__(self, length: int = 8, *, vocabulary: tuple[str, ...]):
    super().__init__(length, vocabulary=vocabulary)
    self.shape, self.facts = (
      self.shape['ids'],
      {'vocabulary': 1 + len(vocabulary)},
    )

  def evaluate(self, value):
    arrays = super().evaluate(value)
    return (arrays['ids'] + 1) * (arrays['present'] > 0).astype('int32')


def module_of(path):
  return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


@pytest.fixture
def page(monkeypatch, tmp_path):
  """Follows the page: each file becomes a module, each row is added."""
  names = {}
  for step in STEP.finditer(TEXT):
    if step['table']:
      table = getattr(
        importlib.import_module(module_of(step['file'])), step['table']
      )
      value = eval(step['value'], names)
      monkeypatch.setitem(table, step['name'], value)
    elif '/' not in step['path']:
      (tmp_path / step['path']).write_text(step['code'])
    elif (ROOT / step['path']).exists():  # beside what is there
      exec(step['code'], names)
    else:
      dotted = module_of(step['path'])
      parent, _, name = dotted.rpartition('.')
      names[name] = module = types.ModuleType(dotted)
      exec(step['code'], vars(module))
      monkeypatch.setitem(sys.modules, dotted, module)
      folder = importlib.import_module(parent)
      monkeypatch.setattr(folder, name, module, raising=False)
  return names


@pytest.fixture
def lines(page, tmp_path):
  """Words that tell the class by their letters: (config, its words)."""
  texts = tmp_path / 'texts'
  texts.mkdir()
  for letters in ('ab', 'cd', 'ef'):
    words = [letters[i % 2] * (1 + i % 7) + 'xyz' for i in range(60)]
    (texts / f'{letters}.txt').write_text('\n'.join(words))
  return tmp_path / 'lines.py', [
    f'--config.data.source.path={texts}',
    '--config.train.batch_size=16',
    '--config.eval.batch_size=16',
    '--config.optim.name=adagrad',
    '--config.optim.learning_rate=0.1',
    '--config.eval.only=linear,lengths',
  ]


def rows(work):
  (path,) = (work / 'eval').glob('*/results.jsonl')
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_page_shows_every_kind_of_piece():
  folders = {step['file'] for step in STEP.finditer(TEXT) if step['file']}
  kinds = 'data inputs encoders tasks losses evaluators'.split()
  assert folders == {
    *(f'mrl_jax/{kind}/__init__.py' for kind in kinds),
    'mrl_jax/optim.py',
  }


def test_what_the_page_adds_is_built_from_its_config(lines, tmp_path):
  path, words = lines
  config = schema.resolve(configs.load(str(path))[0], words)
  assert config.encoder.to_dict() == {'name': 'bag', 'width': 64}
  assert config.inputs.text.length == 32
  run = build.run(config, tmp_path / 'work')
  assert run.learner.spec.classes == ('ab', 'cd', 'ef')
  assert run.learner.batch['text'].shape == (16, 32)
  record = run.feed.splits['validation'][0]
  assert record == {'text': 'axyz', 'label': 0}
  letters = run.learner.spec.inputs['text'].evaluate(record['text'])
  assert bytes(n - 1 for n in letters if n) == b'axyz'


@pytest.mark.slow
def test_lines_of_text_are_learned(lines, run_cli, tmp_path):
  path, words = lines
  work = tmp_path / 'work'
  code, _, err = run_cli(
    'train', f'--config={path}', f'--workdir={work}', *words
  )
  assert code == 0, err
  top1 = {
    row['dim']: row['value'] for row in rows(work) if row['metric'] == 'top1'
  }
  assert top1[64] > 0.9  # chance is 1 in 3
  shares = [row['value'] for row in rows(work) if row['metric'] == 'share']
  assert shares == sorted(shares) and shares[-1] == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize('loss', ['info_nce', 'margin'])
def test_two_towers_are_learned(page, run_cli, tmp_path, monkeypatch, loss):
  monkeypatch.setitem(inputs.INPUTS, 'words', Words)
  monkeypatch.setitem(data.SOURCES, 'made_pairs', pieces.pairs)
  path, work = tmp_path / 'pairs.py', tmp_path / 'work'
  path.write_text(PAIRS)
  code, _, err = run_cli(
    'train',
    f'--config={path}',
    f'--workdir={work}',
    f'--config.task.loss.name={loss}',
  )
  assert code == 0, err
  top1 = {
    row['dim']: row['value'] for row in rows(work) if row['metric'] == 'top1'
  }
  assert top1[16] > 0.1  # its own key among 50: chance is 0.02
