"""Folders of ModernBERT: old and new files, and what is refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from mrl_jax import pretrained
from mrl_jax.errors import UsageError
from tests.samples import foreign, rotary

FULL, LOCAL = 'full_attention', 'sliding_attention'


def test_sizes_and_choices_come_from_the_folder(tmp_path, capsys):
  folder = rotary.write_modernbert(tmp_path, hidden_activation='gelu_new')
  config = pretrained.read(folder).config
  assert config['encoder'] == {
    'name': 'modernbert',
    'width': 8,
    'depth': 4,
    'heads': 2,
    'hidden': 6,
    'rows': 12,
    'activation': 'gelu_tanh',
    'epsilon': 1e-5,
    'global_every': 3,
    'window': 4,
    'global_base': 160000.0,
    'local_base': 100.0,
    'pool': 'mean',
  }
  assert config['inputs']['text']['length'] == 32
  assert 'names no pooling; it is the mean' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({'layer_types': [FULL, LOCAL, FULL, LOCAL]}, {'global_every': 2}),
    ({'layer_types': [FULL] * 4}, {'global_every': 1}),
    ({'layer_types': [FULL] + [LOCAL] * 3}, {'global_every': 4}),
    ({'local_rope_theta': None}, {'local_base': 160000.0}),
    (
      {
        'rope_parameters': {
          FULL: {'rope_type': 'default', 'rope_theta': 50},
          LOCAL: {'rope_type': 'default'},
        }
      },
      {'global_base': 50.0, 'local_base': 10000.0},
    ),
  ],
)
def test_new_files_say_kinds_of_blocks(tmp_path, changes, expected):
  folder = rotary.write_modernbert(tmp_path, **changes)
  encoder = pretrained.read(folder).config['encoder']
  assert {name: encoder[name] for name in expected} == expected


def test_names_and_heads_of_the_language_model(tmp_path):
  tensors = rotary.modernbert_tensors(rotary.MODERNBERT)
  plain, _ = foreign.encoder_of(rotary.write_modernbert(tmp_path, tensors))
  whole = {f'model.{name}': array for name, array in tensors.items()}
  for name in ('head.dense.weight', 'head.norm.weight', 'decoder.bias'):
    whole[name] = np.zeros(3, np.float32)
  save_file(whole, tmp_path / 'model.safetensors')
  named, _ = foreign.encoder_of(tmp_path)
  np.testing.assert_array_equal(plain.norm.scale[...], named.norm.scale[...])


def test_all_tensors_that_do_not_fit_are_told_together(tmp_path):
  tensors = rotary.modernbert_tensors(rotary.MODERNBERT)
  tensors['layers.0.attn_norm.weight'] = tensors.pop('final_norm.weight')
  tensors['layers.1.attn.Wqkv.weight'] = np.zeros((8, 8), np.float32)
  rotary.write_modernbert(tmp_path, tensors)
  with pytest.raises(UsageError, match='3 tensors differ') as error:
    foreign.encoder_of(tmp_path)
  said = str(error.value)
  assert 'final_norm.weight (8,) is missing' in said and '\n' not in said
  assert 'layers.0.attn_norm.weight (8,) has no place here' in said
  assert 'layers.1.attn.Wqkv.weight is (8, 8), expected (24, 8)' in said


@pytest.mark.parametrize(
  ('changes', 'said'),
  [
    ({'mlp_bias': True}, 'mlp_bias=True is another model than modernbert'),
    ({'attention_bias': True}, 'attention_bias=True is another'),
    ({'norm_bias': True}, 'norm_bias=True is another'),
    ({'rope_scaling': {'type': 'yarn'}}, 'rope_scaling={.* is another'),
    (
      {'rope_parameters': {FULL: {'rope_type': 'yarn'}}},
      "positions scaled by 'yarn' are not read",
    ),
    ({'layer_types': [LOCAL, FULL] * 2}, r'layer_types=\[.* is not read'),
    ({'layer_types': [FULL] * 3}, r'layer_types=\[.* is not read'),
    ({'hidden_activation': 'silu'}, "hidden_activation='silu' is not one of"),
    ({'vocab_size': None}, 'has no vocab_size'),
    ({'max_position_embeddings': None}, 'has no max_position_embeddings'),
  ],
)
def test_other_variants_are_named(tmp_path, changes, said):
  tensors = rotary.modernbert_tensors(rotary.MODERNBERT)
  folder = rotary.write_modernbert(tmp_path, tensors, **changes)
  with pytest.raises(UsageError, match=said):
    pretrained.read(folder)
