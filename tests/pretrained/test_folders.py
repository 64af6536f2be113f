"""What a folder says becomes a config; what is not supported is named."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from mrl_jax import pretrained, schema
from mrl_jax.config import plain
from mrl_jax.errors import UsageError
from tests.samples import foreign

MEAN = {'word_embedding_dimension': 8, 'pooling_mode_mean_tokens': True}


def test_sizes_and_choices_come_from_the_folder(tmp_path, capsys):
  folder = foreign.write_bert(tmp_path, foreign.ROBERTA, hidden_act='gelu_new')
  config = pretrained.read(folder).config
  assert config['encoder'] == {
    'name': 'bert',
    'width': 8,
    'depth': 2,
    'heads': 2,
    'hidden': 12,
    'positions': 18,
    'rows': 12,
    'activation': 'gelu_tanh',
    'epsilon': 1e-5,
    'types': 1,
    'first_position': 2,
    'pool': 'mean',
  }
  assert config['task'] == {'name': 'embed', 'field': 'text'}
  assert config['dims'] == (8,)
  assert config['inputs'] == {
    'text': {
      'name': 'text',
      'tokenizer': str(folder / 'tokenizer.json'),
      'prompt': '',
      'length': 16,
    }
  }
  assert 'names no pooling; it is the mean' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('pooling', 'pool'),
  [
    (MEAN, 'mean'),
    (
      {'pooling_mode_cls_token': True, 'pooling_mode_mean_tokens': False},
      'cls',
    ),
    ({'pooling_mode_lasttoken': True}, 'last'),
    ({'pooling_mode': 'lasttoken', 'embedding_dimension': 8}, 'last'),
    ({'pooling_mode': ['cls'], 'include_prompt': True}, 'cls'),
  ],
)
def test_pooling_of_old_and_new_folders(tmp_path, pooling, pool, capsys):
  folder = foreign.write_bert(tmp_path)
  foreign.write_modules(folder, 'Pooling', 'Normalize', pooling=pooling)
  assert pretrained.read(folder).config['encoder']['pool'] == pool
  assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
  ('file', 'content', 'length'),
  [
    ('sentence_bert_config.json', {'max_seq_length': 9}, 9),
    ('sentence_bert_config.json', {'max_seq_length': None}, 16),
    ('tokenizer_config.json', {'model_max_length': 10}, 10),
    ('tokenizer_config.json', {'model_max_length': int(1e30)}, 16),
    ('tokenizer_config.json', {'model_max_length': 17}, 16),
  ],
)
def test_the_length_is_what_the_folder_says(tmp_path, file, content, length):
  folder = foreign.write_bert(tmp_path)
  foreign.write_json(folder / file, content)
  assert pretrained.read(folder).config['inputs']['text']['length'] == length


@pytest.mark.parametrize(
  ('config', 'prompts'),
  [
    ({}, {'text': ''}),
    ({'prompts': {'query': '', 'document': ''}}, {'text': ''}),
    (
      {'prompts': {'query': 'q: ', 'passage': 'p: ', 'other': 'o: '}},
      {'text': '', 'query': 'q: ', 'document': 'p: '},
    ),
    (
      {'prompts': {'all': 'a: ', 'query': ''}, 'default_prompt_name': 'all'},
      {'text': 'a: ', 'query': ''},
    ),
  ],
)
def test_prompts_become_fields(tmp_path, config, prompts):
  folder = foreign.write_bert(tmp_path)
  foreign.write_json(folder / 'config_sentence_transformers.json', config)
  inputs = pretrained.read(folder).config['inputs']
  assert {name: group['prompt'] for name, group in inputs.items()} == prompts


def test_dims_that_the_folder_states(tmp_path):
  folder = foreign.write_bert(tmp_path, matryoshka_dimensions=[4, 2, 8])
  assert pretrained.read(folder).config['dims'] == (2, 4, 8)
  foreign.write_bert(tmp_path, matryoshka_dimensions=[2, 6])
  assert pretrained.read(folder).config['dims'] == (2, 6, 8)


def test_an_encoder_in_a_folder_of_the_folder(tmp_path):
  """Older sentence-transformers wrote 0_Transformer."""
  inner = tmp_path / '0_Transformer'
  inner.mkdir()
  foreign.write_bert(inner)
  foreign.write_modules(tmp_path, 'Pooling', pooling=MEAN)
  listed = json.loads((tmp_path / 'modules.json').read_text())
  listed[0]['path'] = '0_Transformer'
  foreign.write_json(tmp_path / 'modules.json', listed)
  model = pretrained.read(tmp_path)
  tokenizer = model.config['inputs']['text']['tokenizer']
  assert tokenizer == str(inner / 'tokenizer.json')


@pytest.mark.parametrize('prefix', ['bert.', '0.auto_model.', 'roberta.'])
def test_names_of_whole_models_and_old_files(tmp_path, prefix):
  tensors = foreign.bert_tensors(foreign.BERT)
  foreign.write_bert(tmp_path, tensors=tensors)
  plain, _ = foreign.encoder_of(tmp_path)
  other = {
    prefix + name.replace('LayerNorm.weight', 'LayerNorm.gamma'): array
    for name, array in tensors.items()
  }
  extras = (
    'cls.predictions.bias',
    f'{prefix}pooler.dense.weight',
    'lm_head.bias',
  )
  other |= {name: np.zeros(3, np.float32) for name in extras}
  other[f'{prefix}embeddings.position_ids'] = np.arange(16)
  save_file(other, tmp_path / 'model.safetensors')
  named, _ = foreign.encoder_of(tmp_path)
  np.testing.assert_array_equal(plain.norm.scale[...], named.norm.scale[...])


def test_all_tensors_that_do_not_fit_are_told_together(tmp_path):
  tensors = foreign.bert_tensors(foreign.BERT)
  query = tensors.pop('encoder.layer.0.attention.self.query.weight')
  tensors['encoder.layer.2.output.dense.bias'] = query
  tensors['embeddings.LayerNorm.bias'] = np.zeros(7, np.float32)
  name = 'embeddings.word_embeddings.weight'
  tensors[f'bert.{name}'] = tensors[name]
  foreign.write_bert(tmp_path, tensors=tensors)
  with pytest.raises(UsageError) as error:
    foreign.encoder_of(tmp_path)
  said = str(error.value)
  assert '4 tensors differ' in said and '\n' not in said
  assert 'self.query.weight (8, 8) is missing' in said
  assert 'encoder.layer.2.output.dense.bias (8, 8) has no place' in said
  assert 'LayerNorm.bias is (7,), expected (8,)' in said
  assert f'{name} are the same tensor' in said and f'bert.{name} ' in said


def test_a_missing_block_is_told_in_one_short_line(tmp_path):
  tensors = foreign.bert_tensors(foreign.BERT)
  foreign.write_bert(tmp_path, tensors=tensors, num_hidden_layers=3)
  with pytest.raises(UsageError, match='16 tensors differ') as error:
    foreign.encoder_of(tmp_path)
  assert len(str(error.value)) < 500


@pytest.mark.parametrize(
  ('changes', 'said'),
  [
    ({'model_type': 'mpnet', 'architectures': ['MPNetModel']}, 'MPNetModel is'),
    ({'model_type': None, 'architectures': None}, 'None is not an encoder'),
    ({'is_decoder': True}, 'is_decoder=True is another model'),
    ({'add_cross_attention': True}, 'add_cross_attention=True'),
    ({'position_embedding_type': 'relative_key'}, "='relative_key' is another"),
    ({'auto_map': {'AutoModel': 'x.Y'}}, 'auto_map='),
    ({'hidden_act': 'silu'}, "hidden_act='silu' is not one of gelu"),
    ({'vocab_size': 9}, 'has 10 tokens and the token table 9 rows'),
  ],
)
def test_other_architectures_are_named(tmp_path, changes, said):
  folder = foreign.write_bert(tmp_path, **changes)
  with pytest.raises(UsageError, match=said):
    pretrained.read(folder)


@pytest.mark.parametrize(
  ('file', 'content', 'said'),
  [
    ('config.json', None, r'config\.json is not there: the sizes'),
    ('config.json', {'model_type': 'bert'}, 'has no hidden_size, num_hidden'),
    ('config.json', '{', r'config\.json cannot be read'),
    ('tokenizer.json', None, r'no tokenizer\.json; .*save_pretrained'),
    ('tokenizer.json', '{}', r'tokenizer\.json cannot be read'),
    ('model.safetensors', None, r'no \.safetensors file; save the model'),
    ('model.safetensors', 'x', r'model\.safetensors cannot be read'),
    ('modules.json', [{'type': 'a.Dense', 'path': ''}], 'module Dense is not'),
    ('modules.json', [1], 'is not a list of modules'),
    ('sentence_bert_config.json', {'max_seq_length': 17}, '=17 is longer than'),
    ('sentence_bert_config.json', {'do_lower_case': True}, 'keeps capitals'),
    (
      'config_sentence_transformers.json',
      {'default_prompt_name': 'x'},
      "default_prompt_name='x' is not one of its prompts: none",
    ),
  ],
)
def test_missing_and_wrong_files_are_named(tmp_path, file, content, said):
  folder = foreign.write_bert(tmp_path)
  if content is None:
    (folder / file).unlink()
  elif isinstance(content, str):
    (folder / file).write_text(content)
  else:
    foreign.write_json(folder / file, content)
  with pytest.raises(UsageError, match=said):
    pretrained.read(folder)


@pytest.mark.parametrize(
  ('modules', 'pooling', 'said'),
  [
    (('Pooling', 'Dense'), MEAN, 'the module Dense is not read'),
    (('Pooling',), {'pooling_mode': 'max'}, 'pooling by max is not read'),
    (('Pooling',), {'pooling_mode': ['cls', 'mean']}, 'by cls and mean is not'),
    (('Pooling',), {}, 'pooling by nothing'),
    (('Pooling',), MEAN | {'include_prompt': False}, 'include_prompt=false'),
  ],
)
def test_modules_that_are_not_supported(tmp_path, modules, pooling, said):
  folder = foreign.write_bert(tmp_path)
  foreign.write_modules(folder, *modules, pooling=pooling)
  with pytest.raises(UsageError, match=said):
    pretrained.read(folder)


def test_a_pickle_beside_is_named(tmp_path):
  folder = foreign.write_bert(tmp_path)
  weights = folder / 'model.safetensors'
  weights.rename(folder / 'pytorch_model.bin')
  with pytest.raises(UsageError, match=r'pytorch_model\.bin is a pickle'):
    pretrained.read(folder)
  with pytest.raises(UsageError, match='is a pickle'):
    pretrained.read(folder / 'pytorch_model.bin')
  with pytest.raises(UsageError, match='is not there'):
    pretrained.read(folder / 'nothing')


def test_a_comparison_that_is_not_the_cosine_is_said(tmp_path, capsys):
  folder = foreign.write_modules(
    foreign.write_bert(tmp_path), 'Pooling', pooling=MEAN
  )
  said = {'similarity_fn_name': 'dot'}
  foreign.write_json(folder / 'config_sentence_transformers.json', said)
  pretrained.read(folder)
  assert 'compares by dot' in capsys.readouterr().out
  foreign.write_modules(folder, 'Pooling', 'Normalize')
  pretrained.read(folder)
  assert capsys.readouterr().out == ''


def test_a_file_stands_for_its_folder(tmp_path):
  folder = foreign.write_bert(tmp_path)
  (folder / 'model.safetensors').rename(folder / 'best.safetensors')
  a = pretrained.read(folder / 'best.safetensors')
  assert a.config == pretrained.read(folder).config


def test_our_runs_are_not_foreign(tmp_path):
  folder = foreign.write_bert(tmp_path / 'theirs')
  assert pretrained.is_foreign(folder) and pretrained.is_foreign('hf:a/b')
  assert pretrained.is_foreign(folder / 'model.safetensors')
  (folder / 'config.json').unlink()
  assert pretrained.is_foreign(folder)
  ours = tmp_path / 'ours'
  foreign.write_json(ours / 'config.json', plain(schema.complete({})))
  assert not pretrained.is_foreign(ours)
  assert not pretrained.is_foreign(tmp_path / 'nothing')
  assert not pretrained.is_foreign(tmp_path)
