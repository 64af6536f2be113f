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


QWEN3 = {
  'model_type': 'qwen3',
  'architectures': ['Qwen3ForCausalLM'],
  'vocab_size': 12,
  'hidden_size': 8,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 6,
  'intermediate_size': 10,
  'max_position_embeddings': 32,
  'rms_norm_eps': 1e-6,
  'hidden_act': 'silu',
  'rope_theta': 1000000,
  'rope_scaling': None,
  'attention_bias': False,
  'use_sliding_window': False,
  'tie_word_embeddings': True,
}


def qwen3_tensors(config, seed=0):
  """Random tensors by the names of transformers."""
  width, hidden = config['hidden_size'], config['intermediate_size']
  size = config['head_dim']
  queries = config['num_attention_heads'] * size
  keys = config['num_key_value_heads'] * size
  shapes = {
    'embed_tokens.weight': (config['vocab_size'], width),
    'norm.weight': (width,),
  }
  for i in range(config['num_hidden_layers']):
    shapes |= {
      f'layers.{i}.input_layernorm.weight': (width,),
      f'layers.{i}.self_attn.q_proj.weight': (queries, width),
      f'layers.{i}.self_attn.k_proj.weight': (keys, width),
      f'layers.{i}.self_attn.v_proj.weight': (keys, width),
      f'layers.{i}.self_attn.q_norm.weight': (size,),
      f'layers.{i}.self_attn.k_norm.weight': (size,),
      f'layers.{i}.self_attn.o_proj.weight': (width, queries),
      f'layers.{i}.post_attention_layernorm.weight': (width,),
      f'layers.{i}.mlp.gate_proj.weight': (hidden, width),
      f'layers.{i}.mlp.up_proj.weight': (hidden, width),
      f'layers.{i}.mlp.down_proj.weight': (width, hidden),
    }
  return random(shapes, seed)


def write_qwen3(folder, tensors=None, **changes):
  """A small Qwen3 with random numbers; returns the folder."""
  config = QWEN3 | changes
  tensors = qwen3_tensors(QWEN3) if tensors is None else tensors
  return write(folder, config, tensors)


def qwen3_states(tensors, config, tokens, mask):
  """The tokens after the embedding and after each block, float64."""
  t = {name: array.astype(np.float64) for name, array in tensors.items()}
  n, heads = tokens.shape[1], config['num_attention_heads']
  shared = heads // config['num_key_value_heads']

  def norm(x, name):
    squares = (x**2).mean(-1, keepdims=True)
    return x / np.sqrt(squares + config['rms_norm_eps']) * t[f'{name}.weight']

  def attention(x, real, block):
    def head(part, h):
      rows = slice(h * config['head_dim'], (h + 1) * config['head_dim'])
      return x @ t[f'{block}.{part}_proj.weight'][rows].T

    seen = np.tril(np.broadcast_to(real, (n, n)))
    mixed = []
    for h in range(heads):
      q = norm(head('q', h), f'{block}.q_norm')
      k = norm(head('k', h // shared), f'{block}.k_norm')
      q, k = (turned(array, config['rope_theta']) for array in (q, k))
      mixed.append(attended(q, k, head('v', h // shared), seen))
    return np.concatenate(mixed, 1) @ t[f'{block}.o_proj.weight'].T

  def states(row, real):
    x = t['embed_tokens.weight'][row]
    yield x
    for i in range(config['num_hidden_layers']):
      y = norm(x, f'layers.{i}.input_layernorm')
      x = x + attention(y, real, f'layers.{i}.self_attn')
      y = norm(x, f'layers.{i}.post_attention_layernorm')
      gate = y @ t[f'layers.{i}.mlp.gate_proj.weight'].T
      y = (
        gate / (1 + np.exp(-gate)) * (y @ t[f'layers.{i}.mlp.up_proj.weight'].T)
      )
      x = x + y @ t[f'layers.{i}.mlp.down_proj.weight'].T
      yield x

  rows = [list(states(*pair)) for pair in zip(tokens, mask)]
  *before, last = (np.stack(state) for state in zip(*rows))
  return [*before, norm(last, 'norm')]
