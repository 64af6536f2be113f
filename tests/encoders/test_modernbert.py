"""ModernBERT: parity with plain NumPy, padding, windows, pooling, meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mrl_jax.encoders import layers, modernbert
from tests.samples import foreign, rotary
from tests.samples.gradients import check_mesh, check_remat

RNG = np.random.default_rng(3)
TOKENS = RNG.integers(2, 10, (4, 12)).astype(np.int32)
COUNTS = np.array([[12], [5], [1], [8]])
RIGHT = np.arange(12) < COUNTS
LEFT = RIGHT[:, ::-1]


def make(**options):
  sizes = dict(width=16, depth=2, heads=2, window=4, vocabulary=12, length=12)
  return modernbert.ModernBert(**sizes | options, rngs=nnx.Rngs(0))


def texts(mask, padding=0):
  return {'tokens': np.where(mask, TOKENS, padding), 'mask': mask}


@pytest.mark.parametrize('mask', [RIGHT, LEFT], ids=['right', 'left'])
def test_every_layer_equals_a_naive_forward_pass(tmp_path, mask):
  config = rotary.MODERNBERT
  tensors = rotary.modernbert_tensors(config)
  encoder, _ = foreign.encoder_of(rotary.write_modernbert(tmp_path, tensors))
  arrays = texts(mask)
  expected = rotary.modernbert_states(tensors, config, **arrays)
  states = encoder.states(arrays)
  assert len(states) == len(expected) == 5
  for ours, theirs in zip(states, expected):
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-5)
  shares = mask[..., None] / mask.sum(1)[:, None, None]
  mean = (expected[-1] * shares).sum(1)
  np.testing.assert_allclose(encoder(arrays), mean, atol=1e-5)


def test_layers_end_with_the_plain_result():
  encoder, arrays = make(depth=3), texts(RIGHT)
  each = encoder(arrays, layers=True)
  assert each.shape == (3, 4, 16)
  np.testing.assert_allclose(each[-1], encoder(arrays), atol=1e-6)
  # A shorter encoder with the same numbers ends at an earlier layer.
  encoder.layers = nnx.List(list(encoder.layers)[:2])
  np.testing.assert_allclose(each[1], encoder(arrays), atol=1e-6)


def test_what_stands_in_the_padding_does_not_matter():
  encoder = make(depth=3)
  a, b = encoder(texts(RIGHT, 0)), encoder(texts(RIGHT, 5))
  np.testing.assert_allclose(a, b, atol=1e-6)
  short = {name: array[1:3, :5] for name, array in texts(RIGHT).items()}
  np.testing.assert_allclose(encoder(short), a[1:3], atol=1e-6)


def test_only_distances_count_so_padding_may_be_on_either_side():
  encoder, right = make(depth=3), texts(RIGHT)
  left = {
    name: np.stack(
      [np.roll(row, n) for row, n in zip(array, 12 - COUNTS[:, 0])]
    )
    for name, array in right.items()
  }
  np.testing.assert_allclose(encoder(right), encoder(left), atol=1e-5)


def test_a_local_block_does_not_see_beyond_its_window():
  """Block 0 is global: with one left out, what is far changes nothing."""
  encoder, arrays = make(window=5), texts(np.ones_like(RIGHT))
  encoder.layers = nnx.List([encoder.layers[1]])
  other = arrays | {'tokens': arrays['tokens'].copy()}
  other['tokens'][:, 6] = (other['tokens'][:, 6] - 1) % 8 + 2
  change = encoder.states(arrays)[-1] - encoder.states(other)[-1]
  change = np.abs(change).max((0, 2))
  assert (change[[4, 5, 6, 7, 8]] > 1e-6).all()
  assert (change[[0, 1, 2, 3, 9, 10, 11]] == 0).all()


@pytest.mark.parametrize('pool', layers.POOLS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_row_without_tokens_is_finite_and_touches_no_other(pool, dtype):
  encoder = make(pool=pool, dtype=dtype)
  mask = RIGHT.copy()
  mask[1] = False
  z = encoder(texts(mask))
  assert z.dtype == jnp.float32 and np.isfinite(z).all()
  others = np.array([0, 2, 3])
  whole = encoder(texts(RIGHT))
  np.testing.assert_allclose(z[others], whole[others], atol=1e-6)


def test_bfloat16_is_near_and_its_parameters_are_float32():
  wide, narrow = make(), make(dtype='bfloat16')
  kinds = {x.dtype for x in jax.tree.leaves(nnx.state(narrow))}
  assert kinds == {jnp.dtype('float32')}
  a, b = wide(texts(RIGHT)), narrow(texts(RIGHT))
  # bfloat16 has 8 bits of mantissa; two blocks of products.
  np.testing.assert_allclose(a, b, atol=0.05)
  assert not np.array_equal(a, b)


@pytest.mark.slow
def test_remat_changes_memory_not_gradients():
  check_remat(lambda remat: make(remat=remat), texts(RIGHT))


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [(1, 8, 1), (2, 2, 2)])
def test_eight_devices_compute_what_one_does(sizes):
  """Sizes at which arrays are split; heads and hidden units by `tensor`."""
  tokens = np.random.default_rng(0).integers(0, 512, (8, 12)).astype(np.int32)
  arrays = {'tokens': tokens, 'mask': np.tile(RIGHT, (2, 1))}
  options = dict(width=64, rows=512, vocabulary=512)
  placed = check_mesh(lambda: make(**options), arrays, sizes)
  for name, part in (('attention', 'qkv'), ('mlp', 'up'), ('mlp', 'down')):
    kernel = placed['layers'][1][name][part]['kernel']
    share = kernel.addressable_shards[0].data
    assert share.size == kernel.size // (sizes[1] * sizes[2])


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (dict(heads=3), 'heads=3 must divide width=16'),
    (dict(heads=16), 'heads=16 .* even size'),
    (dict(pool='max'), "pool='max' is not one of mean, cls, last"),
    (dict(activation='swish'), "activation='swish' is not one of gelu"),
    (dict(dtype='float16'), "dtype='float16'"),
    (dict(global_every=0), 'global_every=0 must be at least 1'),
    (dict(window=1), 'window=1 at least 2'),
    (dict(local_base=0.0), r'local_base=0\.0 must be above 1'),
    (dict(rows=11), 'rows=11 .* fewer than the 12 tokens'),
  ],
)
def test_wrong_options_are_named(options, said):
  with pytest.raises(ValueError, match=said):
    make(**options)
