"""Parity with transformers and sentence-transformers; CI has neither."""

import os

import numpy as np
import pytest

from tests.samples import foreign

torch = pytest.importorskip('torch')

pytestmark = [
  pytest.mark.oracle,
  pytest.mark.slow,
  # torch and transformers warn of themselves.
  pytest.mark.filterwarnings('default'),
]

SIZES = dict(
  vocab_size=60,
  hidden_size=32,
  num_hidden_layers=3,
  num_attention_heads=4,
  intermediate_size=40,
  initializer_range=0.5,
)
FAMILIES = {
  'Bert': dict(max_position_embeddings=24, pad_token_id=0),
  'Roberta': dict(max_position_embeddings=26, pad_token_id=1),
  'XLMRoberta': dict(max_position_embeddings=26, pad_token_id=1),
  'Camembert': dict(max_position_embeddings=26, pad_token_id=1),
  # Texts are longer than its window of 3 to either side. Its tokens are sums
  # over blocks: with a smaller range they stay near 1, and so do their errors.
  'ModernBert': dict(
    initializer_range=0.2,
    max_position_embeddings=24,
    num_hidden_layers=4,
    local_attention=6,
    initializer_cutoff_factor=3.0,
    pad_token_id=0,
    bos_token_id=1,
    cls_token_id=1,
    eos_token_id=2,
    sep_token_id=2,
  ),
  'Qwen3': dict(
    initializer_range=0.2,
    max_position_embeddings=24,
    num_key_value_heads=2,
    head_dim=6,  # not hidden_size / num_attention_heads
    pad_token_id=0,
  ),
}
LONGEST = 24


def random_model(folder, family, **options):
  """A model of transformers with random weights, saved with a tokenizer."""
  transformers = pytest.importorskip('transformers')
  torch.manual_seed(0)
  config = getattr(transformers, f'{family}Config')(
    **SIZES | FAMILIES[family] | options
  )
  model = getattr(transformers, f'{family}Model')(config).eval()
  with torch.no_grad():  # norms and biases begin at 1 and 0
    for parameter in model.parameters():
      if parameter.ndim == 1:
        parameter.add_(0.3 * torch.randn_like(parameter))
  model.save_pretrained(folder)
  words = foreign.WORDS + [f'w{i}' for i in range(50)]
  foreign.write_tokenizer(folder / 'tokenizer.json', words)
  return model


@pytest.mark.parametrize('tied', [True, False], ids=['tied', 'untied'])
def test_a_language_model_has_the_same_embeddings(tmp_path, tied):
  transformers = pytest.importorskip('transformers')
  options = SIZES | FAMILIES['Qwen3'] | {'tie_word_embeddings': tied}
  torch.manual_seed(0)
  config = transformers.Qwen3Config(**options)
  model = transformers.Qwen3ForCausalLM(config).eval()
  model.save_pretrained(tmp_path)
  foreign.write_tokenizer(tmp_path / 'tokenizer.json')
  encoder, _ = foreign.encoder_of(tmp_path)
  tokens, mask = texts('right', 0)
  with torch.no_grad():
    theirs = model.model(torch.tensor(tokens), torch.tensor(mask.astype(int)))
  ours = encoder.states({'tokens': tokens.astype(np.int32), 'mask': mask})[-1]
  np.testing.assert_allclose(
    ours[mask], theirs.last_hidden_state.numpy()[mask], atol=1e-5
  )


def texts(side, padding):
  """Lengths 1, some, and the longest; padding on a side."""
  rng = np.random.default_rng(1)
  tokens = rng.integers(2, 60, (4, LONGEST))
  counts = np.array([1, 7, 16, LONGEST])[:, None]
  mask = np.arange(LONGEST) < counts
  mask = mask if side == 'right' else mask[:, ::-1]
  return np.where(mask, tokens, padding), mask


@pytest.mark.parametrize('side', ['right', 'left'])
@pytest.mark.parametrize('family', FAMILIES)
def test_every_layer_equals_transformers(tmp_path, family, side):
  model = random_model(tmp_path, family)
  encoder, _ = foreign.encoder_of(tmp_path)
  tokens, mask = texts(side, FAMILIES[family]['pad_token_id'])
  with torch.no_grad():
    theirs = model(
      torch.tensor(tokens),
      torch.tensor(mask.astype(int)),
      output_hidden_states=True,
    ).hidden_states
  ours = encoder.states({'tokens': tokens.astype(np.int32), 'mask': mask})
  assert len(ours) == len(theirs) == 1 + model.config.num_hidden_layers
  for a, b in zip(ours, theirs):
    np.testing.assert_allclose(a[mask], b.numpy()[mask], atol=1e-5)


@pytest.mark.parametrize('activation', ['gelu_new', 'gelu_fast', 'relu'])
def test_activations_equal_transformers(tmp_path, activation):
  model = random_model(tmp_path, 'Bert', hidden_act=activation)
  encoder, _ = foreign.encoder_of(tmp_path)
  tokens, mask = texts('right', 0)
  with torch.no_grad():
    theirs = model(torch.tensor(tokens), torch.tensor(mask.astype(int)))
  ours = encoder.states({'tokens': tokens.astype(np.int32), 'mask': mask})[-1]
  np.testing.assert_allclose(
    ours[mask], theirs.last_hidden_state.numpy()[mask], atol=1e-5
  )


@pytest.mark.parametrize('side', ['right', 'left'])
@pytest.mark.parametrize(
  ('mode', 'pool'), [('mean', 'mean'), ('cls', 'cls'), ('lasttoken', 'last')]
)
def test_pooling_equals_sentence_transformers(mode, pool, side):
  models = pytest.importorskip('sentence_transformers.models')
  from flax import nnx

  from mrl_jax.encoders import bert

  states = np.random.default_rng(0).normal(size=(4, LONGEST, 8))
  _, mask = texts(side, 0)
  theirs = models.Pooling(8, mode)(
    {
      'token_embeddings': torch.tensor(states),
      'attention_mask': torch.tensor(mask.astype(int)),
    }
  )['sentence_embedding']
  encoder = bert.Bert(
    8, 1, 2, pool=pool, vocabulary=9, length=LONGEST, rngs=nnx.Rngs(0)
  )
  ours = encoder.pooled(states.astype(np.float32), mask)
  np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


def test_minilm_equals_sentence_transformers():
  folder = os.environ.get('MRL_JAX_MINILM')
  if not folder:
    pytest.skip('MRL_JAX_MINILM names no folder')
  library = pytest.importorskip('sentence_transformers')
  theirs = library.SentenceTransformer(folder, device='cpu')
  sentences = [
    'x',
    'A man is playing a guitar.',
    'Ünïcode, 東京 and punctuation -- it goes on; and on?',
    'long ' * 400,
  ]
  batch = theirs.preprocess(sentences)
  encoder, _ = foreign.encoder_of(folder)
  embeddings = encoder(
    {
      'tokens': batch['input_ids'].numpy().astype(np.int32),
      'mask': batch['attention_mask'].numpy().astype(bool),
    }
  )
  norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
  np.testing.assert_allclose(
    embeddings / norms, theirs.encode(sentences), atol=1e-5
  )


def test_static_embedding_equals_sentence_transformers(tmp_path):
  library = pytest.importorskip('sentence_transformers')
  from tokenizers import Tokenizer

  foreign.write_tokenizer(tmp_path / 'tokenizer.json')
  tokenizer = Tokenizer.from_file(str(tmp_path / 'tokenizer.json'))
  table = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
  module = library.models.StaticEmbedding(tokenizer, embedding_weights=table)
  theirs = library.SentenceTransformer(modules=[module], device='cpu')
  theirs.save(str(tmp_path / 'saved'))
  encoder, model = foreign.encoder_of(tmp_path / 'saved')
  sentences = ['a b c', 'f unknown', 'd']
  given = Tokenizer.from_file(model.config['inputs']['text']['tokenizer'])
  given.enable_padding(length=8)
  rows = given.encode_batch(sentences)
  ours = encoder(
    {
      'tokens': np.array([row.ids for row in rows], np.int32),
      'mask': np.array([row.attention_mask for row in rows], bool),
    }
  )
  np.testing.assert_allclose(ours, theirs.encode(sentences), atol=1e-6)
