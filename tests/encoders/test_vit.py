"""The ViT: shapes, invariances, and parity with a plain numpy forward pass."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mrl_jax.encoders import vit


def make(**options):
  sizes = dict(size='tiny', image_size=8, patch_size=2, depth=2, channels=3)
  options = sizes | options
  return vit.ViT(**options, rngs=nnx.Rngs(0))


IMAGES = jax.random.normal(jax.random.key(7), (3, 8, 8, 3))


def test_a_convolutional_stem_needs_room_for_its_channels():
  with pytest.raises(ValueError, match='width=4: .* needs at least 8'):
    vit.ViT(
      'tiny', 16, 4, heads=4, stem='conv', image_size=32, channels=1,
      rngs=nnx.Rngs(0),
    )  # fmt: skip


@pytest.mark.parametrize('pool', vit.POOLS)
@pytest.mark.parametrize('position', vit.POSITIONS)
def test_embeddings_per_layer(pool, position):
  encoder = make(pool=pool, position=position)
  z = encoder(IMAGES)
  layers = encoder(IMAGES, layers=True)
  chex.assert_shape(z, (3, 64))
  chex.assert_shape(layers, (2, 3, 64))
  chex.assert_trees_all_close(layers[-1], z, rtol=1e-5, atol=1e-6)
  assert not np.allclose(layers[0], z, atol=1e-2)


def norm(x, p):
  mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
  return (x - mean) / np.sqrt(var + 1e-6) * p['scale'] + p['bias']


def gelu(x):
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def test_parity_with_a_naive_forward_pass():
  encoder = make(depth=1, channels=3)
  p = jax.tree.map(
    lambda x: np.asarray(x, np.float64),
    nnx.to_pure_dict(nnx.state(encoder, nnx.Param)),
  )
  images = np.asarray(IMAGES, np.float64)
  tokens = np.stack(
    [
      images[:, y : y + 2, x : x + 2].reshape(3, -1)
      for y in range(0, 8, 2)
      for x in range(0, 8, 2)
    ],
    axis=1,
  )
  x = tokens @ p['patches']['kernel'] + p['patches']['bias']
  x = x + vit.sincos_positions(4, 4, 64)
  block = p['layers'][0]
  y = norm(x, block['norm1'])
  a = block['attention']
  q, k, v = (
    np.einsum('bnd,dhe->bhne', y, a[n]['kernel']) + a[n]['bias'][:, None]
    for n in ('query', 'key', 'value')
  )
  s = np.einsum('bhqe,bhke->bhqk', q, k) / math.sqrt(q.shape[-1])
  s = np.exp(s - s.max(-1, keepdims=True))
  s = s / s.sum(-1, keepdims=True)
  mixed = np.einsum('bhqk,bhke->bqhe', s, v)
  x = x + np.einsum('bqhe,hed->bqd', mixed, a['out']['kernel'])
  x = x + a['out']['bias']
  y = norm(x, block['norm2'])
  m = block['mlp']
  hidden = gelu(y @ m['up']['kernel'] + m['up']['bias'])
  x = x + hidden @ m['down']['kernel'] + m['down']['bias']
  expected = norm(x, p['norm']).mean(1)
  np.testing.assert_allclose(encoder(IMAGES), expected, atol=1e-5)


def test_without_positions_patch_order_does_not_matter_with_them_it_does():
  encoder = make(position='learned')
  flipped = IMAGES[:, :, [6, 7, 4, 5, 2, 3, 0, 1]]  # patches mirrored
  assert not np.allclose(encoder(IMAGES), encoder(flipped), atol=1e-4)
  encoder.positions[...] = jnp.zeros_like(encoder.positions[...])
  np.testing.assert_allclose(encoder(IMAGES), encoder(flipped), atol=1e-5)


def test_non_square_images_and_patches():
  encoder = make(image_size=(8, 12), patch_size=(4, 2))
  chex.assert_shape(encoder(jnp.ones((1, 8, 12, 3))), (1, 64))
  with pytest.raises(ValueError, match=r'images are \(12, 8, 3\)'):
    encoder(jnp.ones((1, 12, 8, 3)))


@pytest.mark.slow
def test_remat_changes_memory_not_gradients():
  def gradient(remat):
    encoder = make(remat=remat, dropout=0.1, drop_path=0.2)
    graph, params, rest = nnx.split(encoder, nnx.Param, ...)

    def loss(params):
      z = nnx.merge(graph, params, rest)(
        IMAGES, train=True, key=jax.random.key(0)
      )
      return (z**2).mean()

    return jax.jit(jax.grad(loss)), params

  plain, params = gradient(False)
  remat, _ = gradient(True)
  chex.assert_trees_all_close(plain(params), remat(params), atol=1e-6)
  assert 'remat' in str(jax.make_jaxpr(remat)(params)) or 'checkpoint' in str(
    jax.make_jaxpr(remat)(params)
  )


def test_dropout_only_while_training_and_by_key():
  encoder = make(dropout=0.5, drop_path=0.5)
  a, b = (encoder(IMAGES, train=True, key=jax.random.key(i)) for i in (0, 1))
  assert not np.allclose(a, b, atol=1e-3)
  again = encoder(IMAGES, train=True, key=jax.random.key(0))
  chex.assert_trees_all_close(a, again)
  chex.assert_trees_all_close(encoder(IMAGES), encoder(IMAGES, train=False))


def test_stochastic_depth_keeps_whole_examples_and_the_mean():
  x = jnp.ones((4000, 2, 3))
  y = vit.keep_examples(x, 0.25, jax.random.key(0))
  rows = y.reshape(4000, -1)
  assert (rows == rows[:, :1]).all()
  assert set(np.unique(rows)) == {0.0, np.float32(1 / 0.75)}
  assert abs(float(y.mean()) - 1) < 0.05  # 4000 Bernoulli draws


def test_bfloat16_compute_keeps_float32_parameters_and_output():
  wide, narrow = make(), make(dtype='bfloat16')
  assert {x.dtype for x in jax.tree.leaves(nnx.state(narrow))} == {
    jnp.dtype('float32')
  }
  z = narrow(IMAGES)
  assert z.dtype == jnp.float32
  # bfloat16 has 8 bits of mantissa; two blocks of products.
  chex.assert_trees_all_close(z, wide(IMAGES), atol=0.05)
  assert not np.array_equal(z, wide(IMAGES))


@pytest.mark.parametrize(
  ('size', 'millions'),
  [
    ('Ti', 5.5),
    ('S', 21.7),
    ('B', 85.8),
    pytest.param('L', 303.3, marks=pytest.mark.slow),
  ],
)
def test_sizes_have_the_published_parameter_counts(size, millions):
  """Backbones without a head, arXiv:2010.11929 and DeiT."""
  encoder = nnx.eval_shape(
    lambda: vit.ViT(
      size,
      position='learned',
      image_size=224,
      channels=3,
      rngs=nnx.Rngs(0),
    )
  )
  count = sum(x.size for x in jax.tree.leaves(nnx.state(encoder, nnx.Param)))
  assert count / 1e6 == pytest.approx(millions, abs=0.15)


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (dict(patch_size=3), r'image_size=\(8, 8\) is not a multiple'),
    (dict(heads=5), 'heads=5 does not divide width=64'),
    (dict(size='XL'), "size='XL' is not one of tiny, Ti"),
    (dict(pool='max'), "pool='max'"),
    (dict(position='rotary'), "position='rotary'"),
    (dict(dropout=1.0), 'dropout=1.0'),
    (dict(image_size=(8, 8, 8)), 'image_size'),
  ],
)
def test_wrong_arguments_are_named(options, said):
  with pytest.raises(ValueError, match=said):
    make(**options)
