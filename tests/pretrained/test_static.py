"""Token tables as model2vec, sentence-transformers and WordLlama write them."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from mrl_jax import pretrained
from mrl_jax.errors import UsageError
from tests.samples import foreign

TABLE = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
MODEL2VEC = {'model_type': 'model2vec', 'normalize': True}


def write(folder, tensors, config=None, **options):
  save_file(tensors, folder / 'model.safetensors')
  foreign.write_tokenizer(folder / 'tokenizer.json', **options)
  if config:
    foreign.write_json(folder / 'config.json', config)
  return folder


def table_of(folder):
  encoder, model = foreign.encoder_of(folder)
  return np.asarray(encoder.tokens.embedding[...]), model.config


@pytest.mark.parametrize('name', ['embedding.weight', 'embeddings', 'x'])
def test_a_pair_of_a_table_and_a_tokenizer(tmp_path, name):
  half = TABLE.astype(np.float16)
  table, config = table_of(write(tmp_path, {name: half}))
  np.testing.assert_array_equal(table, half)
  assert config['encoder'] == {
    'name': 'static',
    'width': 4,
    'rows': 10,
    'ignored': (2, 3),  # [CLS] and [SEP]: the mean is without them
  }
  assert config['dims'] == (4,)
  assert config['inputs']['text']['length'] == 2048 + 2


def test_model2vec_leaves_out_unknown_words_too(tmp_path):
  folder = write(tmp_path, {'embeddings': TABLE}, MODEL2VEC, special=False)
  table, config = table_of(folder)
  np.testing.assert_array_equal(table, TABLE)
  assert config['encoder']['ignored'] == (1,)
  assert config['inputs']['text']['length'] == 512


def test_weights_and_a_shared_table_are_folded(tmp_path):
  shared = {
    'embeddings': TABLE[:3],
    'mapping': np.array([0, 1, 2, 0, 1, 2, 2, 2, 2, 1]),
    'weights': np.linspace(0.1, 1, 10),
  }
  table, _ = table_of(write(tmp_path, shared, MODEL2VEC))
  expected = TABLE[shared['mapping']] * shared['weights'][:, None]
  np.testing.assert_allclose(table, expected, rtol=1e-6)
  alone = {'embeddings': TABLE, 'weights': shared['weights']}
  table, _ = table_of(write(tmp_path, alone, MODEL2VEC))
  np.testing.assert_allclose(table, TABLE * alone['weights'][:, None], 1e-6)


def test_static_embedding_of_sentence_transformers(tmp_path):
  folder = tmp_path / '0_StaticEmbedding'
  folder.mkdir()
  write(folder, {'embedding.weight': TABLE})
  module = {'type': 'sentence_transformers.models.StaticEmbedding'}
  module['path'] = folder.name
  foreign.write_json(tmp_path / 'modules.json', [module])
  table, config = table_of(tmp_path)
  np.testing.assert_array_equal(table, TABLE)
  assert config['encoder']['ignored'] == (2, 3)


@pytest.mark.parametrize(
  ('tensors', 'said'),
  [
    ({'embeddings': TABLE, 'other': TABLE}, 'must hold one token table'),
    ({'embeddings': TABLE, 'bias': TABLE[0]}, r'it has .*bias \(4,\)'),
    (
      {'embeddings': TABLE, 'weights': TABLE[0]},
      'one number for each of the 10',
    ),
    ({'embeddings': TABLE[:9]}, 'has 10 tokens and the token table 9 rows'),
  ],
)
def test_what_is_not_one_table_is_refused(tmp_path, tensors, said):
  folder = write(tmp_path, tensors, MODEL2VEC)
  with pytest.raises(UsageError, match=said):
    pretrained.read(folder)
