"""Chips of a TPU slice, as libtpu describes them."""

import pytest

from mrl_jax import chips


@pytest.mark.parametrize(
  ('topology', 'count', 'example'),
  [('v5e:1x1', 1, 'v5e'), ('v4:2x2x2', 8, 'v4'), ('v6e:16x16', 256, 'v6e')],
)
def test_a_device_is_a_chip(topology, count, example):
  pytest.importorskip('libtpu')
  assert len(chips.devices(topology)) == count
  assert chips.find(topology) is chips.CHIPS[example]


def test_a_slice_that_cannot_be_is_refused():
  pytest.importorskip('libtpu')
  with pytest.raises(ValueError, match='v5e:3x3.*it must be a chip'):
    chips.devices('v5e:3x3')
