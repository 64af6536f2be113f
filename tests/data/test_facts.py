"""Facts about data, known without reading it."""

import pytest

from mrl_jax.data import FACTS, SOURCES, prepared, source
from tests.samples import upstream


def test_facts_are_those_of_the_data(tmp_path, photos):
  assert SOURCES.keys() == FACTS.keys()
  assert FACTS['digits']() == SOURCES['digits'](str(tmp_path)).facts
  assert FACTS['cifar100'](path='nowhere') == source.Facts(100, 3)
  assert FACTS['fashion_mnist']() == source.Facts(10, 1)
  classes = ('cat', 'dog', 'eel')
  upstream.image_tree(tmp_path / 'images', photos, classes, count=2)
  folder = FACTS['folder'](path=str(tmp_path / 'images'), channels=1)
  assert folder == source.Facts(3, 1)


def test_facts_of_the_catalogue_need_no_data(tmp_path):
  facts = prepared.facts(str(tmp_path), 'imagenet2012', train='train')
  assert facts == source.Facts(1000, 3)
  assert prepared.facts(str(tmp_path), 'imagenet_resized/8x8').classes == 1000
  with pytest.raises(ValueError, match="no prepared dataset 'mine'"):
    prepared.facts(str(tmp_path), 'mine')
