"""Every form of the nested softmax loss is the definition's number."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import nested, sharding
from mrl_jax.losses import LOSSES, forms, softmax
from mrl_jax.losses.softmax import reference

# Small tiles that divide nothing, and one tile for all.
TILES = [(7, 11), (512, 512)]
FORMS = ['reference', 'dense', 'tiled']


@pytest.mark.parametrize(
  'form, tile', [('dense', None), *(('tiled', tile) for tile in TILES)]
)
@pytest.mark.parametrize(
  'per_prefix, smoothing', list(itertools.product([False, True], [0.0, 0.1]))
)
def test_forms_equal_the_definition_in_float64(
  small, per_prefix, smoothing, form, tile
):
  with jax.enable_x64(True):
    result = small.run(small.make(per_prefix), form, smoothing, tile=tile)
  expected = small.reference(per_prefix, smoothing)
  chex.assert_trees_all_close(result, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('form', FORMS)
def test_several_classifiers_are_a_sum(small, form):
  with jax.enable_x64(True):
    case = small.make()
    single = [
      case._replace(
        dims=(m,),
        kernel=case.kernel[:m] * (g + 1),
        bias=case.bias[g : g + 1],
        scale=None,
      )
      for g, m in enumerate(case.dims)
    ]
    loss = softmax.Softmax(form=form, tile=(7, 11))

    @jax.jit
    def apply(embedding, parameters, labels, shares, rows):
      classifiers = [
        nested.Classifier(c.dims, *p) for c, p in zip(single, parameters)
      ]
      targets = softmax.Targets(classifiers, labels, shares)
      weights = jnp.asarray(small.weights)
      granularities = nested.Granularities(case.dims, weights)
      return loss(embedding, targets, granularities, rows)

    result = apply(case[0], [c[1:4] for c in single], *case[4:-1])
    losses = np.concatenate([small.naive(c) for c in single])
    np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
    total = np.asarray(small.weights) @ losses @ case.rows
    np.testing.assert_allclose(result.total, total, rtol=1e-12)


def call(form, embedding, classifier, labels, weights, rows):
  """The loss of one label per row."""
  return softmax.Softmax(form=form)(
    embedding,
    softmax.Targets([classifier], labels[:, None], jnp.ones((len(labels), 1))),
    nested.Granularities(classifier.dims, jnp.asarray(weights)),
    rows,
  )


@pytest.mark.parametrize('form', FORMS)
def test_hits_losses_and_total_by_hand(form):
  # Two classes, two prefixes: the second coordinate turns the answer around.
  kernel = jnp.asarray([[1.0, 0.0], [0.0, 2.0]])
  classifier = nested.Classifier((1, 2), kernel, jnp.zeros((1, 2)))
  z, labels = jnp.asarray([[1.0, 1.0], [0.0, 0.0]]), jnp.asarray([0, 1])
  rows = jnp.asarray([1.0, 0.0])
  result = call(form, z, classifier, labels, (1.0, 10.0), rows)
  first, second = np.log(1 + np.exp(-1)), np.log(1 + np.exp(1))
  expected = [[first, np.log(2)], [second, np.log(2)]]
  np.testing.assert_allclose(result.losses, expected, rtol=1e-6)
  np.testing.assert_allclose(result.total, first + 10 * second, rtol=1e-6)
  # A tie is no hit: an encoder that has collapsed is never right.
  np.testing.assert_array_equal(result.hits, [[True, False], [False, False]])


@pytest.mark.parametrize('form', FORMS)
def test_rows_with_a_label_outside_the_classes_are_left_out(small, form):
  with jax.enable_x64(True):
    case = small.make(False)
    case.labels[3, 0], case.labels[5, 1] = -1, case.kernel.shape[1]
    (total, result), gradients = small.run(case, form, 0.1)
    keep = np.delete(np.arange(len(case.rows)), [3, 5])
    fewer = case._replace(
      **{
        name: getattr(case, name)[keep]
        for name in ('embedding', 'labels', 'shares', 'rows')
      }
    )
    (expected_total, _), expected = small.run(fewer, form, 0.1)
    np.testing.assert_allclose(total, expected_total, rtol=1e-12)
    np.testing.assert_allclose(gradients[0][keep], expected[0], rtol=1e-9)
    chex.assert_trees_all_close(gradients[1:], expected[1:], rtol=1e-9)
    for row in (3, 5):
      assert not gradients[0][row].any() and not result.losses[:, row].any()
      assert not result.hits[:, row].any()


@pytest.mark.parametrize('form', FORMS)
def test_a_row_that_is_left_out_may_name_an_impossible_class(small, form):
  case = small.make(False, dtype=np.float32)
  case.bias[:, 7] = -np.inf
  case = case._replace(labels=np.where(case.labels == 7, 8, case.labels))
  case.labels[3] = 7, -1
  (total, result), gradients = small.run(case, form)
  assert np.isfinite(total) and np.isfinite(result.losses).all()
  for gradient in gradients[:3]:
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
  'form',
  ['reference', 'dense', pytest.param('tiled', marks=pytest.mark.slow)],
)
def test_edges_are_finite_and_right(small, form):
  """Zero embeddings, a scale of 1000; one row; one dim."""
  case = small.make()
  first = case._replace(
    embedding=case.embedding[:1],
    labels=case.labels[:1],
    shares=case.shares[:1],
    rows=case.rows[:1],
  )
  loss = softmax.Softmax(form=form, tile=(9, 7))
  nested_step = small.step_of(loss, case.dims)
  cases = [
    (nested_step, case._replace(embedding=case.embedding * 0)),
    (nested_step, case._replace(scale=case.scale * 1000)),
    (nested_step, first),
    (
      small.step_of(loss, case.dims[-1:]),
      case._replace(
        bias=case.bias[:1], scale=case.scale[:1], dims=case.dims[-1:]
      ),
    ),
  ]
  with jax.enable_x64(True):
    for step, edge in cases:
      (_, result), gradients = step(*edge[:-1])
      losses = small.naive(edge)
      np.testing.assert_allclose(result.losses, losses, rtol=1e-9, atol=1e-9)
      for gradient in gradients:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize('form', ['dense', 'tiled'])
def test_narrow_labels_are_not_cut_short(small, form):
  case = small.make(False, v=256, dtype=np.float32)
  labels = np.arange(len(case.rows))[:, None] + np.asarray([200, 0])
  wide = case._replace(labels=labels)
  short = case._replace(labels=labels.astype(np.uint8))
  results = [small.run(x, form)[0][1] for x in (wide, short)]
  assert results[0].total > 1
  chex.assert_trees_all_close(*results)


@pytest.mark.parametrize('form', FORMS)
def test_one_dim_is_the_plain_loss(small, form):
  case = small.make(False, dtype=np.float32)
  labels, d = jnp.asarray(case.labels[:, 0]), case.dims[-1]
  rows = jnp.asarray(case.rows)

  def plain(z, kernel, bias):
    logits = z @ kernel + bias
    own = logits[np.arange(len(z)), labels]
    losses = jax.nn.logsumexp(logits, -1) - own
    return jnp.sum(losses * rows)

  def one_dim(z, kernel, bias):
    classifier = nested.Classifier((d,), kernel, bias)
    return call(form, z, classifier, labels, (1.0,), rows).total

  given = case.embedding, case.kernel, case.bias
  found = [
    jax.jit(jax.value_and_grad(f, (0, 1, 2)))(*given) for f in (one_dim, plain)
  ]
  chex.assert_trees_all_close(*found, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize('form', ['dense', 'tiled'])
@pytest.mark.parametrize('kind', [jnp.bfloat16, jnp.float16])
def test_narrow_inputs_are_summed_in_float32(small, form, kind):
  """Equal to float32 on the same rounded inputs, at large logits too."""
  case = small.make(False, dtype=np.float32)
  case = case._replace(scale=np.full(len(case.dims), 100.0, np.float32))
  names = 'embedding', 'kernel', 'bias'
  short = {name: jnp.asarray(getattr(case, name), kind) for name in names}
  back = {name: x.astype(jnp.float32) for name, x in short.items()}
  (total, result), gradients = small.run(case._replace(**short), form, 0.1)
  (wide_total, wide), expected = small.run(
    case._replace(**back), 'reference', 0.1
  )
  assert result.losses.dtype == jnp.float32
  np.testing.assert_allclose(result.losses, wide.losses, rtol=2e-5, atol=1e-3)
  np.testing.assert_allclose(total, wide_total, rtol=2e-5)
  for a, b in zip(gradients[:3], expected[:3]):
    assert a.dtype == kind
    # Rounded once, at the end.
    error = jnp.abs(a.astype(jnp.float32) - b).max() / jnp.abs(b).max()
    assert error < 1 / 128


def test_minus_the_loss_has_minus_the_gradients(small):
  with jax.enable_x64(True):
    expected = small.run(small.make(), 'reference', 0.1, sign=-1)
    result = small.run(small.make(), 'tiled', 0.1, tile=(7, 11), sign=-1)
    chex.assert_trees_all_close(result, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(form='fastest'), "form='fastest' must be one of auto, tiled, dense"),
    (dict(label_smoothing=1.0), r'label_smoothing=1.0 must be in \[0, 1\)'),
    (dict(tile=(0, 8)), r'tile=\(0, 8\) must be two sizes of at least 1'),
  ],
)
def test_wrong_options_are_named_when_it_is_built(options, message):
  with pytest.raises(ValueError, match=message):
    LOSSES['softmax'](**options)


def test_wrong_dims_and_numbers_of_weights_are_named(small):
  case = small.make(False)
  case = type(case)(*jax.tree.map(jnp.asarray, tuple(case[:-1])))
  classifier = nested.Classifier(case.dims, *case[1:4])
  targets = softmax.Targets([classifier] * 2, case.labels, case.shares)

  def apply(dims, count, targets=targets):
    granularities = nested.Granularities(dims, jnp.ones(count))
    return softmax.Softmax()(case.embedding, targets, granularities, case.rows)

  with pytest.raises(ValueError, match='and 3 weights; give each prefix'):
    apply(case.dims * 2, 3)
  with pytest.raises(ValueError, match=r'dims=\(4, 8, 32\) and 6 weights'):
    apply(case.dims, 6)
  wrong = targets._replace(classifiers=[classifier._replace(dims=(4, 8))])
  with pytest.raises(ValueError, match='end at the width 32'):
    apply((4, 8), 2, wrong)


def chosen(prefixes, rows, classes, mesh=None):
  """The form that 'auto' takes, from shapes alone."""
  shapes = (rows, 8), (8, classes)
  arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  problem = reference.Problem(*arrays, *[None] * 4)
  dims = tuple(range(1, prefixes + 1))
  setting = reference.Setting(dims, 0.0, mesh, (8, 8))
  return forms.choose(softmax.FORMS, 'auto', problem, setting)


def test_a_form_is_chosen_by_shape_and_device():
  """Small logits are made at once; nothing holds a million classes' logits."""
  mesh = sharding.make_mesh(8, 1, 1)
  assert chosen(4, 128, 10, mesh) == 'dense'
  assert chosen(9, 256, 1000) == 'tiled'
  assert chosen(8, 512, 21841) == 'tiled'
  assert chosen(1, 512, 21841) == 'tiled'
  assert chosen(7, 4096, 10**6, mesh) == 'tiled'
  # Rows that do not divide over the devices are left to XLA.
  assert chosen(7, 4097, 10**6, mesh) == 'dense'
