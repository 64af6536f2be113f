"""Where a model looks: shares of a logit, patch by patch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax import contracts, heads
from mrl_jax.encoders import vit
from mrl_jax.inputs import image
from mrl_jax.tasks import classify
from mrl_jax.variables import Variables

DIMS = (4, 8, 32)
SIDE, CLASSES = 8, 6
RNG = np.random.default_rng(0)


@functools.cache
def make_task(pool='gap', head='mrl', size=SIDE):
  """(task, variables); no parameter is 0 or 1, as some start."""
  options = dict(width=32, depth=1, heads=2, patch_size=2, pool=pool)
  extra = {'per_prefix': True} if head == 'mrl_e' else {}
  spec = contracts.Spec(
    {'image': image.Image(size, mean=(0.4,), std=(0.3,), channels=1)},
    tuple('abcdef'),
    functools.partial(vit.ViT, 'tiny', **options),
  )
  make_head = functools.partial(heads.HEADS[head], **extra)
  task = classify.Classify(spec, DIMS, (1.0,) * 3, head=make_head)
  shapes, stats = jax.eval_shape(task.init, jax.random.key(0))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(0.2, 0.4, x.shape), jnp.float32), shapes
  )
  assert not jax.tree.leaves(stats)
  return task, Variables(params, stats)


def jitted(function):
  return jax.jit(function, static_argnums=3)


IMAGES = RNG.integers(0, 256, (3, SIDE, SIDE, 1)).astype(np.uint8)
BATCH = {'image': jnp.asarray(IMAGES)}

WANTED = jnp.array([5, 0, 2])


@pytest.mark.parametrize('head', ['mrl', 'mrl_e', 'ff'])
def test_patches_add_up_to_the_logit(head):
  task, variables = make_task(head=head)
  dims = (2, *DIMS)  # 2 was not trained
  scores = jitted(task.token_scores)(variables, BATCH, WANTED, dims)
  assert scores.shape == (4, 3, 16)

  @jax.jit
  def logit_and_bias(variables):
    z = task.embed(variables, BATCH)
    logits = task.logits(variables, z, dims)
    return logits, task.logits(variables, jnp.zeros_like(z), dims)

  logits, without = logit_and_bias(variables)
  rows = np.arange(3)
  expected = (logits - without)[:, rows, WANTED]
  # Sums over tokens before or after the product with the kernel.
  np.testing.assert_allclose(scores.mean(-1), expected, atol=1e-4)
  assert np.abs(expected).max() > 0.1


def encoder_of(task, variables):
  return task.parts['encoder'].module(variables.part('encoder'))


def tokens_of(task, variables):
  def tokens(variables):
    encoder = encoder_of(task, variables)
    return encoder.tokens((jnp.asarray(IMAGES) / 255 - 0.4) / 0.3)

  return jax.jit(tokens)(variables)


def test_class_activation_by_hand():
  task, variables = make_task()
  scores = jitted(task.token_scores)(variables, BATCH, WANTED, DIMS)
  tokens = tokens_of(task, variables)
  for g, m in enumerate(DIMS):
    kernel = variables.params['head']['classifiers'][g]['kernel']
    expected = np.einsum('bnm,mb->bn', tokens[..., :m], kernel[:, WANTED])
    np.testing.assert_allclose(scores[g], expected, atol=1e-4)


@pytest.mark.parametrize('pool', vit.POOLS)
def test_nothing_beyond_the_prefix_matters(pool):
  task, variables = make_task(pool, 'mrl_e')
  look, params = jitted(task.saliency), variables.params
  before = look(variables, BATCH, WANTED, DIMS)
  kernel = params['head']['kernel']
  kernel = kernel.at[8:].multiply(RNG.normal(size=(24, 1)))
  changed = params | {'head': params['head'] | {'kernel': kernel}}
  after = look(variables._replace(params=changed), BATCH, WANTED, DIMS)
  np.testing.assert_array_equal(before[:2], after[:2])
  assert np.abs(before[2] - after[2]).max() > 1e-3


@pytest.mark.parametrize('pool', vit.POOLS)
def test_tokens_lead_to_the_embedding(pool):
  task, variables = make_task(pool)

  @jax.jit
  def both_ways(variables):
    encoder = encoder_of(task, variables)
    x = jnp.asarray(IMAGES, jnp.float32) / 255
    tokens = encoder.tokens(x)
    return tokens, encoder.from_tokens(tokens), encoder(x)

  tokens, led, expected = both_ways(variables)
  assert tokens.shape == (3, 16 + (pool == 'cls'), 32)
  np.testing.assert_allclose(led, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('pool', ['map', 'cls'])
def test_scores_are_first_order_shares(pool):
  """A token scaled by 1 + e moves the logit by e * its score / tokens."""
  task, variables = make_task(pool)
  look = jitted(task.token_scores)
  scores = look(variables, BATCH, WANTED, (8,))[0]
  tokens = tokens_of(task, variables)
  first = pool == 'cls'

  @jax.jit
  def logit(n, scale):
    encoder = encoder_of(task, variables)
    z = encoder.from_tokens(tokens.at[:, n + first].multiply(scale))
    return task.logits(variables, z, (8,))[0, np.arange(3), WANTED]

  for n in (0, 7, 15):
    slope = (logit(n, 1.01) - logit(n, 0.99)) / 0.02 * tokens.shape[1]
    # A difference of float32 logits over a step of 0.02.
    np.testing.assert_allclose(scores[:, n], slope, rtol=0.02, atol=0.02)


def test_maps_are_drawn_where_the_patches_are(monkeypatch):
  task, variables = make_task(size=(8, 4))
  images = RNG.integers(0, 256, (2, 8, 4, 1)).astype(np.uint8)
  scores = np.full((1, 2, 8), -1.0)
  scores[0, 0, 5] = 3.0  # third row of patches, second column
  monkeypatch.setattr(task, 'token_scores', lambda *_: jnp.asarray(scores))
  found = task.saliency(
    variables, {'image': jnp.asarray(images)}, jnp.zeros(2, int), (4,)
  )
  found = np.asarray(found)
  assert found.shape == (1, 2, 8, 4)
  assert found.min() == 0 and found[0, 0].max() == 1
  y, x = np.unravel_index(found[0, 0].argmax(), (8, 4))
  assert 4 <= y < 6 and 2 <= x < 4
  assert (found[0, 1] == 0).all()  # nothing speaks for it
