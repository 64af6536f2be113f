"""Accuracy on spoiled and shifted images against loops."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from mrl_jax.data import corruptions
from mrl_jax.embed import vectors
from mrl_jax.evaluators import robustness
from mrl_jax.evaluators.robustness import shifted
from tests.samples.images import HEAD, KERNEL, make_evidence


def test_robustness_equals_a_loop():
  seen = make_evidence()
  some = ('gaussian_noise', 'rotate')
  look = robustness.Robustness(corruptions=some, severities=(1, 4), images=11)
  rows, details = look.run(seen)
  found = {(r['variant'], r['dim']): r for r in rows}
  variants = ['clean', *some, 'severity1', 'severity4', 'mean']
  assert look.metrics == tuple(f'top1.{v}' for v in variants)
  assert list(found) == list(itertools.product(variants, (2, 6, 16)))
  drawn = vectors.draw_rows(np.random.default_rng(robustness.SEED), 30, 11)
  images = seen.functions['images']('validation', drawn)
  labels = seen.queries.labels[drawn]

  def right(images, m):
    flat = images.reshape(len(images), -1) / 255 - 0.5
    logits = (flat @ KERNEL)[:, :m] @ HEAD[:m]
    return logits.argmax(-1) == labels

  for g, m in enumerate((2, 6, 16)):
    assert found['clean', m]['value'] == right(images, m).mean()
    assert details['clean'][g] == found['clean', m]['value']
    grid = np.zeros((2, 2))
    for (c, name), (s, severity) in itertools.product(
      enumerate(some), enumerate((1, 4))
    ):
      spoiled = np.stack(
        [
          corruptions.corrupt(image, name, severity, int(row))
          for image, row in zip(images, drawn)
        ]
      )
      grid[c, s] = right(spoiled, m).mean()
      assert details['grid'][c][s][g] == grid[c, s]
    for key, value in {
      'mean': grid.mean(),
      'gaussian_noise': grid[0].mean(),
      'rotate': grid[1].mean(),
      'severity1': grid[:, 0].mean(),
      'severity4': grid[:, 1].mean(),
    }.items():
      row = found[key, m]
      assert row['value'] == pytest.approx(value, abs=1e-9)
      assert row['n'] == 11 and row['ci_low'] < value < row['ci_high']
  assert robustness.Robustness(some, (1, 4), 11).run(seen)[0] == rows


def test_all_corruptions_by_default():
  look = robustness.Robustness(images=2)
  assert len(look.run(make_evidence())[0]) == 3 * (1 + 15 + 5 + 1)
  whole = robustness.Robustness(('fog',), (1,), images=0)
  assert whole.run(make_evidence(rows=(9, 7)))[1]['images'] == 7


def shifted_set(root, folders, count=3):
  rng = np.random.default_rng(5)
  for name in folders:
    (root / name).mkdir(parents=True)
    for i in range(count):
      image = rng.integers(0, 256, (12, 12), np.uint8)
      Image.fromarray(image).save(root / name / f'{i}.png')
  return root


def naive_shifted(root, m, groups):
  """Share right when only the groups' classes may be answered."""
  allowed = sorted(set().union(*groups.values()))
  right = []
  for name, group in groups.items():
    for path in sorted((root / name).iterdir()):
      image = np.asarray(Image.open(path), np.float64)[..., None]
      logits = ((image.reshape(1, -1) / 255 - 0.5) @ KERNEL)[:, :m] @ HEAD[:m]
      right.append(max(allowed, key=lambda v: logits[0, v]) in group)
  return np.mean(right), len(right)


@pytest.mark.parametrize('mapped', [False, True])
def test_shifted_sets_are_answered_among_their_classes(tmp_path, mapped):
  if mapped:
    root = shifted_set(tmp_path / 'my set', ['cats', 'other', 'pets'], 9)
    said = {'cats': 'cat', 'pets': ['cat', 'dog', 'cow'], 'none': 'ant'}
    (root / 'map.json').write_text(json.dumps(said))
    groups = {'cats': {2}, 'pets': {2, 4, 3}}
  else:
    root = shifted_set(tmp_path / 'my set', ['bee', 'cow', 'eel'], 9)
    groups = {'bee': {1}, 'cow': {3}, 'eel': {5}}
  look = robustness.Robustness(('jpeg',), (1,), 2, shifted=(root,))
  assert look.metrics[-1] == 'top1.my_set'
  rows, details = look.run(make_evidence())
  found = {r['dim']: r for r in rows if r['variant'] == 'my_set'}
  for m in (2, 6, 16):
    value, n = naive_shifted(root, m, groups)
    assert (found[m]['value'], found[m]['n']) == (pytest.approx(value), n)
  facts = details['shifted']['my_set']
  assert facts['left_out'] == (['other'] if mapped else [])
  assert facts['classes'] == 3 and json.dumps(details)


def test_restricted_prefers_the_smaller_of_equal_classes():
  logits = np.array([[[9.0, 1, 1, 0], [9, 0, 0, 2]]])
  groups = [frozenset({1}), frozenset({2, 3})]
  right = shifted.restricted(logits, np.array([0, 1]), groups)
  assert right.tolist() == [[True, True]]
  right = shifted.restricted(logits, np.array([1, 0]), groups)
  assert right.tolist() == [[False, False]]


def test_bad_options_and_maps(tmp_path):
  make = robustness.Robustness
  root = shifted_set(tmp_path / 'set', ['cat', 'doge'])
  for message, options in (
    ("'fogg' is not one of gaussian", dict(corruptions=('fogg',))),
    ('repeats one', dict(corruptions=('fog', 'fog'))),
    ('0 is not one of 1, 2, 3', dict(severities=(0, 1))),
    ('must be some of', dict(severities=())),
    ('repeats one', dict(severities=(2, 2))),
    ('images=-1 must', dict(images=-1)),
    ('must be a list', dict(shifted='set')),
    ('is not a folder', dict(shifted=(tmp_path / 'no',))),
    ("second result named 'set'", dict(shifted=(root, root))),
  ):
    with pytest.raises(ValueError, match=message):
      make(**options)
  look = make(('fog',), (1,), 2, shifted=(root,))
  with pytest.raises(
    ValueError, match="'doge' is not a training class; did you mean 'dog'"
  ):
    look.run(make_evidence())
  for text, message in (
    ('{', 'must be one JSON object'),
    ('["cat"]', 'must be one JSON object'),
    ('{"doge": []}', 'must be one JSON object'),
    ('{"cat": 3}', 'must be one JSON object'),
    ('{"bird": "cat"}', 'names none of the sub-folders'),
    ('{"doge": ["dog", "bird"]}', "'bird' is not a training class"),
  ):
    (root / 'map.json').write_text(text)
    with pytest.raises(ValueError, match=message):
      look.run(make_evidence())
