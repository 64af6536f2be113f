"""Every form of the contrastive losses is the definition's number."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import nested, sharding
from mrl_jax.losses import LOSSES, forms, pairs
from mrl_jax.losses.pairs import kinds, reference

TILES = [(7, 11), (512, 512)]
FORMS = ['reference', 'dense', 'tiled']


@pytest.mark.parametrize(
  'form, tile', [('dense', None), *(('tiled', tile) for tile in TILES)]
)
@pytest.mark.parametrize('plain', [True, False])
def test_forms_equal_the_definition_in_float64(small, kind, plain, form, tile):
  with jax.enable_x64(True):
    result = small.run(kind, small.make_plain_or_full(plain), form, tile=tile)
  expected = small.reference(kind, plain)
  chex.assert_trees_all_close(result, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
  'form',
  ['reference', 'dense', pytest.param('tiled', marks=pytest.mark.slow)],
)
def test_edges_are_finite(small, kind, form):
  """Zero vectors, a scale of 1000, keys that all show the same, one row."""
  case = small.make(4, per_prefix=False)
  different, b = np.arange(len(case.keys)), len(case.rows)
  case = case._replace(scale=np.ones(1), ids=different)
  keys = np.concatenate([-case.queries, case.keys[b:]])
  opposite = case._replace(keys=keys, scale=np.full(1, 1000.0))
  first = case.queries[:1], case.keys[:1], *case[2:4], different[:1]
  step = small.step_of(kind, form, tile=(7, 11))

  def losses(*arguments):
    (total, result), gradients = step(*arguments)
    assert np.isfinite(total) and np.isfinite(result.losses).all()
    for gradient in gradients:
      assert np.isfinite(gradient).all()
    return result.losses

  losses(*case._replace(queries=case.queries * 0))
  losses(*case._replace(ids=0 * different))
  # Cosines of -1 against ones near 0: the loss is about 1000, not infinite.
  assert float(losses(*opposite)[-1].min()) > 900
  alone = losses(*first, case.rows[:1])
  if kind != 'sigmoid':
    np.testing.assert_allclose(alone, 0, atol=1e-6)


@pytest.mark.parametrize('form', FORMS)
def test_a_tie_is_no_hit(small, form):
  """An encoder that has collapsed finds nothing."""
  case = small.make(0, repeats=False)
  same = case._replace(queries=case.queries * 0 + 1, keys=case.keys * 0 + 1)
  (_, result), _ = small.run('one way', same, form)
  assert not result.hits.any()


def test_minus_the_loss_and_scales_of_any_sign(small, kind):
  """A scale of 0 and one below it; a scale of 100 with rows that fill up."""
  with jax.enable_x64(True):
    case = small.make(0, repeats=False)
    case = case._replace(scale=case.scale * np.asarray([1, 0, -1]))
    far = case._replace(keys=-case.queries, scale=np.full(3, 100.0))
    dense = small.step_of(kind, 'dense', sign=-1)
    tiled = small.step_of(kind, 'tiled', tile=(5, 7), sign=-1)
    for arguments in (case, far):
      chex.assert_trees_all_close(
        tiled(*arguments), dense(*arguments), rtol=1e-9, atol=1e-9
      )


def test_bfloat16_is_summed_in_float32(small, kind):
  case = small.make()
  short = [jnp.asarray(x, jnp.bfloat16) for x in case[:2]]
  (_, result), gradients = small.run(kind, (*short, *case[2:]), 'tiled')
  wide = [x.astype(jnp.float32) for x in short]
  (_, expected), _ = small.run(kind, (*wide, *case[2:]), 'reference')
  np.testing.assert_allclose(
    result.losses, expected.losses, rtol=1e-4, atol=1e-4
  )
  assert gradients[0].dtype == jnp.bfloat16
  assert result.losses.dtype == jnp.float32


def test_a_shorter_last_prefix_reads_no_more_of_the_vectors():
  rng = np.random.default_rng(0)
  queries, keys = jnp.asarray(rng.normal(size=(2, 5, 16)))

  def total(queries, keys, dims):
    return pairs.InfoNCE()(
      queries,
      pairs.Targets(keys, jnp.ones(1)),
      nested.Granularities(dims, jnp.ones(len(dims))),
      jnp.ones(5),
    ).total

  cut = total(queries[:, :8], keys[:, :8], (4, 8))
  np.testing.assert_allclose(total(queries, keys, (4, 8)), cut, rtol=1e-6)
  with pytest.raises(ValueError, match='end at the width 16'):
    total(queries, keys, (4, 17))


def test_what_does_not_fit_together_is_named(small):
  case = small.make()
  b = len(case.rows)

  def run(case, mesh=None, kind='one way'):
    small.run(kind, case, 'tiled', mesh)

  mesh = sharding.make_mesh(8, 1, 1)
  with pytest.raises(ValueError, match='23 queries do not divide.*dense'):
    run(case, mesh)
  with pytest.raises(ValueError, match='5 negatives do not divide'):
    run(small.make(5, b=24), mesh)
  with pytest.raises(ValueError, match='give ids of keys and of negatives'):
    run(case._replace(ids=case.ids[:b]))
  with pytest.raises(ValueError, match='3 keys for 23 queries'):
    run(case._replace(keys=case.keys[:3], ids=None))
  with pytest.raises(ValueError, match='must be one of auto, tiled, dense'):
    LOSSES['sigmoid'](form='fast')
  case = jax.tree.map(jnp.asarray, case)
  targets = pairs.Targets(case.keys[:b], case.scale, case.bias)
  granularities = nested.Granularities((4, 32), jnp.ones(3))
  with pytest.raises(ValueError, match='3 weights for dims'):
    LOSSES['sigmoid']()(case.queries, targets, granularities, case.rows)
  with pytest.raises(ValueError, match='a bias changes nothing'):
    LOSSES['info_nce']()(case.queries, targets, granularities, case.rows)


def test_a_form_is_chosen_by_shape_and_device():
  def chosen(b, mesh=None):
    vectors = jax.ShapeDtypeStruct((b, 8), jnp.float32)
    problem = reference.Problem(vectors, vectors, *[None] * 5)
    setting = reference.Setting((2, 4, 8), kinds.ONE_WAY, mesh, (8, 8))
    return forms.choose(pairs.FORMS, 'auto', problem, setting)

  mesh = sharding.make_mesh(8, 1, 1)
  assert chosen(128) == 'dense'
  assert chosen(2048) == 'tiled'
  assert chosen(2048, mesh) == 'tiled'
  # Queries that do not divide over the devices are left to XLA.
  assert chosen(2049, mesh) == 'dense'
