"""Small models with rotary positions, as transformers writes them.

Their forward passes are plain NumPy in float64, one text and one head at a
time, from the formulas of arXiv:2104.09864 and arXiv:2412.13663.
"""

import math

import numpy as np
from safetensors.numpy import save_file

from tests.samples import foreign

MODERNBERT = {
  'model_type': 'modernbert',
  'architectures': ['ModernBertForMaskedLM'],
  'vocab_size': 12,
  'hidden_size': 8,
  'num_hidden_layers': 4,
  'num_attention_heads': 2,
  'intermediate_size': 6,
  'max_position_embeddings': 32,
  'norm_eps': 1e-5,
  'hidden_activation': 'gelu',
  'global_attn_every_n_layers': 3,
  'global_rope_theta': 160000.0,
  'local_rope_theta': 100.0,
  'local_attention': 4,
  'pad_token_id': 0,
}


def random(shapes, seed=0):
  """Random tensors of these shapes, norms near 1."""
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(0, 0.5, shape).astype(np.float32) + ('norm' in name)
    for name, shape in shapes.items()
  }


def modernbert_tensors(config, seed=0):
  """Random tensors by the names of transformers."""
  width, hidden = config['hidden_size'], config['intermediate_size']
  shapes = {
    'embeddings.tok_embeddings.weight': (config['vocab_size'], width),
    'embeddings.norm.weight': (width,),
    'final_norm.weight': (width,),
  }
  for i in range(config['num_hidden_layers']):
    shapes |= {
      f'layers.{i}.attn.Wqkv.weight': (3 * width, width),
      f'layers.{i}.attn.Wo.weight': (width, width),
      f'layers.{i}.mlp_norm.weight': (width,),
      f'layers.{i}.mlp.Wi.weight': (2 * hidden, width),
      f'layers.{i}.mlp.Wo.weight': (width, hidden),
    }
    if i:
      shapes[f'layers.{i}.attn_norm.weight'] = (width,)
  return random(shapes, seed)


def write(folder, config, tensors, **changes):
  """A folder as transformers writes it; returns it."""
  folder.mkdir(exist_ok=True)
  foreign.write_json(folder / 'config.json', config | changes)
  save_file(tensors, folder / 'model.safetensors')
  foreign.write_tokenizer(folder / 'tokenizer.json')
  return folder


def write_modernbert(folder, tensors=None, **changes):
  """A small ModernBERT with random numbers; returns the folder."""
  config = MODERNBERT | changes
  tensors = modernbert_tensors(config) if tensors is None else tensors
  return write(folder, config, tensors)


def turned(x, base):
  """The pairs (i, i + size / 2) of [n size] as complex numbers, turned."""
  half = x.shape[1] // 2
  pairs = x[:, :half] + 1j * x[:, half:]
  for place in range(len(x)):
    for i in range(half):
      pairs[place, i] *= np.exp(1j * place / base ** (i / half))
  return np.concatenate([pairs.real, pairs.imag], axis=1)


def attended(q, k, v, seen):
  """One head of one text; `seen` [n n] says which keys a query looks at."""
  mixed = np.zeros_like(v)
  for i in range(len(q)):
    keys = np.flatnonzero(seen[i])
    if len(keys):
      scores = np.exp(k[keys] @ q[i] / math.sqrt(q.shape[1]))
      mixed[i] = scores / scores.sum() @ v[keys]
  return mixed


def modernbert_states(tensors, config, tokens, mask):
  """The tokens after the embedding and after each block, float64."""
  t = {name: array.astype(np.float64) for name, array in tensors.items()}
  gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))
  hidden, heads = config['intermediate_size'], config['num_attention_heads']
  n, places = tokens.shape[1], np.arange(tokens.shape[1])
  near = np.abs(places[:, None] - places) <= config['local_attention'] // 2

  def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + config['norm_eps'])
    return x * t[f'{name}.weight']

  def attention(x, real, i):
    whole = i % config['global_attn_every_n_layers'] == 0
    base = config[f'{"global" if whole else "local"}_rope_theta']
    seen = np.broadcast_to(real, (n, n)) & (near | whole)
    q, k, v = np.split(x @ t[f'layers.{i}.attn.Wqkv.weight'].T, 3, axis=1)
    q, k, v = (np.split(array, heads, axis=1) for array in (q, k, v))
    mixed = [
      attended(turned(a, base), turned(b, base), c, seen)
      for a, b, c in zip(q, k, v)
    ]
    return np.concatenate(mixed, 1) @ t[f'layers.{i}.attn.Wo.weight'].T

  def states(row, real):
    x = norm(t['embeddings.tok_embeddings.weight'][row], 'embeddings.norm')
    yield x
    for i in range(config['num_hidden_layers']):
      y = norm(x, f'layers.{i}.attn_norm') if i else x
      x = x + attention(y, real, i)
      y = norm(x, f'layers.{i}.mlp_norm') @ t[f'layers.{i}.mlp.Wi.weight'].T
      y = gelu(y[:, :hidden]) * y[:, hidden:]
      x = x + y @ t[f'layers.{i}.mlp.Wo.weight'].T
      yield x

  rows = [list(states(*pair)) for pair in zip(tokens, mask)]
  *before, last = (np.stack(state) for state in zip(*rows))
  return [*before, norm(last, 'final_norm')]
