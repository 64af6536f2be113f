"""Nested losses in all forms against the plain loss at one granularity.

  python benchmarks/nested_loss.py
  LD_PRELOAD=libjemalloc.so.2 MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1 \\
    python benchmarks/nested_loss.py

Value and gradients, float32. Peers: a loop over slices in JAX; the loop in
torch, one matmul per prefix; sentence-transformers' MatryoshkaLoss. Those two
need `pip install -e '.[bench]'` and are left out without it.
"""

import argparse
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parent.parent))

import measure  # noqa: E402

from mrl_jax import costs, nested  # noqa: E402
from mrl_jax.losses import pairs, softmax  # noqa: E402


def halving(width: int, count: int) -> tuple[int, ...]:
  return tuple(width >> i for i in reversed(range(count)))


# name: (kind, width, count of dims, rows, classes, forms with their tiles)
SHAPES = {
  'tied softmax, d2048 C1000 B256': (
    'tied', 2048, 9, 256, 1000,
    {'reference': None, 'dense': None, 'tiled': None},
  ),
  'tied softmax, d768 C21841 B512': (
    'tied', 768, 8, 512, 21841,
    {'dense': None, 'tiled': None, 'tiled, small tiles': (256, 256)},
  ),
  'separate heads, d768 C21841 B512': (
    'separate', 768, 8, 512, 21841,
    {'dense': None, 'tiled': None},
  ),
  'InfoNCE, d512 B2048': (
    'info_nce', 512, 7, 2048, 0,
    {'reference': None, 'dense': None, 'tiled': None,
     'tiled, small tiles': (128, 128)},
  ),
  'sigmoid, d512 B2048': (
    'sigmoid', 512, 7, 2048, 0,
    {'dense': None, 'tiled': None},
  ),
  'tied softmax, d256 C1000000 B128': (
    'tied', 256, 6, 128, 1_000_000, {'tiled': None},
  ),
}  # fmt: skip


def arrays(kind, width, rows, classes) -> list:
  rng = np.random.default_rng(0)
  z = rng.normal(size=(rows, width)).astype(np.float32)
  if kind in ('tied', 'separate'):
    kernel = rng.standard_normal((width, classes), np.float32)
    kernel /= np.sqrt(width)
    labels = rng.integers(0, classes, rows)
    return [z, kernel, np.zeros(classes, np.float32), labels]
  keys = z + rng.normal(size=z.shape).astype(np.float32)
  return [z, keys, np.float32(20), np.float32(-10)]


def plain(kind, z, other, third, fourth):
  """The usual loss at full width, as one writes it with optax."""
  if kind in ('tied', 'separate'):
    return optax.softmax_cross_entropy_with_integer_labels(
      z @ other + third, fourth
    ).mean()
  unit = functools.partial(nested.unit, dim=z.shape[1])
  logits = third * unit(z) @ unit(other).T
  own = jnp.arange(len(z))
  if kind == 'info_nce':
    each = [
      optax.softmax_cross_entropy_with_integer_labels(x, own).mean()
      for x in (logits, logits.T)
    ]
    return sum(each) / 2
  signs = 2 * jnp.eye(len(z)) - 1
  return -jnp.mean(jnp.sum(jax.nn.log_sigmoid(signs * (logits + fourth)), 1))


def loop_of_slices(kind, dims, z, other, third, fourth):
  total = 0
  for g, m in enumerate(dims):
    if kind == 'separate':
      total += plain('tied', z[:, :m], other[g], third[g], fourth)
    elif kind == 'tied':
      total += plain('tied', z[:, :m], other[:m], third, fourth)
    else:
      total += plain(kind, z[:, :m], other[:, :m], third, fourth)
  return total


def ours(kind, dims, form, tile, z, other, third, fourth):
  rows = jnp.full(len(z), 1 / len(z))
  options = dict(form=form, tile=tile)
  granularities = nested.Granularities(dims, jnp.ones(len(dims)))
  if kind in ('tied', 'separate'):
    if kind == 'tied':
      classifiers = [nested.Classifier(dims, other, third[None])]
    else:
      classifiers = [
        nested.Classifier((m,), kernel, bias[None])
        for m, kernel, bias in zip(dims, other, third)
      ]
    labels, shares = fourth[:, None], jnp.ones((len(z), 1))
    loss = softmax.Softmax(**options)
    targets = softmax.Targets(classifiers, labels, shares)
  elif kind == 'sigmoid':
    loss = pairs.Sigmoid(**options)
    targets = pairs.Targets(other, third[None], fourth[None])
  else:
    loss = pairs.InfoNCE(**options)
    targets = pairs.Targets(other, third[None])
  return loss(z, targets, granularities, rows).total


def with_gradients(kind, loss):
  wanted = (0, 1, 2, 3) if kind == 'sigmoid' else (0, 1, 2)
  return jax.value_and_grad(loss, wanted)


def compiled(loss, given) -> tuple:
  """(run, peak bytes, matmul operations)."""
  traced = jax.jit(loss).trace(*given)
  program = traced.lower().compile()
  operations = costs.matmul_flops(traced.jaxpr.jaxpr)
  return (
    functools.partial(program, *given),
    measure.peak_bytes(program),
    operations,
  )


def measured(name: str, rounds: int) -> dict:
  kind, width, count, b, classes, forms = SHAPES[name]
  dims = halving(width, count)
  single = arrays(kind, width, b, classes)
  given = single
  if kind == 'separate':
    z, kernel, bias, labels = single
    kernels = [np.ascontiguousarray(kernel[:m]) for m in dims]
    given = [z, kernels, [bias] * count, labels]
  single, given = jax.device_put((single, given))
  losses = {}
  if classes < 1_000_000:
    losses['loop of slices'] = functools.partial(loop_of_slices, kind, dims)
  for label, tile in forms.items():
    form = label.partition(',')[0]
    losses[label] = functools.partial(ours, kind, dims, form, tile)
  made = {
    'plain': compiled(
      with_gradients(kind, functools.partial(plain, kind)), single
    )
  }
  for label, loss in losses.items():
    made[label] = compiled(with_gradients(kind, loss), given)
  check(made)
  variants = {label: run for label, (run, _, _) in made.items()}
  variants |= (
    torch_peers(kind, dims, single, given) if classes < 1_000_000 else {}
  )
  found = measure.race(variants, rounds)
  _, base_bytes, base_operations = made['plain']
  for label, (_, size, operations) in made.items():
    found[label]['memory_bytes'] = size
    found[label]['memory'] = size / base_bytes
    found[label]['operations'] = operations / base_operations
  return found


def check(made: dict) -> None:
  """All forms give one number; else a race among them means nothing."""
  totals = {label: float(run()[0]) for label, (run, _, _) in made.items()}
  del totals['plain']
  low, high = min(totals.values()), max(totals.values())
  assert high - low < 1e-4 * high, totals


def torch_peers(kind, dims, single, given) -> dict:
  """The loss as it is usually written in torch, one matmul per prefix."""
  try:
    import torch
  except ImportError:
    print('torch is not installed: its rows are left out', file=sys.stderr)
    return {}
  F = torch.nn.functional

  def tensor(x):
    x = torch.from_numpy(np.array(x))
    return x.requires_grad_() if x.is_floating_point() else x.long()

  leaves = jax.tree.map(tensor, given)
  wanted = [x for x in jax.tree.leaves(leaves) if x.requires_grad]

  def loss(z, other, third, fourth):
    total = 0
    for g, m in enumerate(dims):
      if kind == 'tied':
        total += F.cross_entropy(z[:, :m] @ other[:m] + third, fourth)
      elif kind == 'separate':
        total += F.cross_entropy(z[:, :m] @ other[g] + third[g], fourth)
      else:
        q, k = F.normalize(z[:, :m], dim=1), F.normalize(other[:, :m], dim=1)
        logits, own = third * q @ k.T, torch.arange(len(q))
        if kind == 'sigmoid':
          signs = 2 * torch.eye(len(q)) - 1
          total -= F.logsigmoid(signs * (logits + fourth)).sum(1).mean()
        else:
          each = [F.cross_entropy(x, own) for x in (logits, logits.T)]
          total += sum(each) / 2
    return total

  def run():
    torch.autograd.grad(loss(*leaves), wanted, allow_unused=True)

  peers = {'torch, a matmul per prefix': run}
  if kind == 'info_nce':
    peers |= sentence_transformers_peer(dims, leaves)
  return peers


def sentence_transformers_peer(dims, leaves) -> dict:
  try:
    import sentence_transformers
    import torch
    from sentence_transformers.sentence_transformer import losses
  except ImportError:
    print('sentence-transformers is not installed', file=sys.stderr)
    return {}

  class Given(torch.nn.Module):
    def forward(self, features, **_):
      return features | {'sentence_embedding': features['given']}

  model = sentence_transformers.SentenceTransformer(
    modules=[Given()], device='cpu'
  )
  inner = losses.MultipleNegativesRankingLoss(
    model,
    scale=20.0,
    directions=('query_to_doc', 'doc_to_query'),
    partition_mode='per_direction',
  )
  loss = losses.MatryoshkaLoss(model, inner, list(reversed(dims)))
  queries, keys = leaves[:2]

  def run():
    total = loss([{'given': queries}, {'given': keys}], None)
    torch.autograd.grad(total, (queries, keys))

  return {'sentence-transformers': run}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--rounds', type=int, default=20)
  parser.add_argument('--only', default='', help='shapes with this in the name')
  parser.add_argument('--json', help='write all numbers here')
  options = parser.parse_args()
  results = {}
  for name in SHAPES:
    if options.only not in name:
      continue
    # A round at a million classes takes seconds.
    rounds = options.rounds if SHAPES[name][4] < 1_000_000 else 8
    found = results[name] = measured(name, rounds)
    rows = []
    for label, one in found.items():
      middle, low, high = one['ratio']
      memory = operations = ''
      if 'memory' in one:
        memory = f'{one["memory"]:.2f} ({one["memory_bytes"] / 2**20:.0f} MiB)'
        operations = f'{one["operations"]:.2f}'
      rows.append(
        [
          label,
          f'{middle:.2f} ({low:.2f} to {high:.2f})',
          f'{one["seconds"] * 1e3:.1f}',
          memory,
          operations,
        ]
      )
    columns = 'form, time / plain, ms, memory / plain, matmuls / plain'
    count = len(halving(*SHAPES[name][1:3]))
    first = next(iter(found.values()))
    print(
      f'\n{name}, {count} dims; {first["rounds"]} of {first["tries"]} rounds\n'
    )
    print(measure.table(columns.split(', '), rows), flush=True)
  conditions = measure.conditions()
  print('\n' + ', '.join(f'{k} {v}' for k, v in conditions.items()))
  measure.write(options.json, {'conditions': conditions, 'shapes': results})


if __name__ == '__main__':
  main()
