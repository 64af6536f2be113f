"""Every form of the nested loss is the same number, and so its gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from mrl_jax import heads, nested
from mrl_jax.losses.softmax import reference

DIMS = (4, 8, 16, 24)


def problem(seed=0, b=6, d=24, v=5):
  keys = jax.random.split(jax.random.key(seed), 4)
  z = jax.random.normal(keys[0], (b, d), jnp.float64)
  w = jax.random.normal(keys[1], (d, v), jnp.float64)
  bias = jax.random.normal(keys[2], (v,), jnp.float64)
  targets = jax.nn.softmax(jax.random.normal(keys[3], (b, v), jnp.float64))
  return z, w, bias, targets


def loop_of_slices(z, w, bias, targets, weights):
  """The paper's eq. 1 as one would first write it."""
  total = 0
  for c, m in zip(weights, DIMS):
    logits = z[:, :m] @ w[:m] + bias
    log_p = logits - jnp.log(jnp.exp(logits).sum(-1, keepdims=True))
    total = total - c * (targets * log_p).sum(-1)
  return total


def vmapped(z, w, bias, targets, weights):
  def plain(z):
    return reference.cross_entropy(z @ w + bias, targets)

  return nested.matryoshka(plain, DIMS, weights)(z)


def prefix_sums(z, w, bias, targets, weights):
  logits = nested.prefix_products(z, w, DIMS) + bias
  losses = reference.cross_entropy(logits, targets)
  return jnp.tensordot(jnp.asarray(weights, losses.dtype), losses, axes=1)


@pytest.mark.parametrize('form', [vmapped, prefix_sums])
@pytest.mark.parametrize(
  'weights', [(1.0, 1.0, 1.0, 1.0), (2.0, 1.5, 1.0, 0.25)]
)
def test_forms_agree_in_float64_with_gradients(form, weights):
  with jax.enable_x64(True):
    args = problem()

    def value_and_gradients(f):
      return jax.value_and_grad(
        lambda *a: (f(*a, weights) * jnp.arange(1.0, 7.0)).sum(), (0, 1, 2, 3)
      )(*args)

    expected = value_and_gradients(loop_of_slices)
    chex.assert_trees_all_close(
      value_and_gradients(form), expected, rtol=1e-12, atol=1e-12
    )
    assert expected[0].dtype == jnp.float64


@pytest.mark.parametrize('m', DIMS[:-1])
def test_loss_of_a_prefix_has_no_gradient_beyond_it(m):
  with jax.enable_x64(True):
    z, w, bias, targets = problem()
    weights = tuple(float(d == m) for d in DIMS)
    for form in (vmapped, prefix_sums):
      g = jax.grad(lambda z, f=form: f(z, w, bias, targets, weights).sum())(z)
      assert (g[:, m:] == 0).all()
      assert (g[:, :m] != 0).all()


def test_one_dim_is_the_plain_loss():
  with jax.enable_x64(True):
    z, w, bias, targets = problem()
    plain = reference.cross_entropy(z @ w + bias, targets)
    wrapped = nested.matryoshka(
      lambda z: reference.cross_entropy(z @ w + bias, targets), (24,)
    )
    chex.assert_trees_all_close(wrapped(z), plain, rtol=1e-12)


def test_what_belongs_to_each_prefix_goes_in_and_comes_out():
  z = jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

  def plain(z, factor, offset):
    losses = factor * z.sum(-1) + offset
    return losses, (losses > 20, offset)

  @jax.jit
  def run(z, weights, offsets):
    nest = nested.matryoshka(plain, (1, 3), weights, has_aux=True)
    return nest(z, 2.0, each=(offsets,))

  sums, (large, offsets) = run(z, jnp.asarray([1.0, 0.5]), jnp.arange(2.0))
  # Prefix 1: 2 * (1, 4) + 0; prefix 3: 2 * (6, 15) + 1.
  np.testing.assert_allclose(sums, [2 + 13 / 2, 8 + 31 / 2])
  np.testing.assert_array_equal(large, [[False, False], [False, True]])
  np.testing.assert_array_equal(offsets, [0, 1])


def test_matryoshka_of_a_contrastive_loss_equals_slicing():
  """Cut, then normalise: the vmapped masks do it for similarities too."""
  with jax.enable_x64(True):
    keys = jax.random.split(jax.random.key(3), 2)
    q, k = (jax.random.normal(key, (5, 24), jnp.float64) for key in keys)

    def info_nce(both):
      left, right = jnp.split(both, 2)
      left = nested.unit(left, 24)
      right = nested.unit(right, 24)
      return -jnp.diag(jax.nn.log_softmax(left @ right.T / 0.1))

    together = nested.matryoshka(info_nce, DIMS)(jnp.concatenate([q, k]))
    apart = 0
    for m in DIMS:
      left = q[:, :m] / jnp.linalg.norm(q[:, :m], axis=1, keepdims=True)
      right = k[:, :m] / jnp.linalg.norm(k[:, :m], axis=1, keepdims=True)
      apart -= jnp.diag(jax.nn.log_softmax(left @ right.T / 0.1))
    # rtol: epsilon 1e-12 inside the root.
    chex.assert_trees_all_close(together, apart, rtol=1e-10)


@settings(deadline=None)
@given(st.sets(st.integers(1, 64), min_size=1), st.integers(0, 99))
def test_blocks_partition_and_norms_are_those_of_slices(dims, seed):
  dims = tuple(sorted(dims))
  parts = nested.blocks(dims)
  assert [i for s in parts for i in range(64)[s]] == list(range(dims[-1]))
  z = np.random.default_rng(seed).normal(size=(3, 64)).astype(np.float32)
  norms = nested.prefix_norms(jnp.asarray(z), dims)
  for g, m in enumerate(dims):
    np.testing.assert_allclose(
      norms[g], np.linalg.norm(z[:, :m], axis=1), rtol=1e-5
    )


def test_zero_prefixes_stay_finite():
  z = jnp.zeros((2, 8), jnp.bfloat16)
  unit = nested.unit(z, 4)
  assert unit.dtype == jnp.float32 and (unit == 0).all()
  g = jax.grad(lambda z: nested.unit(z, 4).sum())(jnp.zeros((2, 8)))
  assert jnp.isfinite(g).all()
  chex.assert_trees_all_close(
    jnp.linalg.norm(nested.unit(jnp.ones((2, 8)), 4), axis=1),
    jnp.ones(2),
    rtol=1e-6,
  )


@pytest.mark.parametrize(
  ('dims', 'said'),
  [
    ((64, 32), 'must increase and end at the width 64'),
    ((8, 8, 64), 'repeats'),
    ((8, 128), 'must increase and end at the width 64'),
    ((8, 32), 'end at the width 64'),
    ((), 'empty'),
    ((0, 64), 'above 0'),
    ((8.5, 64), 'whole numbers'),
  ],
)
def test_wrong_dims_are_named(dims, said):
  with pytest.raises(ValueError, match=said):
    nested.check_dims(dims, 64)


def test_halving_and_presets():
  assert nested.halving(384) == (12, 24, 48, 96, 192, 384)
  assert nested.halving(2048)[0] == 8
  assert nested.dim_weights('uniform', DIMS) == (1, 1, 1, 1)
  assert nested.dim_weights('8boost', DIMS) == (2, 1, 1, 1)
  assert nested.dim_weights('8+16boost', DIMS) == (2, 1.5, 1, 1)
  assert nested.dim_weights('8+16boost', (8,)) == (2,)
  for wrong in ('boost', (1, 2), (1, 1, 1, -1), (0, 0, 0, 0)):
    with pytest.raises(ValueError, match='weights='):
      nested.dim_weights(wrong, DIMS)


def test_random_subset_keeps_the_widest_and_the_mean():
  weights = jnp.asarray((2.0, 1.5, 1.0, 0.5))
  draw = jax.jit(jax.vmap(lambda key: nested.random_subset(key, weights, 3)))(
    jax.random.split(jax.random.key(0), 4000)
  )
  assert (jnp.count_nonzero(draw, axis=1) == 3).all()
  assert (draw[:, -1] == weights[-1]).all()
  # 4000 draws of a scaled Bernoulli(2/3): standard error below 0.02.
  chex.assert_trees_all_close(draw.mean(0), weights, atol=0.08)
  assert nested.random_subset(jax.random.key(0), weights, 0) is weights
  with pytest.raises(ValueError, match='dims_per_step=1'):
    nested.random_subset(jax.random.key(0), weights, 1)


def logits_of(head, z):
  """[g b v] logits of what the head gives to the loss."""
  made = []
  for dims, kernel, bias, scale in head.kernels():
    for g, m in enumerate(dims):
      logits = z[:, :m] @ kernel[:m] * (1 if scale is None else scale[g])
      made.append(logits + bias[min(g, len(bias) - 1)])
  return jnp.stack(made)


def test_mrl_head_is_a_linear_layer_per_prefix():
  head = heads.MRL(DIMS, 5, rngs=nnx.Rngs(0))
  z = jax.random.normal(jax.random.key(1), (6, 24))
  logits = logits_of(head, z)
  for g, m in enumerate(DIMS):
    layer = head.classifiers[g]
    expected = np.asarray(z[:, :m]) @ layer.kernel[...] + layer.bias[...]
    chex.assert_trees_all_close(logits[g], expected, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(head.at(z, m)[0], logits[g], rtol=1e-5)
    assert head.at(z, m)[1] == m


def test_untrained_dims_use_the_widest_classifier_that_fits():
  head = heads.MRL(DIMS, 5, rngs=nnx.Rngs(0))
  z = jax.random.normal(jax.random.key(1), (6, 24))
  for dim, width in ((4, 4), (5, 4), (10, 8), (23, 16), (24, 24)):
    logits, used = head.at(z, dim)
    assert used == width
    expected = logits_of(head, z)[DIMS.index(width)]
    chex.assert_trees_all_close(logits, expected, rtol=1e-5, atol=1e-6)
    # Nothing beyond z[:dim] is read.
    beyond = jnp.where(jnp.arange(24) < dim, z, 99.0)
    chex.assert_trees_all_equal(head.at(beyond, dim)[0], logits)
  cut = jnp.where(jnp.arange(24) < 3, z, 0)
  chex.assert_trees_all_close(
    head.at(z, 3)[0], logits_of(head, cut)[0], rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('per_prefix', [False, True])
def test_mrl_e_shares_one_kernel(per_prefix):
  head = heads.MRLE(DIMS, 5, per_prefix=per_prefix, rngs=nnx.Rngs(0))
  head.bias[...] = jax.random.normal(jax.random.key(5), head.bias.shape)
  if per_prefix:
    head.scale[...] = jnp.arange(1.0, 5.0)[:, None]
  z = jax.random.normal(jax.random.key(1), (6, 24))
  logits = logits_of(head, z)
  for g, m in enumerate(DIMS):
    scale = g + 1 if per_prefix else 1
    bias = head.bias[g if per_prefix else 0]
    expected = scale * (z[:, :m] @ head.kernel[:m]) + bias
    chex.assert_trees_all_close(logits[g], expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(
      head.at(z, m)[0], logits[g], rtol=1e-4, atol=1e-5
    )
  parameters = sum(x.size for x in jax.tree.leaves(nnx.state(head)))
  assert parameters == 24 * 5 + (4 * (5 + 1) if per_prefix else 5)


def test_mrl_e_at_full_width_is_the_plain_head():
  head = heads.MRLE((24,), 5, rngs=nnx.Rngs(0))
  z = jax.random.normal(jax.random.key(1), (6, 24))
  plain = z @ head.kernel[...] + head.bias[0]
  chex.assert_trees_all_close(
    logits_of(head, z)[0], plain, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize('m', DIMS)
def test_ff_is_a_slice_of_mrl(m):
  mrl = heads.MRL(DIMS, 5, rngs=nnx.Rngs(0))
  ff = heads.FF(DIMS, 5, dim=m, rngs=nnx.Rngs(1))
  index = DIMS.index(m)
  ff.classifier.kernel[...] = mrl.classifiers[index].kernel[...]
  z = jax.random.normal(jax.random.key(1), (6, 24))
  logits = logits_of(ff, z)
  chex.assert_shape(logits, (1, 6, 5))
  chex.assert_trees_all_close(
    logits[0], logits_of(mrl, z)[index], rtol=1e-5, atol=1e-5
  )
  # Beyond its own width it reads nothing more.
  chex.assert_trees_all_close(ff.at(z, 24)[0], logits[0], rtol=1e-6)


def test_ff_refuses_a_dim_beyond_the_width():
  with pytest.raises(ValueError, match='head.dim=99'):
    heads.FF(DIMS, 5, dim=99, rngs=nnx.Rngs(0))


def test_means_are_those_of_the_rows_that_count():
  values = jnp.asarray([[1.0, 2, 9], [4, 6, 9]])
  loss = nested.Loss(jnp.zeros(()), values, values > 5)
  losses, hits = loss.means(jnp.asarray([1.0, 1, 0]))
  np.testing.assert_allclose(losses, [1.5, 5])
  np.testing.assert_allclose(hits, [0, 0.5])
  assert not loss.means(jnp.zeros(3))[0].any()


@pytest.mark.parametrize('kind', [np.float32, np.float64, np.float16])
def test_unit_is_one_rule_for_numpy_and_jax(kind):
  """Zeros stay zeros, prefixes of 1e-8 of their row are exact."""
  x = np.array([[3, 4, 0, 9], [0, 0, 0, 1], [3e-8, 4e-8, 0, 1]], kind)
  expected = np.array([[0.6, 0.8], [0, 0], [0.6, 0.8]])
  rows = slice(None) if kind != np.float16 else slice(2)  # 4e-8 is 0 there
  for made in (nested.unit(x, 2), nested.unit(jnp.asarray(x), 2)):
    np.testing.assert_allclose(made[rows], expected[rows], rtol=1e-6)
  assert type(nested.unit(x)) is np.ndarray
  assert isinstance(nested.unit(jnp.asarray(x)), jax.Array)


@pytest.mark.parametrize(
  'dims', [(8, 16, 128), (16, 16), (0, 16), (-4, 16), (8.5, 16), (16, 8), ()]
)
def test_matryoshka_refuses_dims_that_are_no_prefixes(dims):
  with pytest.raises(ValueError, match='dims='):
    nested.matryoshka(lambda z: z.sum(-1), dims)(jnp.ones((1, 16)))
