"""Every row of LOSSES keeps the contract, and the page on it runs."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mrl_jax import nested
from mrl_jax.losses import LOSSES, pairs, softmax


@pytest.mark.parametrize('name', LOSSES)
def test_every_loss_returns_a_nested_loss_of_all_prefixes(name):
  b, dims, keys = 5, (2, 6), jax.random.split(jax.random.key(0), 2)
  embedding, other = (jax.random.normal(key, (b, 6)) for key in keys)
  targets = pairs.Targets(other, jnp.ones(1))
  if name == 'softmax':
    classifier = nested.Classifier(dims, other.T, jnp.zeros((1, b)))
    labels = jnp.arange(b)[:, None]
    targets = softmax.Targets([classifier], labels, jnp.ones((b, 1)))
  weights, rows = jnp.asarray([1.0, 3.0]), jnp.arange(5.0)

  def total(embedding):
    granularities = nested.Granularities(dims, weights)
    result = LOSSES[name]()(embedding, targets, granularities, rows)
    assert isinstance(result, nested.Loss)
    assert result.losses.shape == result.hits.shape == (2, b)
    return result.total, result.losses

  value, losses = jax.jit(total)(embedding)
  assert jnp.allclose(value, weights @ losses @ rows)
  slope, nothing = jax.jit(jax.jacobian(total))(embedding)
  assert jnp.abs(slope).max() > 0 and not nothing.any()


def test_the_example_of_the_page_runs():
  page = Path('docs/losses.md').read_text(encoding='utf-8')
  (example,) = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
  names = {}
  exec(example, names)
  assert names['result'].losses.shape == (2, 4)
