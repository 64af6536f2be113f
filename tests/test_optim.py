"""Schedules by hand; decay by parameter kind; every optimizer learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrl_jax import optim


@pytest.mark.parametrize(
  ('kind', 'expected'),
  [
    ('cosine', [0, 0.5, 1, 0.5, 0]),
    ('linear', [0, 0.5, 1, 0.5, 0]),
    ('constant', [0, 0.5, 1, 1, 1]),
  ],
)
def test_schedules(kind, expected):
  schedule = optim.make_schedule(kind, 1.0, 10, 30)
  values = [float(schedule(step)) for step in (0, 5, 10, 20, 30)]
  np.testing.assert_allclose(values, expected, atol=1e-6)


def test_cosine_is_not_linear_between():
  schedule = optim.make_schedule('cosine', 1.0, 0, 30)
  assert float(schedule(10)) == pytest.approx((1 + np.cos(np.pi / 3)) / 2)


@pytest.mark.parametrize('warmup', [30, 40, -1])
def test_warmup_beyond_the_run(warmup):
  with pytest.raises(ValueError, match=f'warmup_steps={warmup}'):
    optim.make_schedule('cosine', 1.0, warmup, 30)


def test_decay_by_kind():
  params = {
    'bn_lookalike': {'kernel': jnp.ones(2), 'bias': jnp.ones(2)},
    'norm': {'scale': jnp.ones(2)},
    'positions': jnp.ones(2),
  }
  assert optim.decay_mask(params) == {
    'bn_lookalike': {'kernel': True, 'bias': False},
    'norm': {'scale': False},
    'positions': False,
  }
  with pytest.raises(ValueError, match="'mystery' is in neither"):
    optim.decay_mask({'mystery': jnp.ones(1)})


def test_weight_decay_shrinks_kernels_only_by_lr_times_decay():
  params = {'kernel': jnp.ones(3), 'bias': jnp.ones(3)}
  tx = optim.make_optimizer('adamw', lambda _: 0.1, weight_decay=0.5)
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(zero, tx.init(params), params)
  np.testing.assert_allclose(updates['kernel'], -0.05, rtol=1e-6)
  np.testing.assert_allclose(updates['bias'], 0)


def test_sgd_decay_enters_the_momentum():
  params = {'kernel': jnp.ones(1)}
  tx = optim.make_optimizer('sgd', lambda _: 0.1, weight_decay=0.5)
  zero = jax.tree.map(jnp.zeros_like, params)
  carry = tx.init(params)
  for expected in (-0.05, -0.05 * 1.9):
    updates, carry = tx.update(zero, carry, params)
    np.testing.assert_allclose(updates['kernel'], expected, rtol=1e-6)


def test_clipping_bounds_the_update():
  params = {'kernel': jnp.ones(4)}
  tx = optim.make_optimizer('sgd', lambda _: 1.0, clip_norm=2.0)
  updates, _ = tx.update({'kernel': jnp.full(4, 9.0)}, tx.init(params), params)
  assert float(optax.tree.norm(updates)) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize('name', optim.OPTIMIZERS)
def test_each_optimizer_lowers_a_quadratic(name):
  params = {'kernel': jnp.linspace(1, 2, 256).reshape(16, 16)}
  tx = optim.make_optimizer(name, lambda _: 0.02, weight_decay=0.01)
  loss = lambda p: jnp.sum(p['kernel'] ** 2)  # noqa: E731
  carry, first = tx.init(params), float(loss(params))

  @jax.jit
  def step(params, carry):
    updates, carry = tx.update(jax.grad(loss)(params), carry, params)
    return optax.apply_updates(params, updates), carry

  for _ in range(40):
    params, carry = step(params, carry)
  assert float(loss(params)) < 0.5 * first


def test_unknown_names_list_the_known():
  with pytest.raises(ValueError, match="'adam' is not one of adamw, sgd"):
    optim.make_optimizer('adam', lambda _: 1.0)
  with pytest.raises(ValueError, match='optim.options.beta1 .* b1, b2, eps'):
    optim.make_optimizer('adamw', lambda _: 1.0, beta1=0.9)
