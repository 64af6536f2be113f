"""Costs read off compiled programs, against small ones counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from mrl_jax import costs

HLO = """HloModule jit_step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%all-reduce-scatter.1 (input: f32[64,8]) -> f32[16,8] {
  %all-reduce.1 = f32[64,8]{1,0} all-reduce(%input), channel_id=1, to_apply=%add
  ROOT %slice = f32[16,8]{1,0} dynamic-slice(%all-reduce.1)
}

%piece.1 (p: bf16[4]) -> bf16[16] {
  ROOT %all-gather.1 = bf16[16]{0:T(8,128)(2,1)} all-gather(%p), channel_id=2
}

%piece.2 (p: bf16[4]) -> bf16[16] {
  ROOT %all-gather.2 = bf16[16]{0:T(8,128)(2,1)S(1)} all-gather(%p), channel_id=2
}

%body (carry: (f32[2])) -> (f32[2]) {
  %fusion.1 = bf16[16]{0} fusion(%x), kind=kCustom, calls=%piece.1
  %fusion.2 = bf16[16]{0} fusion(%x), kind=kCustom, calls=%piece.2
  ROOT %all-reduce.2 = (f32[2]{0}, /*index=1*/bf16[3,5]{1,0}) all-reduce(%x, %y), channel_id=3, to_apply=%add
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %while.1 = (f32[2]{0}) while(%tuple), condition=%test, body=%body, metadata={op_name="jit(step)/while"}
  %fusion.3 = f32[16,8]{1,0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
  %collective-permute-start.1 = (u8[6]{0}, u8[6]{0}, u32[]{:S(2)}) collective-permute-start(%z), channel_id=4
  %collective-permute-done.1 = u8[6]{0} collective-permute-done(%collective-permute-start.1)
  ROOT %all-to-all.1 = pred[7]{0} all-to-all(%w), channel_id=5
}
"""  # noqa: E501 (an instruction is a line)


def test_collectives_by_hand():
  assert costs.collectives(HLO) == {
    'all-reduce': {'count': 1, 'bytes': 2 * 4 + 15 * 2},
    'all-gather': {'count': 1, 'bytes': 32},
    'reduce-scatter': {'count': 1, 'bytes': 512},
    'collective-permute': {'count': 1, 'bytes': 6},
    'all-to-all': {'count': 1, 'bytes': 7},
  }


def test_collectives_of_the_step_s_loop_count_once_a_round():
  once, thrice = costs.collectives(HLO), costs.collectives(HLO, repeats=3)
  for kind in once:
    inside = kind in ('all-reduce', 'all-gather')
    for key, value in once[kind].items():
      assert thrice[kind][key] == value * (3 if inside else 1)


def test_collectives_of_a_real_program():
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
  rows = jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=where)
  compiled = jax.jit(lambda x: x.sum(0)).lower(rows).compile()
  traffic = costs.collectives(compiled.as_text())
  assert traffic['all-reduce'] == {'count': 1, 'bytes': 16}


def test_matmul_flops_by_hand():
  def step(x, kernel):  # x [3 5], kernel [5 5]
    def layer(x, _):
      return jax.checkpoint(lambda x: jnp.tanh(x @ kernel))(x), None

    x, _ = jax.lax.scan(layer, x, length=7)
    image = x.reshape(1, 1, 5, 3)
    filters = jnp.ones((1, 2, 3, 4))  # [h w in out]
    return x @ kernel, jax.lax.conv_general_dilated(
      image,
      filters,
      (1, 1),
      'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  jaxpr = jax.make_jaxpr(step)(jnp.ones((3, 5)), jnp.ones((5, 5)))
  matmul, convolution = 2 * 3 * 5 * 5, 2 * (1 * 4 * 4) * (1 * 2 * 3)
  assert costs.matmul_flops(jaxpr) == 8 * matmul + convolution
  assert costs.matmul_flops(jaxpr, loops=False) == 2 * matmul + convolution


def test_roofline_takes_what_binds():
  assert costs.roofline(2e12, 1e9, 1e12, 1e9) == {
    'flops_seconds': 2.0,
    'bandwidth_seconds': 1.0,
    'roofline_seconds': 2.0,
    'bound_by': 'flops',
  }
  assert costs.roofline(1e12, 3e9, 1e12, 1e9)['bound_by'] == 'bandwidth'


def test_a_program_too_large_names_what_it_needs():
  message = (
    'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required '
    'for HLO temporaries (34.5G) exceeds available HBM (15.75G).'
  )
  assert costs.hbm_needed(message) == 34.5 * 2**30
  with pytest.raises(RuntimeError, match='INTERNAL: other'):
    costs.hbm_needed('INTERNAL: other')
