"""Qwen3: parity with plain NumPy, causality, padding, pooling, meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mrl_jax.encoders import layers, qwen3
from tests.samples import foreign, rotary
from tests.samples.gradients import check_mesh, check_remat

RNG = np.random.default_rng(3)
TOKENS = RNG.integers(2, 10, (4, 6)).astype(np.int32)
COUNTS = np.array([[6], [3], [1], [4]])
RIGHT = np.arange(6) < COUNTS
LEFT = RIGHT[:, ::-1]


def make(**options):
  sizes = dict(width=16, depth=2, heads=4, groups=2, vocabulary=12, length=8)
  return qwen3.Qwen3(**sizes | options, rngs=nnx.Rngs(0))


def texts(mask, padding=0):
  return {'tokens': np.where(mask, TOKENS, padding), 'mask': mask}


@pytest.mark.parametrize('mask', [RIGHT, LEFT], ids=['right', 'left'])
def test_every_layer_equals_a_naive_forward_pass(tmp_path, mask):
  tensors = rotary.qwen3_tensors(rotary.QWEN3)
  encoder, _ = foreign.encoder_of(rotary.write_qwen3(tmp_path, tensors))
  arrays = texts(mask)
  expected = rotary.qwen3_states(tensors, rotary.QWEN3, **arrays)
  states = encoder.states(arrays)
  assert len(states) == len(expected) == 3
  for ours, theirs in zip(states, expected):
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=1e-5)
  last = [x[np.flatnonzero(row)[-1]] for x, row in zip(expected[-1], mask)]
  np.testing.assert_allclose(encoder(arrays), last, atol=1e-5)
  each = encoder(arrays, layers=True)
  assert each.shape == (2, 4, 8)
  np.testing.assert_allclose(each[-1], last, atol=1e-5)


def test_tokens_do_not_see_what_follows():
  encoder, arrays = make(), texts(np.ones_like(RIGHT))
  other = arrays | {'tokens': arrays['tokens'].copy()}
  other['tokens'][:, 3] = (other['tokens'][:, 3] - 1) % 8 + 2
  change = encoder.states(arrays)[-1] - encoder.states(other)[-1]
  change = np.abs(change).max((0, 2))
  assert (change[:3] == 0).all() and (change[3:] > 1e-6).all()


def test_padding_does_not_matter_nor_its_side():
  encoder, right = make(), texts(RIGHT, 0)
  z = encoder(right)
  np.testing.assert_allclose(encoder(texts(RIGHT, 5)), z, atol=1e-6)
  left = {
    name: np.stack([np.roll(row, n) for row, n in zip(array, 6 - COUNTS[:, 0])])
    for name, array in right.items()
  }
  np.testing.assert_allclose(encoder(left), z, atol=1e-5)


@pytest.mark.parametrize('pool', layers.POOLS)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_row_without_tokens_is_finite_and_touches_no_other(pool, dtype):
  encoder, mask = make(pool=pool, dtype=dtype), RIGHT.copy()
  mask[1] = False
  z = encoder(texts(mask))
  assert z.dtype == jnp.float32 and np.isfinite(z).all()
  others, whole = np.array([0, 2, 3]), encoder(texts(RIGHT))
  np.testing.assert_allclose(z[others], whole[others], atol=1e-6)


def test_bfloat16_is_near_and_its_parameters_are_float32():
  wide, narrow = make(), make(dtype='bfloat16')
  kinds = {x.dtype for x in jax.tree.leaves(nnx.state(narrow))}
  assert kinds == {jnp.dtype('float32')}
  a, b = wide(texts(RIGHT)), narrow(texts(RIGHT))
  # bfloat16 has 8 bits of mantissa; two blocks of products, then a norm.
  np.testing.assert_allclose(a, b, atol=0.1)
  assert not np.array_equal(a, b)


@pytest.mark.slow
def test_remat_changes_memory_not_gradients():
  check_remat(lambda remat: make(remat=remat, depth=1), texts(RIGHT))


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [(2, 2, 2), (1, 1, 8)])
def test_eight_devices_compute_what_one_does(sizes):
  """Groups that `tensor` divides, and groups that it does not."""
  tokens = np.random.default_rng(0).integers(0, 512, (8, 6)).astype(np.int32)
  arrays = {'tokens': tokens, 'mask': np.tile(RIGHT, (2, 1))}
  options = dict(width=64, depth=1, heads=8, rows=512, vocabulary=512)
  placed = check_mesh(lambda: make(**options), arrays, sizes)
  block = placed['layers'][0]
  for kernel in (block['mlp']['gate'], block['attention']['query']):
    share = kernel['kernel'].addressable_shards[0].data
    assert share.size == kernel['kernel'].size // (sizes[1] * sizes[2])


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    (dict(heads=3, groups=3), 'heads=3 does not divide width=16'),
    (dict(groups=3), 'groups=3 does not divide heads=4'),
    (dict(size=3), 'size=3 of a head must be even'),
    (dict(pool='max'), "pool='max' is not one of mean, cls, last"),
    (dict(dtype='float16'), "dtype='float16'"),
    (dict(base=0.0), r'base=0\.0 must be above 1'),
    (dict(rows=11), 'rows=11 .* fewer than the 12 tokens'),
  ],
)
def test_wrong_options_are_named(options, said):
  with pytest.raises(ValueError, match=said):
    make(**options)
