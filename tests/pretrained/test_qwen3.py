"""Folders of Qwen3 and of embedders made of it, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from mrl_jax import pretrained
from mrl_jax.errors import UsageError
from mrl_jax.inputs import text
from tests.samples import foreign, rotary

SLIDING = ['full_attention', 'sliding_attention']
SCALED = {'rope_type': 'yarn', 'rope_theta': 1e6}
INSTRUCTION = 'Instruct: find the passage\nQuery:'


def test_sizes_and_choices_come_from_the_folder(tmp_path, capsys):
  config = pretrained.read(rotary.write_qwen3(tmp_path)).config
  assert config['encoder'] == {
    'name': 'qwen3',
    'width': 8,
    'depth': 2,
    'heads': 4,
    'groups': 2,
    'size': 6,
    'hidden': 10,
    'rows': 12,
    'epsilon': 1e-6,
    'base': 1e6,
    'pool': 'last',
  }
  assert 'names no pooling; it is the last token' in capsys.readouterr().out
  new = {'rope_theta': None, 'rope_parameters': {'rope_theta': 50}}
  config = pretrained.read(rotary.write_qwen3(tmp_path, **new)).config
  assert config['encoder']['base'] == 50.0


def test_an_embedder_has_its_pooling_prompts_and_end_token(tmp_path):
  """The end token is kept when a text is cut, and is what is pooled."""
  folder = rotary.write_qwen3(tmp_path)
  pooling = {'pooling_mode_lasttoken': True, 'include_prompt': True}
  foreign.write_modules(folder, 'Pooling', 'Normalize', pooling=pooling)
  said = {'prompts': {'query': INSTRUCTION, 'document': ''}}
  foreign.write_json(folder / 'config_sentence_transformers.json', said)
  path = folder / 'tokenizer.json'
  whole = json.loads(path.read_text())
  parts = whole['post_processor']['single']
  whole['post_processor']['single'] = parts[1:]  # no [CLS] before
  path.write_text(json.dumps(whole))
  config = pretrained.read(folder).config
  assert config['encoder']['pool'] == 'last'
  prompts = {name: it['prompt'] for name, it in config['inputs'].items()}
  assert prompts == {'text': '', 'query': INSTRUCTION}
  field = text.Text(str(path), prompt=INSTRUCTION, length=6)
  for words in ('', 'a b', 'a ' * 9):
    arrays = field.evaluate(words)
    last = arrays['tokens'][arrays['mask']][-1]
    assert last == foreign.WORDS.index('[SEP]')


def test_names_of_the_language_model(tmp_path):
  tensors = rotary.qwen3_tensors(rotary.QWEN3)
  plain, _ = foreign.encoder_of(rotary.write_qwen3(tmp_path, tensors))
  whole = {f'model.{name}': array for name, array in tensors.items()}
  whole['lm_head.weight'] = np.zeros((12, 8), np.float32)
  save_file(whole, tmp_path / 'model.safetensors')
  named, _ = foreign.encoder_of(tmp_path)
  np.testing.assert_array_equal(plain.norm.scale[...], named.norm.scale[...])


def test_all_tensors_that_do_not_fit_are_told_together(tmp_path):
  tensors = rotary.qwen3_tensors(rotary.QWEN3)
  tensors['layers.0.self_attn.q_proj.bias'] = tensors.pop('norm.weight')
  tensors['layers.1.self_attn.k_proj.weight'] = np.zeros((24, 8), np.float32)
  rotary.write_qwen3(tmp_path, tensors)
  with pytest.raises(UsageError, match='3 tensors differ') as error:
    foreign.encoder_of(tmp_path)
  said = str(error.value)
  assert 'norm.weight (8,) is missing' in said and '\n' not in said
  assert 'q_proj.bias (8,) has no place here' in said
  assert 'k_proj.weight is (24, 8), expected (12, 8)' in said


@pytest.mark.parametrize(
  ('changes', 'said'),
  [
    ({'attention_bias': True}, 'attention_bias=True is another model than'),
    ({'use_sliding_window': True}, 'use_sliding_window=True is another'),
    ({'layer_types': SLIDING}, 'blocks of sliding_attention are not read'),
    ({'rope_scaling': {'type': 'yarn'}}, 'rope_scaling={.* is another'),
    ({'rope_parameters': SCALED}, "positions scaled by 'yarn' are not read"),
    ({'rope_theta': None}, 'has no rope_theta'),
    ({'hidden_act': 'gelu'}, "hidden_act='gelu' is another"),
    ({'is_causal': False}, 'is_causal=False is another'),
    ({'head_dim': None}, 'has no head_dim'),
    ({'model_type': 'qwen2'}, 'Qwen3ForCausalLM is not an encoder'),
  ],
)
def test_other_variants_are_named(tmp_path, changes, said):
  folder = rotary.write_qwen3(tmp_path, **changes)
  with pytest.raises(UsageError, match=said):
    pretrained.read(folder)
