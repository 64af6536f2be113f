"""A run that starts from weights of others, and no longer needs them."""

import json

import jax
import numpy as np
import pytest

from mrl_jax import build, data, inherited, inputs, schema, workdir
from mrl_jax.config import plain
from mrl_jax.contracts import Facts
from mrl_jax.data.source import Split
from mrl_jax.errors import UsageError
from tests.samples import foreign

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=''):
  return ConfigDict(dict(
    dims=(2, 8),
    inputs=dict(text=dict(name='text')),
    encoder=dict(name='bert', weights=%r),
    data=dict(source=dict(name='words'), threads=1),
    train=dict(steps=2, batch_size=16, eval_every=99),
    eval=dict(batch_size=16, only=('knn',), often=()),
  ))
"""


class Words:
  """A field of text as the numbers of its words; a small stand-in."""

  def __init__(self, tokenizer: str = '', prompt: str = '', length: int = 0):
    from tokenizers import Tokenizer

    self.tokenizer = Tokenizer.from_file(tokenizer)
    self.length, self.prompt = min(length, 8), prompt
    self.tokenizer.enable_padding(length=self.length)
    self.tokenizer.enable_truncation(self.length)
    self.shape = {
      'tokens': jax.ShapeDtypeStruct((self.length,), np.int32),
      'mask': jax.ShapeDtypeStruct((self.length,), np.bool_),
    }
    size = self.tokenizer.get_vocab_size()
    self.facts = {'vocabulary': size, 'length': self.length}

  def evaluate(self, value: str) -> dict:
    row = self.tokenizer.encode(self.prompt + value)
    return {
      'tokens': np.array(row.ids, np.int32),
      'mask': np.array(row.attention_mask, bool),
    }

  def train(self, value: str, rng: np.random.Generator) -> dict:
    return self.evaluate(value)

  def on_device(self, arrays: dict) -> dict:
    return arrays


def words(data_dir: str = '') -> Split:
  """Texts of three words; the first says the class."""
  del data_dir
  rng = np.random.default_rng(0)
  records = [
    {
      'text': ' '.join(['ab'[i % 2], *rng.choice(list('cdef'), 2)]),
      'label': i % 2,
    }
    for i in range(48)
  ]
  return Split(records[16:], records[:16], Facts({'text': {}}, ('a', 'b')))


@pytest.fixture
def rows(monkeypatch):
  monkeypatch.setitem(inputs.INPUTS, 'text', Words)
  monkeypatch.setitem(data.SOURCES, 'words', words)


@pytest.fixture
def folder(tmp_path):
  folder = foreign.write_bert(tmp_path / 'theirs', matryoshka_dimensions=[4])
  prompts = {'prompts': {'query': 'q ', 'all': 'a '}}
  prompts['default_prompt_name'] = 'all'
  foreign.write_json(folder / 'config_sentence_transformers.json', prompts)
  return folder


def config_of(folder, **groups):
  given = {
    'inputs': {'text': {'name': 'text'}},
    'encoder': {'name': 'bert', 'weights': str(folder)},
    'data': {'source': {'name': 'words'}},
  }
  for name, group in groups.items():
    given[name] = (
      given.get(name, {}) | group if isinstance(group, dict) else group
    )
  return schema.complete(given)


def test_defaults_take_what_the_folder_says(rows, folder, tmp_path):
  fields = {'text': {'name': 'text'}, 'query': {'name': 'text', 'length': 5}}
  config = config_of(
    folder, encoder={'width': 8, 'dropout': 0.1}, inputs=fields
  )
  whole = plain(inherited.inherit(config, tmp_path / 'run'))
  assert whole['encoder'] == {
    'name': 'bert',
    'weights': str(folder),
    'width': 8,
    'depth': 2,
    'heads': 2,
    'hidden': 12,
    'activation': 'gelu',
    'epsilon': 1e-5,
    'positions': 16,
    'first_position': 0,
    'types': 2,
    'rows': 12,
    'pool': 'mean',
    'dropout': 0.1,
    'remat': False,
    'dtype': 'float32',
  }
  assert whole['dims'] == (4, 8)
  tokenizer = str(folder / 'tokenizer.json')
  text = {'name': 'text', 'tokenizer': tokenizer, 'prompt': 'a ', 'length': 16}
  assert whole['inputs']['text'] == text
  assert whole['inputs']['query'] == text | {'prompt': 'q ', 'length': 5}


def test_without_weights_nothing_changes(rows, tmp_path):
  config = config_of('')
  assert inherited.inherit(config, tmp_path) == config
  assert inherited.inherit(schema.complete({}), tmp_path) == schema.complete({})


@pytest.mark.parametrize(
  ('groups', 'said'),
  [
    ({'encoder': {'width': 16, 'depth': 3}}, r'width=16 .* 8; .*depth=3 .* 2;'),
    ({'init_from': 'runs/a'}, 'an encoder starts from one of them'),
    ({'encoder': {'name': 'static'}}, 'set encoder.name=bert'),
  ],
)
def test_contradictions_are_refused(rows, folder, tmp_path, groups, said):
  with pytest.raises(UsageError, match=said) as error:
    inherited.inherit(config_of(folder, **groups), tmp_path)
  assert str(folder) in str(error.value)


def test_weights_of_a_second_encoder_are_refused(rows, folder, tmp_path):
  config = config_of(folder)
  with config.unlocked():
    config.task.key_encoder = {'name': 'bert', 'weights': 'x'}
  with pytest.raises(
    UsageError, match='task.key_encoder.weights=x is not read'
  ):
    inherited.inherit(config, tmp_path)


@pytest.mark.slow
def test_a_run_starts_from_them_and_then_stands_alone(
  rows, folder, tmp_path, run_cli
):
  file, work = tmp_path / 'words.py', tmp_path / 'run'
  file.write_text(CONFIG % str(folder))
  words = [f'--config={file}', f'--workdir={work}']
  code, _, err = run_cli('train', *words)
  assert code == 0, err
  saved = json.loads((work / 'config.json').read_text())
  assert (saved['encoder']['width'], saved['encoder']['depth']) == (8, 2)

  fresh = build.run(workdir.read_config(work), tmp_path / 'new').create()
  encoder, _ = foreign.encoder_of(folder)
  theirs = encoder.layers[1].mlp.up.kernel[...]
  ours = fresh.variables.params['encoder']['layers'][1]['mlp']['up']['kernel']
  np.testing.assert_array_equal(ours, theirs)

  for name in ('config.json', 'model.safetensors'):
    (folder / name).unlink()
  config = inherited.inherit(config_of(folder, dims=(2, 8)), work)
  assert config.encoder == workdir.read_config(work).encoder
  assert config.inputs.text.length == 16
  code, _, err = run_cli('train', words[0], f'--workdir={tmp_path / "other"}')
  assert code == 2 and f'{folder}' in err
  assert not (tmp_path / 'other').exists()
