"""Small models as other libraries write them, with random numbers."""

import json
import math

import numpy as np
from safetensors.numpy import save_file

WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', 'b', 'c', 'd', 'e', 'f']
BERT = {
  'model_type': 'bert',
  'architectures': ['BertModel'],
  'vocab_size': 12,
  'hidden_size': 8,
  'num_hidden_layers': 2,
  'num_attention_heads': 2,
  'intermediate_size': 12,
  'max_position_embeddings': 16,
  'type_vocab_size': 2,
  'layer_norm_eps': 1e-5,
  'hidden_act': 'gelu',
  'pad_token_id': 0,
}
ROBERTA = BERT | {
  'model_type': 'roberta',
  'type_vocab_size': 1,
  'pad_token_id': 1,
  'max_position_embeddings': 18,
}


def bert_tensors(config, seed=0):
  """Random tensors by the names of transformers."""
  rng = np.random.default_rng(seed)
  width, hidden = config['hidden_size'], config['intermediate_size']
  shapes = {
    'embeddings.word_embeddings.weight': (config['vocab_size'], width),
    'embeddings.position_embeddings.weight': (
      config['max_position_embeddings'],
      width,
    ),
    'embeddings.token_type_embeddings.weight': (
      config['type_vocab_size'],
      width,
    ),
  }
  norms = ['embeddings.LayerNorm']
  for i in range(config['num_hidden_layers']):
    block = f'encoder.layer.{i}'
    linear = {
      f'{block}.attention.self.{part}': (width, width)
      for part in ('query', 'key', 'value')
    } | {
      f'{block}.attention.output.dense': (width, width),
      f'{block}.intermediate.dense': (hidden, width),
      f'{block}.output.dense': (width, hidden),
    }
    for name, shape in linear.items():
      shapes |= {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
    norms += [
      f'{block}.attention.output.LayerNorm',
      f'{block}.output.LayerNorm',
    ]
  for name in norms:
    shapes |= {f'{name}.weight': (width,), f'{name}.bias': (width,)}
  return {
    name: rng.normal(0, 0.5, shape).astype(np.float32)
    + (1 if 'LayerNorm.weight' in name else 0)
    for name, shape in shapes.items()
  }


def write_tokenizer(path, words=WORDS, special=True, unknown='[UNK]'):
  """A tokenizer that knows whole words, and adds [CLS] and [SEP]."""
  from tokenizers import Tokenizer, models, pre_tokenizers, processors

  numbers = {word: i for i, word in enumerate(words)}
  tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=unknown))
  tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  if special:
    marks = [(word, numbers[word]) for word in ('[CLS]', '[SEP]')]
    tokenizer.post_processor = processors.TemplateProcessing(
      single='[CLS] $A [SEP]', special_tokens=marks
    )
  tokenizer.save(str(path))


def write_json(path, value):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value), encoding='utf-8')


def write_bert(folder, config=BERT, tensors=None, **changes):
  """A folder as transformers writes it; returns it."""
  config = config | changes
  write_json(folder / 'config.json', config)
  tensors = bert_tensors(config) if tensors is None else tensors
  save_file(tensors, folder / 'model.safetensors')
  write_tokenizer(folder / 'tokenizer.json')
  return folder


def write_modules(folder, *modules, pooling=None):
  """modules.json as sentence-transformers writes it; returns the folder."""
  names = ['Transformer', *modules]
  listed = [
    {
      'idx': i,
      'name': str(i),
      'path': '' if not i else f'{i}_{name}',
      'type': f'sentence_transformers.models.{name}',
    }
    for i, name in enumerate(names)
  ]
  write_json(folder / 'modules.json', listed)
  if pooling:
    write_json(folder / '1_Pooling' / 'config.json', pooling)
  return folder


def bert_states(tensors, config, tokens, mask, gelu='exact'):
  """The tokens after the embedding and after each block, float64.

  Plain NumPy, one head at a time, from the formulas of arXiv:1706.03762 and
  arXiv:1810.04805; positions of RoBERTa as fairseq counts them.
  """
  t = {name: array.astype(np.float64) for name, array in tensors.items()}

  def linear(x, name):
    return x @ t[f'{name}.weight'].T + t[f'{name}.bias']

  def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config['layer_norm_eps'])
    return x * t[f'{name}.weight'] + t[f'{name}.bias']

  def activate(x):
    if gelu == 'tanh':
      inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
      return 0.5 * x * (1 + np.tanh(inner))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

  places = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
  if config['model_type'] != 'bert':
    places = np.cumsum(mask, axis=1) * mask + config['pad_token_id']
  x = t['embeddings.word_embeddings.weight'][tokens]
  x = x + t['embeddings.position_embeddings.weight'][places]
  x = x + t['embeddings.token_type_embeddings.weight'][0]
  states = [norm(x, 'embeddings.LayerNorm')]
  heads = config['num_attention_heads']
  size = config['hidden_size'] // heads
  for i in range(config['num_hidden_layers']):
    x, block = states[-1], f'encoder.layer.{i}'
    q, k, v = (
      linear(x, f'{block}.attention.self.{part}')
      for part in ('query', 'key', 'value')
    )
    mixed = np.zeros_like(x)
    for h in range(heads):
      part = slice(h * size, (h + 1) * size)
      scores = np.einsum('bqe,bke->bqk', q[..., part], k[..., part])
      scores = np.where(mask[:, None], scores / math.sqrt(size), -np.inf)
      shares = np.exp(scores - scores.max(-1, keepdims=True))
      shares = shares / shares.sum(-1, keepdims=True)
      mixed[..., part] = shares @ v[..., part]
    mixed = linear(mixed, f'{block}.attention.output.dense')
    x = norm(x + mixed, f'{block}.attention.output.LayerNorm')
    y = activate(linear(x, f'{block}.intermediate.dense'))
    y = linear(y, f'{block}.output.dense')
    states.append(norm(x + y, f'{block}.output.LayerNorm'))
  return states


def encoder_of(where, mesh=None, **options):
  """(the module that `where` describes, its Imported), weights in it."""
  import jax

  from mrl_jax import pretrained, schema, sharding, state
  from mrl_jax.encoders import ENCODERS
  from mrl_jax.variables import Part, join

  model = pretrained.read(where)
  given = dict(model.config['encoder']) | options
  kind = ENCODERS[given.pop('name')]
  facts = {
    'vocabulary': given['rows'],
    'length': model.config['inputs']['text']['length'],
  }
  assert given.keys() <= schema.options(kind).keys()
  part = Part(lambda rngs: kind(**given, **facts, rngs=rngs))
  shapes = jax.eval_shape(
    lambda key: join({'encoder': part.init(key)}), jax.random.key(0)
  )
  mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
  variables = model.variables(state.place(shapes, mesh))
  return part.module(variables.part('encoder')), model
