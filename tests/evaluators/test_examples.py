"""Pictures of a few images, their neighbours and maps."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from mrl_jax.evaluators import examples
from tests.samples.images import NAMES, make_evidence, picture


def test_examples_show_the_nearest_images():
  seen = make_evidence()
  rows, details = examples.Examples(images=6, neighbours=3).run(seen)
  assert rows == [] and details['dims'] == [2, 16]
  assert json.loads(json.dumps(details)) == details
  shown = details['examples']
  assert len({e['row'] for e in shown}) == 6
  x, y = seen.queries.embeddings, seen.queries.labels
  r, labels = seen.database.embeddings, seen.database.labels
  agrees = []
  for e in shown:
    assert e['label'] == y[e['row']] and e['name'] == NAMES[e['label']]
    image = seen.functions['images']('validation', [e['row']])[0]
    np.testing.assert_array_equal(picture(e['image']), image[..., 0])
    assert picture(e['image']).mode == 'L'
    first = []
    for m in (2, 16):
      similar = r[:, :m] @ x[e['row'], :m] / np.linalg.norm(r[:, :m], axis=1)
      order = np.argsort(-similar)[:3]
      found = e['neighbours'][str(m)]
      assert [n['row'] for n in found] == order.tolist()
      assert [n['label'] for n in found] == labels[order].tolist()
      right = labels[order] == y[e['row']]
      assert [n['right'] for n in found] == right.tolist()
      np.testing.assert_array_equal(
        picture(found[2]['image']),
        seen.functions['images']('train', order)[2, ..., 0],
      )
      first.append(labels[order[0]])
    assert e['agrees'] == (first[0] == first[1])
    agrees.append(e['agrees'])
    assert set(e['saliency']) == {'2', '16'}
  assert sum(agrees) == 2  # two of three differ
  assert examples.Examples(6, 3).run(make_evidence())[1] == details


def test_overlays_are_red_where_the_map_is_high():
  image = np.full((16, 16, 1), 100, np.uint8)
  values = np.zeros((16, 16))
  values[2:6, 2:6] = 1
  values[10:14, 10:14] = 0.3
  drawn = np.asarray(
    picture(examples.overlay(image, values, 64)).convert('RGB'), int
  )
  assert (drawn[0, 0] == 100).all()
  assert drawn[4, 4].min() > 190  # white heat
  red, green, blue = drawn[12, 12]
  assert red > 120 and green < 90 and blue < 90


@pytest.mark.parametrize('side', [12, 96])
def test_the_details_stay_small(side):
  seen = make_evidence(side, 3, trained=(2, 6, 16))
  _, details = examples.Examples(images=9, neighbours=5).run(seen)
  assert len(json.dumps(details)) < 300_000
  assert len(details['examples']) == 9
  most = max(picture(details['examples'][0]['image']).size)
  assert most == (12 if side == 12 else most) and most <= 64


def test_what_does_not_fit_even_small_is_left_out(monkeypatch):
  monkeypatch.setattr(examples, 'LIMIT', 40_000)
  _, details = examples.Examples(images=9).run(make_evidence(64, 3))
  assert 20_000 < len(json.dumps(details)) < 40_000
  assert 1 < len(details['examples']) < 9


def test_one_query_no_names_no_saliency_one_dim():
  seen = make_evidence(rows=(2, 1), names=(), dims=(16,), trained=(16,))
  functions = dict(seen.functions)
  del functions['saliency']
  seen = dataclasses.replace(seen, functions=functions)
  _, details = examples.Examples().run(seen)
  (example,) = details['examples']
  assert example['saliency'] == {} and example['agrees'] is True
  assert example['name'] == str(example['label'])
  assert [len(found) for found in example['neighbours'].values()] == [2]


def test_choice_of_telling_examples():
  for yes, no, count in itertools.product((0, 1, 2, 9), (0, 1, 9), (1, 6)):
    differ = np.arange(yes + no) < yes
    found = examples.telling(differ, count)
    assert len(found) == len(set(found)) == min(count, yes + no)
    if yes == no == 9 and count == 6:
      assert differ[found].sum() == 4
  for name in ('images', 'neighbours'):
    with pytest.raises(ValueError, match=f'{name}=0 must be from 1 to'):
      examples.Examples(**{name: 0})
