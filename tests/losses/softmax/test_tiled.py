"""What only tiles can get wrong: empty rows, operations, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrl_jax import costs, nested
from mrl_jax.losses import softmax


def test_rows_that_fill_up_a_chunk_leave_no_trace(small):
  """exp(bias) overflows where a row is empty; its gradient stays 0."""
  case = small.make(False, dtype=np.float32)
  case = case._replace(bias=case.bias + 1000)
  _, gradients = small.run(case, 'tiled', tile=(5, 7))
  _, expected = small.run(case, 'dense')
  for a, b in zip(gradients[:3], expected):
    # Logits of 1000 have a rounding of 6e-5 in float32.
    np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def test_products_of_all_prefixes_are_those_of_the_widest(small):
  """Counted in the program: 6bdv, or 8bdv where logits are made twice."""
  case = small.make(False, dtype=np.float32)
  (b, d), v = case.embedding.shape, case.kernel.shape[1]

  def count(form, dims):
    step = small.step_of(softmax.Softmax(form=form), dims)
    jaxpr = jax.make_jaxpr(step)(*case[:-1])
    return costs.matmul_flops(jaxpr.jaxpr)

  assert count('dense', (d,)) == 6 * b * d * v
  assert count('dense', case.dims) == 6 * b * d * v
  # Every prefix anew, and the weighted sum of their losses.
  g = len(case.dims)
  whole = g * (6 * b * d * v + 4 * b)
  assert count('reference', case.dims) == whole
  picked = 2 * b * 2 * d
  assert count('tiled', case.dims) == 8 * b * d * v + picked


@pytest.mark.slow
def test_tiles_need_less_than_half_the_memory_of_the_plain_loss():
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
    classifier = nested.Classifier(dims, kernel, bias)
    shares = jnp.ones((512, 1))
    return softmax.Softmax(form='tiled', tile=(256, 256))(
      z,
      softmax.Targets([classifier], labels[:, None], shares),
      nested.Granularities(dims, jnp.ones(len(dims))),
      jnp.full(512, 1 / 512),
    ).total

  def peak(loss):
    step = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    memory = step.lower(z, kernel, bias, labels).compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes

  assert peak(nested_loss) < 0.5 * peak(plain)
