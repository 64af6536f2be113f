"""Records become arrays; what fails is named by source and index."""

import io

import numpy as np
import pytest
from PIL import Image

from mrl_jax import sharding
from mrl_jax.contracts import Facts
from mrl_jax.data import examples, feed, source
from mrl_jax.errors import UsageError
from mrl_jax.inputs import image
from tests.samples.pieces import VOCABULARY, Tokens, pairs


class Jpegs:
  """JPEG bytes, decoded when read."""

  def __init__(self, files):
    self.files = files

  def __len__(self):
    return len(self.files)

  def __getitem__(self, index):
    with Image.open(io.BytesIO(self.files[index])) as picture:
      pixels = np.asarray(picture)
    return {'image': pixels, 'label': 0}


def jpeg(mode):
  data = io.BytesIO()
  Image.new(mode, (9, 7)).save(data, 'JPEG')
  return data.getvalue()


def make_feed(records, **inputs):
  facts = Facts({name: {} for name in inputs}, ('only',))
  loading = feed.Loading('photos', 0, 8, 8, 1, 0)
  data = source.Split(records, records, facts)
  return feed.Feed(data, inputs, sharding.make_mesh(), loading)


COLOUR = image.Image(4, channels=3)


@pytest.mark.parametrize(
  ('bad', 'said'),
  [
    (jpeg('L'), r"record 3 of photos \(.*\), field 'image': .* is \[7, 9\]"),
    (jpeg('CMYK'), r"photos \(.*\), field 'image': .* is \[7, 9, 4\]"),
    (b'not an image', r'record 3 of photos \(.*\) cannot be read: cannot id'),
  ],
)
def test_a_record_that_fails_is_named(bad, said):
  files = [jpeg('RGB')] * 8
  files[3] = bad
  batches = make_feed(Jpegs(files), image=COLOUR)
  with pytest.raises(UsageError, match=said) as error:
    list(batches.batches('validation'))
  assert len(str(error.value).splitlines()) == 1
  with pytest.raises(UsageError, match=said) as error:
    next(batches.training(0))
  assert len(str(error.value).splitlines()) == 1


def test_a_record_that_lacks_a_field_is_named():
  batches = make_feed([{'label': 1}] * 8, image=COLOUR)
  with pytest.raises(UsageError, match="record 0 .* field 'image'"):
    list(batches.batches('train'))


def test_a_batch_is_any_mapping():
  """Two fields of two arrays each reach the mesh; padding has mask 0."""
  data = pairs(size=20)
  tokens = Tokens(vocabulary=VOCABULARY)
  inputs = {'query': tokens, 'positive': tokens}
  loading = feed.Loading('pairs', 0, 8, 8, 1, 0)
  batches = feed.Feed(data, inputs, sharding.make_mesh(), loading)
  first, second, *rest = batches.batches('train', stop=11)
  assert not rest and 'label' not in first
  assert np.asarray(second['mask']).tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
  for field in inputs:
    record = tokens.evaluate(data.train[9][field])
    np.testing.assert_array_equal(second[field]['ids'][1], record['ids'])
    assert not np.asarray(second[field]['ids'][3:]).any()
  trained = next(batches.training(0))
  assert trained['query']['ids'].shape == (8, 8)
  abstract = feed.abstract_batch(inputs, False, 8, batches.mesh)
  import jax

  shapes = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), trained)
  expected = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), abstract)
  assert shapes == expected


def test_blank_examples_have_the_shapes_of_the_inputs():
  blank = examples.Examples({'image': COLOUR}, True).blank()
  assert blank['image'].shape == (4, 4, 3) and blank['mask'] == 0
