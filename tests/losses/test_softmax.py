"""Every form of the nested softmax loss is the definition's number."""

import functools
import itertools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrl_jax import costs, nested, sharding
from mrl_jax.kernels import fused_softmax
from mrl_jax.losses import softmax

B, D, V = 23, 32, 40
DIMS = (4, 8, 16, 32)
WEIGHTS = (2.0, 1.0, 0.5, 1.0)
MESHES = [(8, 1, 1), (1, 8, 1), (2, 2, 2), (1, 1, 8)]
# Small tiles that divide nothing, and one tile for all.
TILES = [(7, 11), (512, 512)]


def problem(per_prefix, seed=0, b=B, v=V, dtype=np.float64):
  rng = np.random.default_rng(seed)
  classifier = nested.Classifier(
    DIMS,
    rng.normal(size=(D, v)).astype(dtype),
    rng.normal(size=(4 if per_prefix else 1, v)).astype(dtype),
    (2 + rng.normal(size=4)).astype(dtype) if per_prefix else None,
  )
  labels = rng.integers(0, v, (b, 2))
  shares = np.tile(np.asarray([0.7, 0.3], dtype), (b, 1))
  targets = softmax.Targets(labels, shares)
  rows = rng.uniform(size=b).astype(dtype)
  return rng.normal(size=(b, D)).astype(dtype), classifier, targets, rows


def naive(z, classifier, targets, smoothing):
  """losses [g b], by loops in numpy."""
  dims, kernel, bias, scale = classifier
  losses = np.zeros((len(dims), len(z)))
  for g, m in enumerate(dims):
    logits = z[:, :m] @ kernel[:m]
    logits = logits * (1 if scale is None else scale[g])
    logits = logits + bias[min(g, len(bias) - 1)]
    for i, row in enumerate(logits):
      target = np.full(len(row), smoothing / len(row))
      for label, share in zip(targets.labels[i], targets.shares[i]):
        target[label] += (1 - smoothing) * share
      top = row.max()
      log_p = row - top - np.log(np.exp(row - top).sum())
      losses[g, i] = -(target * log_p).sum()
  return losses


def value_and_gradients(args, form, smoothing=0.0, mesh=None, tile=None):
  z, classifier, targets, rows = args

  def total(z, kernel, bias, scale):
    found = softmax.tied(
      z,
      nested.Classifier(classifier.dims, kernel, bias, scale),
      targets,
      WEIGHTS[-len(classifier.dims) :],
      rows,
      smoothing=smoothing,
      form=form,
      mesh=mesh,
      tile=tile,
    )
    return found.total, found

  given = [x for x in (z, *classifier[1:]) if x is not None]
  compute = jax.value_and_grad(total, range(len(given)), has_aux=True)
  if len(given) < 4:
    return jax.jit(lambda *a: compute(*a, None))(*given)
  return jax.jit(compute)(*given)


@pytest.mark.parametrize(
  'per_prefix, smoothing', list(itertools.product([False, True], [0.0, 0.1]))
)
def test_forms_equal_the_definition_in_float64(per_prefix, smoothing):
  with jax.enable_x64(True):
    args = problem(per_prefix)
    expected = value_and_gradients(args, 'vmap', smoothing)
    (total, found), _ = expected
    losses = naive(*args[:3], smoothing)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-12)
    weighted = np.asarray(WEIGHTS) @ losses @ args[3]
    np.testing.assert_allclose(total, weighted, rtol=1e-12)
    tried = [('blocks', None)]
    tried += itertools.product(['rows', 'columns'], TILES)
    for form, tile in tried:
      chex.assert_trees_all_close(
        value_and_gradients(args, form, smoothing, tile=tile),
        expected,
        rtol=1e-11,
        atol=1e-11,
      )


@pytest.mark.parametrize('form', ['blocks', 'rows', 'columns'])
def test_eight_devices_equal_one(form):
  """Rows over data and fsdp, classes over tensor, some that do not divide."""
  with jax.enable_x64(True):
    for v, sizes in (
      (V, MESHES[0]),
      (V, MESHES[2]),
      (41, MESHES[2]),
      (V, MESHES[3]),
    ):
      args = problem(True, v=v, b=24)
      mesh = sharding.make_mesh(*sizes)
      place = jax.sharding.NamedSharding
      rows = place(mesh, jax.sharding.PartitionSpec(sharding.BATCH_AXES))
      args = jax.device_put(args[0], rows), *args[1:]
      chex.assert_trees_all_close(
        value_and_gradients(args, form, 0.1, mesh, (2, 3)),
        value_and_gradients(args, 'vmap', 0.1),
        rtol=1e-11,
        atol=1e-11,
      )


def test_separate_is_a_sum_of_tied_ones():
  with jax.enable_x64(True):
    z, classifier, targets, rows = problem(True)
    _, kernel, bias, _ = classifier
    single = [
      nested.Classifier((m,), kernel[:m] * (g + 1), bias[g : g + 1])
      for g, m in enumerate(DIMS)
    ]
    for form in ('vmap', 'rows', 'columns'):
      found = softmax.separate(z, single, targets, WEIGHTS, rows, form=form)
      losses = np.concatenate([naive(z, c, targets, 0.0) for c in single])
      np.testing.assert_allclose(found.losses, losses, rtol=1e-12)
      total = np.asarray(WEIGHTS) @ losses @ rows
      np.testing.assert_allclose(found.total, total, rtol=1e-12)


@pytest.mark.parametrize('form', ['vmap', 'blocks', 'rows', 'columns'])
def test_hits_losses_and_total_by_hand(form):
  # Two classes, two prefixes: the second coordinate turns the answer around.
  kernel = jnp.asarray([[1.0, 0.0], [0.0, 2.0]])
  classifier = nested.Classifier((1, 2), kernel, jnp.zeros((1, 2)))
  z = jnp.asarray([[1.0, 1.0], [0.0, 0.0]])
  targets = softmax.one_class(jnp.asarray([0, 1]))
  found = softmax.tied(
    z, classifier, targets, (1.0, 10.0), jnp.asarray([1.0, 0.0]), form=form
  )
  first, second = np.log(1 + np.exp(-1)), np.log(1 + np.exp(1))
  expected = [[first, np.log(2)], [second, np.log(2)]]
  np.testing.assert_allclose(found.losses, expected, rtol=1e-6)
  np.testing.assert_allclose(found.total, first + 10 * second, rtol=1e-6)
  # A tie is no hit: an encoder that has collapsed is never right.
  np.testing.assert_array_equal(found.hits, [[True, False], [False, False]])


@pytest.mark.parametrize('form', ['vmap', 'blocks', 'rows', 'columns'])
def test_rows_without_a_class_are_left_out(form):
  with jax.enable_x64(True):
    z, classifier, targets, rows = problem(False)
    targets.labels[3, 0], targets.labels[5, 1] = -1, V
    args = z, classifier, targets, rows
    (total, found), gradients = value_and_gradients(args, form, 0.1)
    keep = np.delete(np.arange(B), [3, 5])
    some = softmax.Targets(targets.labels[keep], targets.shares[keep])
    (other, _), expected = value_and_gradients(
      (z[keep], classifier, some, rows[keep]), form, 0.1
    )
    np.testing.assert_allclose(total, other, rtol=1e-12)
    np.testing.assert_allclose(gradients[0][keep], expected[0], rtol=1e-9)
    chex.assert_trees_all_close(gradients[1:], expected[1:], rtol=1e-9)
    for row in (3, 5):
      assert not gradients[0][row].any() and not found.losses[:, row].any()
      assert not found.hits[:, row].any()


@pytest.mark.parametrize('form', ['vmap', 'blocks', 'rows', 'columns'])
@pytest.mark.parametrize('case', ['zeros', 'one row', 'one dim', 'scale 1000'])
def test_edges_are_finite_and_right(form, case):
  with jax.enable_x64(True):
    z, classifier, targets, rows = problem(True)
    if case == 'zeros':
      z = z * 0
    elif case == 'one row':
      targets = softmax.Targets(targets.labels[:1], targets.shares[:1])
      z, rows = z[:1], rows[:1]
    elif case == 'one dim':
      classifier = nested.Classifier(
        (D,), classifier.kernel, classifier.bias[:1], classifier.scale[:1]
      )
    else:
      classifier = classifier._replace(scale=classifier.scale * 1000)
    args = z, classifier, targets, rows
    (_, found), gradients = value_and_gradients(args, form, tile=(9, 7))
    losses = naive(z, classifier, targets, 0.0)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-9, atol=1e-9)
    for gradient in gradients:
      assert np.isfinite(gradient).all()


@pytest.mark.parametrize('form', ['rows', 'columns'])
def test_rows_that_fill_up_a_chunk_leave_no_trace(form):
  """exp(bias) overflows where a row is empty; its gradient stays 0."""
  z, classifier, targets, rows = problem(False)
  large = classifier._replace(bias=classifier.bias + 1000)
  args = [x.astype(np.float32) for x in (z, *large[1:3])]
  large = nested.Classifier(DIMS, *args[1:])
  (_, found), gradients = value_and_gradients(
    (args[0], large, targets, rows), form, tile=(5, 7)
  )
  (_, _), expected = value_and_gradients(
    (args[0], large, targets, rows), 'blocks'
  )
  for a, b in zip(gradients, expected):
    # Logits of 1000 have a rounding of 6e-5 in float32.
    np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def test_narrow_labels_are_not_cut_short():
  z, classifier, _, rows = problem(False, v=256)
  labels = np.arange(B) + 200
  wide = softmax.one_class(jnp.asarray(labels))
  short = softmax.one_class(jnp.asarray(labels.astype(np.uint8)))
  totals = [
    softmax.tied(z, classifier, targets, WEIGHTS, rows, form=form).total
    for targets in (wide, short)
    for form in ('blocks', 'columns')
  ]
  np.testing.assert_allclose(totals, totals[0], rtol=1e-5)
  assert totals[0] > 1


@pytest.mark.parametrize('form', ['rows', 'columns', 'pallas'])
def test_a_shard_of_impossible_classes_changes_nothing(form, monkeypatch):
  """Classes that fill up the shards have a bias of -inf."""
  module = fused_softmax.KERNELS['tpu']
  monkeypatch.setitem(
    fused_softmax.KERNELS,
    'cpu',
    types.SimpleNamespace(
      statistics=functools.partial(module.statistics, interpret=True),
      gradients=functools.partial(module.gradients, interpret=True),
    ),
  )
  z, classifier, targets, rows = problem(False, b=24, dtype=np.float32)
  bias = classifier.bias.copy()
  bias[:, 20:] = -np.inf
  targets = softmax.Targets(targets.labels % 20, targets.shares)
  args = z, classifier._replace(bias=bias), targets, rows
  expected = value_and_gradients(args, 'blocks')
  for sizes in (None, (1, 1, 8)):
    mesh = sizes and sharding.make_mesh(*sizes)
    found = value_and_gradients(args, form, mesh=mesh)
    assert np.isfinite(expected[0][0])
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)


def test_wrong_numbers_of_weights_are_named():
  z, classifier, targets, rows = problem(False)
  with pytest.raises(ValueError, match='3 weights for the dims'):
    softmax.tied(z, classifier, targets, (1.0,) * 3, rows)
  with pytest.raises(ValueError, match='3 weights for 8 prefixes'):
    softmax.separate(z, [classifier] * 2, targets, (1.0,) * 3, rows)


def test_one_dim_is_the_plain_loss():
  z, classifier, targets, rows = problem(False, dtype=np.float32)
  one = nested.Classifier((D,), *classifier[1:])
  labels = targets.labels[:, 0]

  def plain(z, kernel, bias):
    logits = z @ kernel + bias
    losses = jax.nn.logsumexp(logits, -1) - logits[np.arange(B), labels]
    return jnp.sum(losses * rows)

  expected = jax.value_and_grad(plain, (0, 1, 2))(z, *classifier[1:3])
  for form in ('vmap', 'blocks', 'rows', 'columns'):
    (total, _), gradients = value_and_gradients(
      (z, one, softmax.one_class(jnp.asarray(labels)), rows), form
    )
    chex.assert_trees_all_close(
      (total, gradients), expected, rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize('form', ['blocks', 'rows', 'columns'])
@pytest.mark.parametrize('kind', [jnp.bfloat16, jnp.float16])
def test_narrow_inputs_are_summed_in_float32(form, kind):
  """Equal to float32 on the same rounded inputs, at large logits too."""
  z, classifier, targets, rows = problem(False, dtype=np.float32)
  scale = jnp.full(4, 100.0)
  short = jax.tree.map(
    lambda x: jnp.asarray(x, kind), (z, classifier.kernel, classifier.bias)
  )
  back = jax.tree.map(lambda x: x.astype(jnp.float32), short)

  def run(z, kernel, bias, form):
    narrow = nested.Classifier(DIMS, kernel, bias, scale)
    return value_and_gradients((z, narrow, targets, rows), form, 0.1)

  (total, found), gradients = run(*short, form)
  (wide_total, wide), expected = run(*back, 'vmap')
  assert found.losses.dtype == jnp.float32
  np.testing.assert_allclose(found.losses, wide.losses, rtol=2e-5, atol=1e-3)
  np.testing.assert_allclose(total, wide_total, rtol=2e-5)
  for a, b in zip(gradients[:3], expected[:3]):
    assert a.dtype == kind
    # Rounded once, at the end.
    error = jnp.abs(a.astype(jnp.float32) - b).max() / jnp.abs(b).max()
    assert error < 1 / 128


def test_products_of_all_prefixes_are_those_of_the_widest():
  """Counted in the program: 6bdv, or 8bdv where logits are made twice."""
  args = problem(False, dtype=np.float32)
  z, classifier, targets, rows = args

  def count(form, classifier):
    weights = (1.0,) * len(classifier.dims)

    def total(z, kernel):
      some = classifier._replace(kernel=kernel)
      return softmax.tied(z, some, targets, weights, rows, form=form).total

    jaxpr = jax.make_jaxpr(jax.grad(total, (0, 1)))(z, classifier.kernel)
    return costs.matmul_flops(jaxpr.jaxpr)

  one = nested.Classifier((D,), *classifier[1:])
  plain = count('blocks', one)
  assert plain == 6 * B * D * V
  assert count('blocks', classifier) == plain
  picked = 2 * B * 2 * D
  assert count('rows', classifier) == plain
  assert count('columns', classifier) == 8 * B * D * V + picked


def test_recomputed_tiles_need_less_than_half_the_memory_of_the_plain_loss():
  """Eight prefixes of 768 at 21,841 classes against optax at one."""
  shapes = [(512, 768), (768, 21841), (1, 21841)]
  z, kernel, bias = (jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)
  labels = jax.ShapeDtypeStruct((512,), jnp.int32)
  dims = (6, 12, 24, 48, 96, 192, 384, 768)

  def plain(z, kernel, bias, labels):
    return optax.softmax_cross_entropy_with_integer_labels(
      z @ kernel + bias[0], labels
    ).mean()

  def nested_loss(z, kernel, bias, labels):
    return softmax.tied(
      z,
      nested.Classifier(dims, kernel, bias),
      softmax.one_class(labels),
      (1.0,) * len(dims),
      jnp.full(512, 1 / 512),
      form='columns',
      tile=(256, 256),
    ).total

  def peak(loss):
    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    memory = step.lower(z, kernel, bias, labels).compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes

  assert peak(nested_loss) < 0.5 * peak(plain)


@pytest.mark.parametrize('platform', ['tpu', 'gpu'])
def test_kernels_serve_the_loss_on_one_device_and_on_eight(
  platform, monkeypatch
):
  """Interpreted; tests/test_kernels.py has the kernels alone."""
  module = fused_softmax.KERNELS[platform]
  interpreted = types.SimpleNamespace(
    statistics=functools.partial(module.statistics, interpret=True),
    gradients=functools.partial(module.gradients, interpret=True),
  )
  monkeypatch.setitem(fused_softmax.KERNELS, 'cpu', interpreted)
  for per_prefix in (False, True):
    args = problem(per_prefix, b=24, dtype=np.float32)
    expected = value_and_gradients(args, 'vmap', 0.1)
    for sizes in (None, (2, 2, 2)):
      mesh = sizes and sharding.make_mesh(*sizes)
      chex.assert_trees_all_close(
        value_and_gradients(args, 'pallas', 0.1, mesh),
        expected,
        rtol=1e-4,  # a sum of 160 float32 losses in another order
        atol=1e-4,
      )


def test_split_classes_are_on_no_device_together():
  """And devices exchange embeddings and numbers per row, nothing wider."""
  b, d, v = 64, 32, 4096
  mesh = sharding.make_mesh(1, 1, 8)
  dims = (8, 16, 32)
  rng = np.random.default_rng(0)
  z, kernel = rng.normal(size=(b, d)), rng.normal(size=(d, v)) / 8
  targets = softmax.one_class(jnp.asarray(rng.integers(0, v, b)))
  place = jax.sharding.NamedSharding
  kernel = jax.device_put(
    jnp.asarray(kernel, jnp.float32),
    place(mesh, jax.sharding.PartitionSpec(None, 'tensor')),
  )

  def total(z, kernel):
    classifier = nested.Classifier(dims, kernel, jnp.zeros((1, v)))
    return softmax.tied(
      z, classifier, targets, (1.0,) * 3, jnp.ones(b), form='columns', mesh=mesh
    ).total

  step = jax.jit(jax.grad(total, (0, 1)))
  hlo = step.lower(jnp.asarray(z, jnp.float32), kernel).compile().as_text()
  assert f'{b},{v}]' not in hlo and f'{v},{b}]' not in hlo
  sent = sum(kind['bytes'] for kind in costs.collectives(hlo).values())
  # The embedding's gradient, and two maxima, a sum and a label's logit per row
  # and prefix.
  assert 0 < sent <= 4 * (b * d + 4 * len(dims) * b)


@pytest.mark.parametrize(
  'form, said',
  [('fastest', 'must be one of auto, vmap'), ('pallas', "use 'columns'")],
)
def test_forms_that_cannot_serve_name_one_that_can(form, said):
  with pytest.raises(ValueError, match=said):
    value_and_gradients(problem(False, dtype=np.float32), form)


def test_a_form_is_chosen_by_shape_and_device():
  """Small logits are made at once; nothing holds a million classes' logits."""
  mesh = sharding.make_mesh(8, 1, 1)
  assert softmax.choose('auto', 4, 128, 10, mesh) == 'blocks'
  assert softmax.choose('auto', 9, 256, 1000, None) == 'rows'
  assert softmax.choose('auto', 8, 512, 21841, None) == 'columns'
  assert softmax.choose('auto', 1, 512, 21841, None) == 'columns'
  assert softmax.choose('auto', 7, 4096, 10**6, mesh) == 'columns'
  assert softmax.choose('rows', 4, 128, 10, mesh) == 'rows'


def test_cross_entropy_by_hand():
  logits = jnp.log(jnp.asarray([[1.0, 3.0], [1.0, 1.0]]))
  targets = jnp.asarray([[0.0, 1.0], [0.25, 0.75]])
  expected = jnp.asarray([np.log(4 / 3), np.log(2)])
  chex.assert_trees_all_close(
    softmax.cross_entropy(logits, targets), expected, rtol=1e-6
  )


def test_smoothed_targets_by_hand():
  one = softmax.dense(softmax.one_class(jnp.asarray([2])), 4, 0.2)
  chex.assert_trees_all_close(one, jnp.asarray([[0.05, 0.05, 0.85, 0.05]]))
  two = softmax.Targets(jnp.asarray([[0, 1]]), jnp.asarray([[0.5, 0.5]]))
  expected = jnp.asarray([[0.45, 0.45, 0.05, 0.05]])
  chex.assert_trees_all_close(softmax.dense(two, 4, 0.2), expected)
