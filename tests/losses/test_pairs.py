"""Every form of the contrastive losses is the definition's number."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mrl_jax import costs, nested, sharding
from mrl_jax.encoders import vit
from mrl_jax.losses import contrastive, micro_batch

B, D = 23, 32
DIMS = (4, 8, 16, 32)
WEIGHTS = (2.0, 1.0, 0.5, 1.0)
TILES = [(7, 11), (512, 512)]
KINDS = ['symmetric', 'one way', 'sigmoid']


def problem(extra=16, repeats=True, per_prefix=True, b=B, seed=0):
  """Queries near their keys, hard negatives, some keys that show the same."""
  rng = np.random.default_rng(seed)
  queries, keys = rng.normal(size=(b, D)), rng.normal(size=(b + extra, D))
  keys[:b] += queries
  count = len(DIMS) if per_prefix else 1
  scale = np.exp(1 + rng.normal(size=count))
  bias = rng.normal(size=count) - 2
  ids = rng.integers(0, b, b + extra) if repeats else None
  return queries, keys, scale, bias, ids, rng.uniform(size=b)


def run(kind, args, form, mesh=None, tile=None):
  queries, keys, scale, bias, ids, rows = args
  b = len(queries)
  common = dict(form=form, mesh=mesh, tile=tile)
  if ids is not None:
    common |= dict(ids=ids[:b], negative_ids=ids[b:] if len(ids) > b else None)

  def total(queries, keys, scale, bias):
    if len(keys) > b:
      common['negatives'] = keys[b:]
      keys = keys[:b]
    if kind == 'sigmoid':
      found = contrastive.sigmoid(
        queries, keys, WEIGHTS, rows, DIMS, scale=scale, bias=bias, **common
      )
    else:
      found = contrastive.info_nce(
        queries,
        keys,
        WEIGHTS,
        rows,
        DIMS,
        scale=scale,
        symmetric=kind == 'symmetric',
        **common,
      )
    return found.total, found

  step = jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True)
  return jax.jit(step)(queries, keys, scale, bias)


def naive(kind, args):
  """(losses [g b], hits), by loops in numpy."""
  queries, keys, scale, bias, ids, _ = args
  b, r = len(queries), len(keys)
  losses, hits = np.zeros((2, len(DIMS), b))
  for g, m in enumerate(DIMS):
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    logits = unit(queries[:, :m]) @ unit(keys[:, :m]).T
    logits = logits * scale[min(g, len(scale) - 1)]
    if kind == 'sigmoid':
      logits = logits + bias[min(g, len(bias) - 1)]
    used = np.ones((b, r), bool)
    if ids is not None:
      used = (ids[:b, None] != ids[None]) | np.eye(b, r, dtype=bool)
    for i in range(b):
      others = [logits[i, j] for j in range(r) if used[i, j] and j != i]
      hits[g, i] = logits[i, i] >= max(others, default=-np.inf)
      if kind == 'sigmoid':
        losses[g, i] = np.log1p(np.exp(-logits[i, i]))
        losses[g, i] += np.log1p(np.exp(others)).sum()
        continue
      row = np.log(np.exp(logits[i][used[i]]).sum()) - logits[i, i]
      column = np.log(np.exp(logits[:, i][used[:, i]]).sum()) - logits[i, i]
      losses[g, i] = (row + column) / 2 if kind == 'symmetric' else row
  return losses, hits.astype(bool)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('plain', [True, False])
def test_forms_equal_the_definition_in_float64(kind, plain):
  with jax.enable_x64(True):
    extra = 0 if plain else 16
    args = problem(extra, repeats=not plain, per_prefix=not plain)
    expected = run(kind, args, 'vmap')
    (total, found), _ = expected
    losses, hits = naive(kind, args)
    # The definition adds 1e-12 to squared lengths.
    np.testing.assert_allclose(found.losses, losses, rtol=1e-10)
    np.testing.assert_array_equal(found.hits, hits)
    weighted = np.asarray(WEIGHTS) @ losses @ args[-1]
    np.testing.assert_allclose(total, weighted, rtol=1e-10)
    tried = [('blocks', None), *(('columns', tile) for tile in TILES)]
    if kind != 'symmetric':
      tried += [('rows', tile) for tile in TILES]
    for form, tile in tried:
      chex.assert_trees_all_close(
        run(kind, args, form, tile=tile), expected, rtol=1e-11, atol=1e-11
      )


@pytest.mark.parametrize('kind', KINDS)
def test_eight_devices_equal_one(kind):
  with jax.enable_x64(True):
    args = problem(b=24)
    expected = run(kind, args, 'vmap')
    for sizes in ((8, 1, 1), (2, 2, 2)):
      mesh = sharding.make_mesh(*sizes)
      forms = ['columns'] if kind == 'symmetric' else ['rows', 'columns']
      for form in forms:
        chex.assert_trees_all_close(
          run(kind, args, form, mesh, (2, 7)), expected, rtol=1e-11, atol=1e-11
        )


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('form', ['vmap', 'blocks', 'columns'])
def test_zero_vectors_one_row_and_scale_1000_are_finite(kind, form):
  queries, keys, _, bias, _, rows = problem(0, False, per_prefix=False)
  cases = {
    'zeros': (queries * 0, keys, np.ones(1), bias, None, rows),
    'one row': (queries[:1], keys[:1], np.ones(1), bias, None, rows[:1]),
    'scale 1000': (queries, -queries, np.full(1, 1000.0), bias, None, rows),
    'all the same': (queries, keys, np.ones(1), bias, np.zeros(B, int), rows),
  }
  for args in cases.values():
    (total, found), gradients = run(kind, args, form, tile=(7, 11))
    assert np.isfinite(total) and np.isfinite(found.losses).all()
    for gradient in gradients:
      assert np.isfinite(gradient).all()
  (_, found), _ = run(kind, cases['one row'], form)
  if kind != 'sigmoid':
    np.testing.assert_allclose(found.losses, 0, atol=1e-6)
  # Cosines of -1 against ones near 0: the loss is about 1000, not infinite.
  (_, found), _ = run(kind, cases['scale 1000'], form)
  assert float(found.losses[-1].min()) > 900


@pytest.mark.parametrize('kind', KINDS)
def test_cotangents_scales_and_empty_rows_of_any_kind(kind):
  """Minus the loss, a scale of 0, a scale of 100 with rows that fill up."""
  with jax.enable_x64(True):
    queries, keys, scale, bias, _, rows = problem(0, False)
    scale = scale * np.asarray([1, 0, 1, -1])
    opposite = queries, -queries, np.full(4, 100.0), bias, None, rows
    for args in ((queries, keys, scale, bias, None, rows), opposite):

      def minus(form, tile, args=args):
        def total(queries, keys, scale, bias):
          common = dict(scale=scale, form=form, tile=tile)
          given = queries, keys, WEIGHTS, rows, DIMS
          if kind == 'sigmoid':
            return -contrastive.sigmoid(*given, bias=bias, **common).total
          return -contrastive.info_nce(
            *given, symmetric=kind == 'symmetric', **common
          ).total

        return jax.value_and_grad(total, (0, 1, 2, 3))(*args[:4])

      expected = minus('blocks', None)
      forms = ['columns'] if kind == 'symmetric' else ['rows', 'columns']
      for form in forms:
        chex.assert_trees_all_close(
          minus(form, (5, 7)), expected, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize('kind', KINDS)
def test_bfloat16_is_summed_in_float32(kind):
  queries, keys, scale, bias, ids, rows = problem()
  short = jnp.asarray(queries, jnp.bfloat16), jnp.asarray(keys, jnp.bfloat16)
  (_, found), gradients = run(kind, (*short, scale, bias, ids, rows), 'columns')
  wide = tuple(x.astype(jnp.float32) for x in short)
  (_, expected), _ = run(kind, (*wide, scale, bias, ids, rows), 'vmap')
  np.testing.assert_allclose(
    found.losses, expected.losses, rtol=1e-4, atol=1e-4
  )
  assert gradients[0].dtype == jnp.bfloat16
  assert found.losses.dtype == jnp.float32


@pytest.mark.parametrize('kind', KINDS)
def test_devices_exchange_one_embedding_matrix_and_numbers_per_row(kind):
  b, d = 64, 512
  mesh = sharding.make_mesh(8, 1, 1)
  rng = np.random.default_rng(0)
  where = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(mesh.axis_names)
  )
  queries, keys = (
    jax.device_put(rng.normal(size=(b, d)).astype(np.float32), where)
    for _ in range(2)
  )

  def sent(dims):
    def total(queries, keys, scale, bias):
      weights, rows = (1.0,) * len(dims), jnp.full(b, 1 / b)
      common = dict(scale=scale, form='columns', mesh=mesh)
      if kind == 'sigmoid':
        return contrastive.sigmoid(
          queries, keys, weights, rows, dims, bias=bias, **common
        ).total
      return contrastive.info_nce(
        queries, keys, weights, rows, dims, symmetric=kind == 'symmetric',
        **common,
      ).total  # fmt: skip

    step = jax.jit(
      jax.grad(total, (0, 1, 2, 3)), out_shardings=(where, where, None, None)
    )
    compiled = step.lower(queries, keys, jnp.ones(1), jnp.ones(1)).compile()
    found = costs.collectives(compiled.as_text())
    return sum(one['bytes'] for one in found.values())

  dims = nested.halving(d)
  # Gathered: the keys. Reduced and scattered: their gradient, counted by its
  # result, an eighth. G numbers per row: factors, maxima, sums, in and out.
  whole = 4 * b * d
  assert sent(dims) <= whole + whole / 8 + 4 * 8 * len(dims) * b
  assert sent(dims) <= 1.06 * sent((d,))


def test_a_form_that_cannot_serve_names_one_that_can():
  args = problem()
  with pytest.raises(ValueError, match="use form='columns'"):
    run('symmetric', args, 'rows')
  with pytest.raises(ValueError, match='must be one of'):
    run('sigmoid', args, 'fast')
  mesh = sharding.make_mesh(8, 1, 1)
  with pytest.raises(ValueError, match='23 queries do not divide'):
    run('one way', problem(), 'columns', mesh)
  with pytest.raises(ValueError, match='5 negatives do not divide'):
    run('one way', problem(extra=5, b=24), 'columns', mesh)
  with pytest.raises(ValueError, match='give ids of keys and of negatives'):
    run('one way', (*args[:4], args[4][:B], args[5]), 'vmap')
  with pytest.raises(ValueError, match='3 keys for 23 queries'):
    run('one way', (args[0], args[1][:3], *args[2:]), 'vmap')


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
  """GradCache: a real encoder, 64 rows, 8 at a time, and less memory."""
  encoder = vit.ViT(
    image_size=8, patch_size=2, channels=1, width=32, depth=4, heads=2,
    rngs=nnx.Rngs(0),
  )  # fmt: skip
  graph, params = nnx.split(encoder)
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.normal(size=(64, 8, 8, 1)), jnp.float32)
  others = images + 0.1 * jnp.asarray(rng.normal(size=images.shape))

  def encode(params, images):
    return nnx.merge(graph, params)(images)

  def loss(params, size):
    def embed(x):
      if not size:
        return encode(params, x)
      return micro_batch.embed(lambda part, _: encode(params, part), x, size)

    return contrastive.info_nce(
      embed(images),
      embed(others),
      (1.0,) * 3,
      jnp.full(64, 1 / 64),
      (8, 16, 32),
      scale=jnp.asarray([10.0]),
      form='columns',
      tile=(16, 16),
    ).total

  def compiled(size):
    step = jax.jit(jax.value_and_grad(lambda p: loss(p, size)))
    return step.lower(params).compile()

  whole, parts = compiled(0), compiled(8)
  # float32 sums over the batch in another order.
  chex.assert_trees_all_close(
    parts(params), whole(params), rtol=1e-4, atol=1e-6
  )
  memory = [c.memory_analysis().temp_size_in_bytes for c in (whole, parts)]
  assert memory[1] < memory[0] / 3
  with pytest.raises(ValueError, match='parts of 7 rows'):
    loss(params, 7)


def test_parts_keep_the_order_of_rows():
  rows = jnp.arange(12.0)[:, None]
  made = micro_batch.embed(lambda part, i: part * 2, rows, 3)
  np.testing.assert_array_equal(made, rows * 2)
