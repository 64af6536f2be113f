"""BERT: parity with a plain NumPy forward pass, padding, pooling, meshes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mrl_jax import sharding
from mrl_jax.encoders import bert, layers
from tests.samples import foreign

RNG = np.random.default_rng(3)
TOKENS = RNG.integers(2, 10, (4, 6)).astype(np.int32)
COUNTS = np.array([[6], [3], [1], [4]])
RIGHT = np.arange(6) < COUNTS
LEFT = RIGHT[:, ::-1]


def make(**options):
  sizes = dict(width=16, depth=2, heads=2, vocabulary=12, length=8)
  return bert.Bert(**sizes | options, rngs=nnx.Rngs(0))


def texts(mask, padding=0):
  return {'tokens': np.where(mask, TOKENS, padding), 'mask': mask}


@pytest.mark.parametrize('mask', [RIGHT, LEFT], ids=['right', 'left'])
@pytest.mark.parametrize(
  'config', [foreign.BERT, foreign.ROBERTA], ids=['bert', 'roberta']
)
def test_every_layer_equals_a_naive_forward_pass(tmp_path, config, mask):
  tensors = foreign.bert_tensors(config)
  encoder, _ = foreign.encoder_of(foreign.write_bert(tmp_path, config, tensors))
  arrays = texts(mask, config['pad_token_id'])
  expected = foreign.bert_states(tensors, config, **arrays)
  states = encoder.states(arrays)
  assert len(states) == len(expected) == 3
  for ours, theirs in zip(states, expected):
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-5)
  shares = mask[..., None] / mask.sum(1)[:, None, None]
  means = [(x * shares).sum(1) for x in expected[1:]]
  np.testing.assert_allclose(encoder(arrays, layers=True), means, atol=1e-5)
  np.testing.assert_allclose(encoder(arrays), means[-1], atol=1e-5)


def test_the_approximate_gelu_is_another(tmp_path):
  tensors = foreign.bert_tensors(foreign.BERT)
  folder = foreign.write_bert(tmp_path, tensors=tensors, hidden_act='gelu_new')
  encoder, _ = foreign.encoder_of(folder)
  arrays = texts(RIGHT)
  ours = encoder.states(arrays)[-1][RIGHT]
  naive = foreign.bert_states
  theirs = naive(tensors, foreign.BERT, **arrays, gelu='tanh')[-1][RIGHT]
  np.testing.assert_allclose(ours, theirs, atol=1e-5)
  exact = naive(tensors, foreign.BERT, **arrays)[-1][RIGHT]
  assert np.abs(ours - exact).max() > 1e-5


@pytest.mark.parametrize('first_position', [0, 2])
def test_what_stands_in_the_padding_does_not_matter(first_position):
  encoder = make(first_position=first_position)
  a, b = encoder(texts(RIGHT, 0)), encoder(texts(RIGHT, 5))
  np.testing.assert_allclose(a, b, atol=1e-6)
  short = {name: array[1:3, :3] for name, array in texts(RIGHT).items()}
  np.testing.assert_allclose(encoder(short), a[1:3], atol=1e-6)


def test_counted_positions_do_not_know_the_side_of_the_padding():
  counted, absolute = make(first_position=2), make()
  right, left = texts(RIGHT), texts(RIGHT)
  rolls = 6 - COUNTS[:, 0]
  left = {
    name: np.stack([np.roll(row, n) for row, n in zip(array, rolls)])
    for name, array in right.items()
  }
  np.testing.assert_allclose(counted(right), counted(left), atol=1e-6)
  assert np.abs(absolute(right) - absolute(left)).max() > 1e-3


@pytest.mark.parametrize('mask', [RIGHT, LEFT], ids=['right', 'left'])
def test_pools_take_the_first_or_the_last_real_token(mask):
  states = make().states(texts(mask))[-1]
  places = [np.flatnonzero(row) for row in mask]
  for pool, index in (('cls', 0), ('last', -1)):
    expected = [x[row[index]] for x, row in zip(states, places)]
    chex.assert_trees_all_close(
      make(pool=pool)(texts(mask)), np.stack(expected)
    )


@pytest.mark.parametrize('pool', layers.POOLS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_row_without_tokens_is_finite_and_touches_no_other(pool, dtype):
  encoder = make(pool=pool, dtype=dtype, first_position=2)
  mask = RIGHT.copy()
  mask[1] = False
  z = encoder(texts(mask))
  assert z.dtype == jnp.float32 and np.isfinite(z).all()
  others = np.array([0, 2, 3])
  whole = encoder(texts(RIGHT))
  np.testing.assert_allclose(z[others], whole[others], atol=1e-6)


def test_token_types_are_added():
  encoder, arrays = make(), texts(RIGHT)
  zeros = np.zeros_like(TOKENS)
  plain = encoder(arrays)
  chex.assert_trees_all_equal(plain, encoder(arrays | {'types': zeros}))
  other = encoder(arrays | {'types': zeros + 1})
  assert np.abs(plain - other).max() > 1e-3
  assert make(types=0).types is None
  assert np.isfinite(make(types=0)(arrays)).all()


def test_dropout_only_while_training_and_by_key():
  encoder, arrays = make(dropout=0.5), texts(RIGHT)
  a, b = (encoder(arrays, train=True, key=jax.random.key(i)) for i in (0, 1))
  assert not np.allclose(a, b, atol=1e-3)
  again = encoder(arrays, train=True, key=jax.random.key(0))
  chex.assert_trees_all_close(a, again)
  chex.assert_trees_all_close(encoder(arrays), make()(arrays))


def test_bfloat16_is_near_and_its_parameters_are_float32():
  wide, narrow = make(), make(dtype='bfloat16')
  kinds = {x.dtype for x in jax.tree.leaves(nnx.state(narrow))}
  assert kinds == {jnp.dtype('float32')}
  a, b = wide(texts(RIGHT)), narrow(texts(RIGHT))
  # bfloat16 has 8 bits of mantissa; two blocks of products.
  np.testing.assert_allclose(a, b, atol=0.05)
  assert not np.array_equal(a, b)


def gradient_of(encoder, arrays, mesh=None):
  """f(params) -> the gradient of a function of the embeddings, and params."""
  graph, params, rest = nnx.split(encoder, nnx.Param, ...)
  if mesh:
    where = sharding.shardings({'encoder': nnx.to_pure_dict(params)}, mesh)
    nnx.replace_by_pure_dict(
      params, jax.device_put(nnx.to_pure_dict(params), where['encoder'])
    )
    arrays = jax.device_put(arrays, sharding.over_batch(mesh))

  def loss(params, arrays):
    module = nnx.merge(graph, params, rest)
    z = module(arrays, train=True, key=jax.random.key(0))
    return jnp.sum(z[:, :5] ** 3), z

  step = jax.jit(jax.grad(loss, has_aux=True))
  return step, nnx.to_pure_dict, params, arrays


@pytest.mark.slow
def test_remat_changes_memory_not_gradients():
  results = []
  for remat in (False, True):
    step, pure, params, arrays = gradient_of(
      make(remat=remat, dropout=0.1, depth=1), texts(RIGHT)
    )
    results.append(jax.tree.map(np.asarray, pure(step(params, arrays)[0])))
    shown = str(jax.make_jaxpr(step)(params, arrays))
    assert ('remat' in shown or 'checkpoint' in shown) == remat
  chex.assert_trees_all_close(*results, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_eight_devices_compute_what_one_does(sizes):
  """Sizes at which arrays are split; the table of tokens in both ways."""
  options = dict(width=64, depth=1, rows=512, vocabulary=512)
  tokens = np.random.default_rng(0).integers(0, 512, (8, 6)).astype(np.int32)
  arrays = {'tokens': tokens, 'mask': np.tile(RIGHT, (2, 1))}
  one, pure, params, there = gradient_of(make(**options), arrays)
  expected = one(params, there)
  mesh = sharding.make_mesh(*sizes)
  many, _, placed, spread = gradient_of(make(**options), arrays, mesh)
  table = pure(placed)['tokens']['embedding']
  split = sizes[1] * sizes[2]
  assert table.addressable_shards[0].data.size == table.size // split
  gradients, z = many(placed, spread)
  np.testing.assert_allclose(z, expected[1], atol=1e-5)
  chex.assert_trees_all_close(
    jax.device_get(pure(gradients)),
    jax.device_get(pure(expected[0])),
    rtol=1e-4,  # sums over the batch in another order
    atol=1e-4,
  )


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (dict(heads=3), 'heads=3 does not divide width=16'),
    (dict(pool='max'), "pool='max' is not one of mean, cls, last"),
    (dict(activation='swish'), "activation='swish' is not one of gelu"),
    (dict(dtype='float16'), "dtype='float16'"),
    (dict(dropout=1.0), 'dropout=1.0'),
    (dict(rows=11), 'rows=11 .* fewer than the 12 tokens'),
    (dict(positions=9, first_position=2), 'length=8 .* longer than the 7'),
  ],
)
def test_wrong_options_are_named(options, said):
  with pytest.raises(ValueError, match=said):
    make(**options)


def test_texts_longer_than_the_positions_are_refused():
  with pytest.raises(ValueError, match='texts have 6 tokens, .* at most 5'):
    make(positions=5, length=5)(texts(RIGHT))


def test_fresh_tables_are_small():
  encoder = make(width=64, rows=500)
  table = np.asarray(encoder.tokens.embedding[...])
  assert 0.015 < table.std() < 0.025
  assert np.abs(table).max() < 0.05  # cut off at two standard deviations
