"""The table of a plan, against one made up."""

import re

from mrl_jax import chips
from mrl_jax.report import plans

PARTS = ('parameters optimizer average batch other temporaries program').split()


def test_the_table_by_hand():
  def step(scale):
    return {
      'memory': dict.fromkeys(PARTS, 0)
      | {'total': scale * 2**30, 'share': scale / 16, 'fits': True},
      'flops': scale * 1e12,
      'matmul_flops': scale * 1e12,
      'bytes_accessed': 2**20,
      'flops_seconds': 0.0125 * scale,
      'bandwidth_seconds': 0.001,
      'roofline_seconds': 0.0125 * scale,
      'bound_by': 'flops',
      'collectives': {'all-reduce': {'count': 3, 'bytes': 2048}},
    }

  text = plans.text(
    {
      'topology': 'v5e:4x4',
      'chips': 16,
      'chip': vars(chips.CHIPS['v5e']),
      'mesh': {'data': 16, 'fsdp': 1},
      'batch_size': 1024,
      'steps': {'mrl': step(3), 'ff': step(2)},
      'largest_batch': {'size': 4096},
      'run': {'steps': 9600, 'hours': 0.1, 'chip_hours': 1.6},
    }
  )
  assert 'fits: 3 GiB, 18.8% of the usable' in text
  assert 'roofline 37.5 ms a step, bound by flops: 27,307 examples/s' in text
  assert 'largest global batch that fits: 4,096' in text
  assert 'roofline: 9,600 steps, 0.1 hours, 1.6 chip-hours' in text
  assert re.search(r'\n  total +3 GiB +2 GiB +1\.5000\n', text)
  assert re.search(r'\n  FLOPs +3 TFLOP +2 TFLOP +1\.5000\n', text)
  assert re.search(r'\n  FLOPs at the peak +37\.5 ms +25 ms +1\.5000\n', text)
  assert re.search(r'\n  all-reduce +3, 2 KiB +3, 2 KiB$', text)
