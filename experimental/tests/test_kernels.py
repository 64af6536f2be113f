"""Fused kernels, interpreted on the CPU, against a loop of slices in float64.

They are also handed to the compilers of real accelerators, which refuse much
that the interpreter accepts.
"""

import functools
import importlib.util
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from experimental import lanes, pallas_gpu, pallas_tpu, tiles, triton_tiles

both = pytest.mark.parametrize(
  'kernels', [pallas_tpu, pallas_gpu], ids=['tpu', 'gpu']
)


@pytest.fixture
def quick_compiles():
  """An interpreted kernel runs for milliseconds and compiles for seconds."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture
def small_tiles(monkeypatch, quick_compiles):
  """Several tiles of rows and of classes, the last ones ragged."""
  monkeypatch.setattr(tiles, 'largest_tile', lambda *_, **__: (16, 128))
  monkeypatch.setattr(triton_tiles, 'REGISTER_BYTES', 2**15)


def a_batch(b, v, dims, *, t=1, dtype=jnp.float32, size=1.0, outside=False):
  """Random inputs whose logits are about `size`, as float arrays."""
  random, g, d = np.random.default_rng(0), len(dims), dims[-1]
  labels = random.integers(0, v, (b, t))
  if outside:
    labels[: b // 2] += v
    labels[b // 2 :: 4] = -3
  return SimpleNamespace(
    embedding=jnp.asarray(random.normal(size=(b, d)), dtype),
    kernel=jnp.asarray(random.normal(size=(d, v)) * size / d**0.5, dtype),
    bias=jnp.asarray(random.normal(size=(g, v)), jnp.float32),
    scale=jnp.asarray(random.uniform(0.5, 2, g), jnp.float32),
    labels=jnp.asarray(labels, jnp.int32),
    shares=jnp.asarray(random.dirichlet(np.ones(t), b), jnp.float32),
    coefficient=jnp.asarray(random.uniform(0, 1, (g, b)), jnp.float32),
    dims=dims,
  )


def run_statistics(kernels, x, columns=slice(None), labels=None):
  run = functools.partial(kernels.statistics, dims=x.dims, interpret=True)
  return jax.jit(run)(
    x.embedding,
    x.kernel[:, columns],
    x.bias[:, columns],
    x.scale,
    x.labels if labels is None else labels,
  )


def run_gradients(kernels, x, lse, smoothing, columns=slice(None), labels=None):
  run = functools.partial(
    kernels.gradients,
    dims=x.dims,
    smoothing=smoothing,
    classes=x.kernel.shape[1],
    interpret=True,
  )
  return jax.jit(run)(
    x.embedding,
    x.kernel[:, columns],
    x.bias[:, columns],
    x.scale,
    x.labels if labels is None else labels,
    x.shares,
    lse,
    x.coefficient,
  )


def reference(x, smoothing):
  """Statistics and gradients from stored logits, every number in float64."""
  v = x.kernel.shape[1]
  # The row of a label outside is all zeros.
  onehot = np.asarray(x.labels)[..., None] == np.arange(v)
  shares = np.asarray(x.shares, np.float64)
  target = (1 - smoothing) * np.einsum('bt,btv->bv', shares, onehot)
  target += smoothing / v

  def total(parameters, coefficient):
    embedding, kernel, bias, scale = parameters
    logits = jnp.stack(
      [
        scale[g] * (embedding[:, :m] @ kernel[:m]) + bias[g]
        for g, m in enumerate(x.dims)
      ]
    )
    lse = jax.nn.logsumexp(logits, axis=-1)
    # Its gradient is softmax - target, whatever the target sums to.
    losses = lse - jnp.sum(target * logits, axis=-1)
    statistics = (
      lse,
      jnp.einsum('gbv,btv->gbt', logits, onehot),
      jnp.mean(logits, axis=-1),
      jnp.max(logits, axis=-1),
    )
    return jnp.sum(coefficient * losses), statistics

  def wide(array):
    return np.asarray(array, np.float64)

  with jax.enable_x64(True):
    run = jax.jit(jax.grad(total, has_aux=True))
    parameters = [wide(p) for p in (x.embedding, x.kernel, x.bias, x.scale)]
    gradients, statistics = run(parameters, wide(x.coefficient))
  assert statistics[0].dtype == gradients[0].dtype == np.float64
  return jax.tree.map(np.asarray, (statistics, gradients))


def close(found, expected, tolerance=1e-5):
  """Each array within `tolerance` of its largest magnitude."""
  for number, (a, e) in enumerate(zip(found, expected, strict=True)):
    assert a.shape == e.shape, number
    a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
    assert np.max(np.abs(a - e)) <= tolerance * np.max(np.abs(e)), number


@both
@pytest.mark.parametrize(
  'b, v, dims, t, smoothing, outside',
  [
    (37, 301, (8, 16, 32, 64), 1, 0.0, False),
    (37, 301, (12, 24, 48, 96, 192), 2, 0.1, True),
    # Whole lanes of classes: the TPU's kernel stays [d v]. 160 ends inside
    # a group of lanes that is not the first.
    (18, 256, (8, 160, 200), 1, 0.1, False),
    (18, 256, (8, 200), 1, 0.0, False),
    (5, 40, (16,), 1, 0.0, False),
  ],
)
def test_equals_a_loop_of_slices(
  small_tiles, kernels, b, v, dims, t, smoothing, outside
):
  x = a_batch(b, v, dims, t=t, outside=outside)
  statistics, gradients = reference(x, smoothing)
  found = run_statistics(kernels, x)
  assert all(part.dtype == jnp.float32 for part in found)
  close(found, statistics)
  close(run_gradients(kernels, x, found.lse, smoothing), gradients)


@both
def test_a_ragged_tile_of_a_kernel_stored_by_rows(
  monkeypatch, quick_compiles, kernels
):
  monkeypatch.setattr(tiles, 'largest_tile', lambda *_, **__: (16, 256))
  x = a_batch(9, 384, (8, 32))
  statistics, gradients = reference(x, 0.1)
  found = run_statistics(kernels, x)
  close(found, statistics)
  close(run_gradients(kernels, x, found.lse, 0.1), gradients)


@both
def test_logits_of_a_thousand(small_tiles, kernels):
  x = a_batch(20, 150, (8, 40), size=1000.0)
  statistics, gradients = reference(x, 0.0)
  assert np.max(statistics[3]) > 1000
  found = run_statistics(kernels, x)
  close(found, statistics)
  # A float32 logit of 2000 is rounded by 1e-4, and exp makes that relative.
  close(run_gradients(kernels, x, found.lse, 0.0), gradients, 1e-4)


@both
def test_bfloat16_operands(small_tiles, kernels):
  x = a_batch(37, 200, (8, 32, 136), dtype=jnp.bfloat16)
  statistics, gradients = reference(x, 0.1)
  found = run_statistics(kernels, x)
  close(found, statistics)
  found = run_gradients(kernels, x, found.lse, 0.1)
  assert [part.dtype.name for part in found] == ['bfloat16'] * 2 + [
    'float32'
  ] * 2
  # F and the result are rounded to 8 bits each, by 2**-9 of themselves.
  close(found[:2], gradients[:2], 2**-7)
  close(found[2:], gradients[2:])


@both
def test_shards_of_the_classes_combine(small_tiles, kernels):
  x = a_batch(18, 150, (8, 32), t=2)
  statistics, gradients = reference(x, 0.1)
  shards = [slice(0, 70), slice(70, 150)]
  found = [
    run_statistics(kernels, x, shard, x.labels - shard.start)
    for shard in shards
  ]
  lse = jnp.logaddexp(*(part.lse for part in found))
  whole = (
    lse,
    sum(part.picked for part in found),
    sum(p.mean * (s.stop - s.start) for p, s in zip(found, shards)) / 150,
    jnp.maximum(*(part.top for part in found)),
  )
  close(whole, statistics)
  found = [
    run_gradients(kernels, x, lse, 0.1, shard, x.labels - shard.start)
    for shard in shards
  ]
  d_z, d_w, d_b, d_s = zip(*found)
  whole = (sum(d_z), jnp.hstack(d_w), jnp.hstack(d_b), sum(d_s))
  close(whole, gradients)


@both
def test_impossible_classes_make_no_nan(small_tiles, kernels):
  x = a_batch(5, 150, (8, 16))
  x.labels = 130 + x.labels % 20
  # One whole tile of classes is impossible at first, and all at prefix 0.
  x.bias = x.bias.at[:, :130].set(-jnp.inf).at[0].set(-jnp.inf)
  found = run_statistics(kernels, x)
  assert np.all(np.isneginf(found.lse[0])) and np.all(np.isfinite(found.lse[1]))
  gradients = run_gradients(kernels, x, found.lse, 0.0)
  assert all(np.all(np.isfinite(part)) for part in gradients)
  np.testing.assert_array_equal(gradients[1][8:, :130], 0)


@both
def test_64_bit_types_change_nothing(small_tiles, kernels):
  x = a_batch(18, 150, (8, 24))
  statistics = run_statistics(kernels, x)
  gradients = run_gradients(kernels, x, statistics.lse, 0.1)
  with jax.enable_x64(True):
    wide = run_statistics(kernels, x)
    assert all(part.dtype == jnp.float32 for part in wide)
    close(wide, statistics, 1e-6)
    close(run_gradients(kernels, x, wide.lse, 0.1), gradients, 1e-6)


def test_plan_by_hand():
  steps = lanes.plan((12, 128, 192, 384, 768))
  assert [(s.rows.start, s.rows.stop) for s in steps] == [
    (0, 128),
    (128, 256),
    (256, 384),
    (384, 768),
  ]
  assert [s.ends for s in steps] == [(12, 128), (64, 128), (128,), (384,)]
  assert [s.prefixes for s in steps] == [(0, 1), (2, None), (3,), (4,)]
  assert steps[-1].columns == (slice(640, 1024),)


def test_halving_from_2048_costs_a_quarter_more_than_one_product():
  dims = tuple(2**k for k in range(3, 12))
  assert lanes.plan(dims)[-1].columns[-1].stop == 1.25 * 2048


def test_spread_repeats_lanes_and_fold_sums_them():
  steps = lanes.plan((1, 3))
  z = jnp.asarray([[1.0, 2.0, 3.0]])
  wide = lanes.spread(z, steps)
  assert wide.shape == (1, 256)
  assert wide[0, :4].tolist() == [1, 0, 0, 0]
  assert wide[0, 128:132].tolist() == [1, 2, 3, 0]
  assert lanes.fold(jnp.ones((1, 256)), steps, 3).tolist() == [[2, 1, 1]]


def test_the_largest_tile_fits_and_a_column_too_long_is_refused():
  costs = dict(row_bytes=2**12, column_bytes=2**13, entry_bytes=40)
  r, c = tiles.largest_tile(1000, 10**6, **costs)
  assert r * 2**12 + c * 2**13 + r * c * 40 <= tiles.VMEM_BYTES
  assert (r, c) == (512, 256)
  with pytest.raises(ValueError, match='narrow the embedding'):
    tiles.largest_tile(8, 8, row_bytes=1, column_bytes=2**20, entry_bytes=4)


def abstract(b, v, dims, dtype, sharding=None):
  g, d = len(dims), dims[-1]

  def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  return (
    array(b, d, dtype=dtype),
    array(d, v, dtype=dtype),
    array(g, v),
    array(g),
    array(b, 1, dtype=jnp.int32),
    array(b, 1),
    array(g, b),
  )


def step(kernels, dims):
  """Statistics, then gradients from them, as one function to compile."""

  def run(z, w, bias, scale, labels, shares, coefficient):
    found = kernels.statistics(z, w, bias, scale, labels, dims)
    gradients = kernels.gradients(
      z, w, bias, scale, labels, shares, found.lse, coefficient, dims, 0.1
    )
    return found, gradients

  return run


@pytest.mark.parametrize('x64', [False, True])
def test_lowers_for_cuda(x64):
  dims = (12, 24, 48, 96, 192, 384, 768)
  with jax.enable_x64(x64):
    traced = jax.jit(step(pallas_gpu, dims)).trace(
      *abstract(1000, 1001, dims, jnp.bfloat16)
    )
    text = traced.lower(lowering_platforms=('cuda',)).as_text()
  assert text.count('xla.gpu.triton') == 3


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='needs mrl_jax[tpu]'
)
@pytest.mark.parametrize(
  'v, dims, dtype, x64',
  [
    (100_001, (12, 24, 48, 96, 192, 384, 768), jnp.bfloat16, False),
    (102_400, (8, 64, 256), jnp.float32, True),
  ],
)
def test_compiles_for_tpu_without_storing_logits(
  monkeypatch, tmp_path, v, dims, dtype, x64
):
  monkeypatch.setenv('TPU_SKIP_MDS_QUERY', '1')
  monkeypatch.setenv('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  monkeypatch.setenv('TPU_LOG_DIR', str(tmp_path))
  device = topologies.get_topology_desc(
    platform='tpu', topology_name='v5e:2x2'
  ).devices[0]
  b = 1024 if dtype == jnp.bfloat16 else 128
  inputs = abstract(b, v, dims, dtype, SingleDeviceSharding(device))
  with jax.enable_x64(x64):
    compiled = jax.jit(step(pallas_tpu, dims)).lower(*inputs).compile()
  assert compiled.as_text().count('tpu_custom_call') == 3
  # No logits, and no second copy of the kernel in another order.
  temporaries = compiled.memory_analysis().temp_size_in_bytes
  assert temporaries < 2**25
