"""Glyphs: one drawing a character and face, the same on every machine."""

import collections
import unicodedata

import numpy as np
import pytest

from mrl_jax import build
from mrl_jax.data import glyphs
from tests.samples import processes, runs

pytestmark = pytest.mark.slow  # one drawing of all characters takes seconds


@pytest.fixture(scope='module')
def data():
  return glyphs.load(characters=300)


def test_two_processes_draw_the_same(data):
  code = 'from mrl_jax.data import glyphs; print(glyphs.facts().fingerprint)'
  first, second = (processes.python('-c', code).strip() for _ in range(2))
  assert first == second == glyphs.facts().fingerprint
  assert data.facts.fingerprint != first


def test_no_two_characters_share_a_drawing_in_a_face():
  chosen, drawings = glyphs._drawings()
  assert len(chosen) >= 1000 and chosen == sorted(set(chosen))
  assert drawings.keys() == {*glyphs.TRAIN, *glyphs.VALIDATION}
  for face, pictures in drawings.items():
    different = {picture.tobytes() for picture in pictures.values()}
    assert len(different) == len(pictures), face
    assert set(pictures) <= set(chosen)
  # A stands for Alpha and the Cyrillic A, which are drawn alike.
  assert 'A' in chosen and not {'\N{GREEK CAPITAL LETTER ALPHA}'} & set(chosen)


def test_validation_shows_what_training_does_not(data):
  """Drawings that training has seen are left out, all others are there."""
  chosen, drawings = glyphs._drawings()
  seen = {image.tobytes() for image in data.train.images}
  held = [image.tobytes() for image in data.validation.images]
  assert not seen & set(held)
  possible = [
    drawings[face][character].tobytes()
    for face in glyphs.VALIDATION
    for character in chosen[:300]
  ]
  assert held == [image for image in possible if image not in seen]
  assert len(held) > 700


def test_every_class_is_in_every_face_but_the_optional(data):
  must = set(glyphs.TRAIN) - set(glyphs.OPTIONAL)
  counts = collections.Counter(data.train.labels.tolist())
  assert set(counts) == set(range(300))
  assert len(must) <= min(counts.values()) <= max(counts.values())
  assert max(counts.values()) <= len(glyphs.TRAIN)
  assert not set(glyphs.TRAIN) & set(glyphs.VALIDATION)


def test_labels_follow_the_drawings(data):
  """The record of a label and face is that character in that face."""
  chosen, drawings = glyphs._drawings()
  for records, faces in (
    (data.train, glyphs.TRAIN),
    (data.validation, glyphs.VALIDATION),
  ):
    for place in range(0, len(records), 50):
      record = records[place]
      character = chosen[record['label']]
      assert any(
        np.array_equal(record['image'][..., 0], drawings[face][character])
        for face in faces
        if character in drawings[face]
      )


def test_ink_is_centred_and_whole(data):
  """Within a pixel, by the box of the ink, and off the rim."""
  for images in (data.train.images, data.validation.images):
    assert images.shape[1:] == (28, 28, 1) and images.dtype == np.uint8
    for axis in (1, 2):
      inked = images[..., 0].any(3 - axis)
      first = inked.argmax(1)
      last = 27 - inked[:, ::-1].argmax(1)
      assert np.abs(first + last - 27).max() <= 2
      assert first.min() >= 1 and last.max() <= 26
  # Antialiased: neither black nor white alone.
  assert len(np.unique(data.train.images)) > 10


def test_names_are_of_unicode(data):
  chosen, _ = glyphs._drawings()
  assert data.facts.classes == tuple(map(unicodedata.name, chosen[:300]))
  assert data.facts.classes[0] == 'EXCLAMATION MARK'
  assert 'LATIN CAPITAL LETTER A' in data.facts.classes
  assert data.facts == glyphs.facts(characters=300)


@pytest.mark.parametrize('characters', [-1, 0, 1, 100_000])
def test_so_many_characters_are_not_there(characters):
  with pytest.raises(ValueError, match=r'characters=-?\d+ must be in 2 to 1'):
    glyphs.load(characters=characters)
  assert len(glyphs.load(characters=2).facts.classes) == 2


def test_the_default_config_does_not_crop_at_evaluation(data):
  settings = runs.loaded('vit_mrl.py')
  assert settings.data.source.name == 'glyphs'
  field = build.model(settings, data.facts).spec.inputs['image']
  picture = data.validation[0]['image']
  np.testing.assert_array_equal(field.evaluate(picture), picture)
