"""Facts about data, known without reading it."""

import pytest

from mrl_jax.data import FACTS, SOURCES, prepared
from tests.samples import upstream


def shape(facts):
  """(classes, channels)."""
  return len(facts.classes), facts.fields['image']['channels']


def test_facts_are_those_of_the_data(tmp_path, photos):
  assert SOURCES.keys() == FACTS.keys()
  assert FACTS['digits']() == SOURCES['digits'](str(tmp_path)).facts
  assert shape(FACTS['cifar100'](path='nowhere')) == (100, 3)
  assert shape(FACTS['fashion_mnist']()) == (10, 1)
  classes = ('cat', 'dog', 'eel')
  upstream.image_tree(tmp_path / 'images', photos, classes, count=2)
  folder = FACTS['folder'](path=str(tmp_path / 'images'), channels=1)
  assert shape(folder) == (3, 1)


def test_facts_of_the_catalogue_need_no_data(tmp_path):
  facts = prepared.facts(str(tmp_path), 'imagenet2012', train='train')
  assert shape(facts) == (1000, 3)
  assert shape(prepared.facts(str(tmp_path), 'imagenet_resized/8x8')) == (
    1000,
    3,
  )
  with pytest.raises(ValueError, match="no prepared dataset 'mine'"):
    prepared.facts(str(tmp_path), 'mine')
