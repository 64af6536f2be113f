"""Pictures and where a model looks; accuracy on spoiled and shifted images."""

import base64
import functools
import io
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mrl_jax import heads, nested, sharding
from mrl_jax.data import corruptions
from mrl_jax.embed import evidence, vectors
from mrl_jax.encoders import vit
from mrl_jax.evaluators import examples, robustness
from mrl_jax.tasks import classify

DIMS = (4, 8, 32)
SIDE, CLASSES = 8, 6
RNG = np.random.default_rng(0)
NAMES = tuple('ant bee cat cow dog eel'.split())


@functools.cache
def make_task(pool='gap', head='mrl', image=SIDE):
  """(task, params, stats); no parameter is 0 or 1, as some start."""
  options = dict(width=32, depth=1, heads=2, image_size=image, patch_size=2)
  extra = {'per_prefix': True} if head == 'mrl_e' else {}
  task = classify.Classify(
    lambda rngs: vit.ViT('tiny', channels=1, pool=pool, **options, rngs=rngs),
    lambda rngs: heads.HEADS[head](DIMS, CLASSES, **extra, rngs=rngs),
    (1.0,) * 3,
    CLASSES,
    (0.4,),
    (0.3,),
  )
  shapes, stats = jax.eval_shape(task.init, jax.random.key(0))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: rng.normal(0.2, 0.4, x.shape).astype(np.float32), shapes
  )
  assert not jax.tree.leaves(stats)
  return task, params, stats


def jitted(function, *static):
  return jax.jit(function, static_argnums=static)


IMAGES = RNG.integers(0, 256, (3, SIDE, SIDE, 1)).astype(np.uint8)
WANTED = np.array([5, 0, 2])


@pytest.mark.parametrize('head', ['mrl', 'mrl_e', 'ff'])
def test_patches_add_up_to_the_logit(head):
  task, params, stats = make_task(head=head)
  dims = (2, *DIMS)  # 2 was not trained
  scores = jax.jit(task.token_scores, static_argnums=4)(
    params, stats, IMAGES, WANTED, dims
  )
  assert scores.shape == (4, 3, 16)

  @jax.jit
  def logit_and_bias(params):
    z = task.embed(params, stats, {'image': IMAGES})
    logits = task.logits(params, stats, z, dims)
    return logits, task.logits(params, stats, jnp.zeros_like(z), dims)

  logits, without = logit_and_bias(params)
  rows = np.arange(3)
  expected = (logits - without)[:, rows, WANTED]
  # Sums over tokens before or after the product with the kernel.
  np.testing.assert_allclose(scores.mean(-1), expected, atol=1e-4)
  assert np.abs(expected).max() > 0.1


def tokens_of(task, params, stats):
  def tokens(params):
    encoder = task.module('encoder', params, stats)
    return encoder.tokens((jnp.asarray(IMAGES) / 255 - 0.4) / 0.3)

  return jax.jit(tokens)(params)


def test_class_activation_by_hand():
  task, params, stats = make_task()
  scores = jitted(task.token_scores, 4)(params, stats, IMAGES, WANTED, DIMS)
  tokens = tokens_of(task, params, stats)
  for g, m in enumerate(DIMS):
    kernel = params['head']['classifiers'][str(g)]['kernel']
    expected = np.einsum('bnm,mb->bn', tokens[..., :m], kernel[:, WANTED])
    np.testing.assert_allclose(scores[g], expected, atol=1e-4)


@pytest.mark.parametrize('pool', vit.POOLS)
def test_nothing_beyond_the_prefix_matters(pool):
  task, params, stats = make_task(pool, 'mrl_e')
  look = jax.jit(task.saliency, static_argnums=4)
  before = look(params, stats, IMAGES, WANTED, DIMS)
  kernel = params['head']['kernel'].copy()
  kernel[8:] *= RNG.normal(size=(24, 1))
  changed = params | {'head': params['head'] | {'kernel': kernel}}
  after = look(changed, stats, IMAGES, WANTED, DIMS)
  np.testing.assert_array_equal(before[:2], after[:2])
  assert np.abs(before[2] - after[2]).max() > 1e-3


@pytest.mark.parametrize('pool', vit.POOLS)
def test_tokens_lead_to_the_embedding(pool):
  task, params, stats = make_task(pool)

  @jax.jit
  def both_ways(params):
    encoder = task.module('encoder', params, stats)
    x = jnp.asarray(IMAGES, jnp.float32) / 255
    tokens = encoder.tokens(x)
    return tokens, encoder.from_tokens(tokens), encoder(x)

  tokens, led, expected = both_ways(params)
  assert tokens.shape == (3, 16 + (pool == 'cls'), 32)
  np.testing.assert_allclose(led, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('pool', ['map', 'cls'])
def test_scores_are_first_order_shares(pool):
  """A token scaled by 1 + e moves the logit by e * its score / tokens."""
  task, params, stats = make_task(pool)
  look = jitted(task.token_scores, 4)
  scores = look(params, stats, IMAGES, WANTED, (8,))[0]
  tokens = tokens_of(task, params, stats)
  first = pool == 'cls'

  @jax.jit
  def logit(n, scale):
    encoder = task.module('encoder', params, stats)
    z = encoder.from_tokens(tokens.at[:, n + first].multiply(scale))
    return task.logits(params, stats, z, (8,))[0, np.arange(3), WANTED]

  for n in (0, 7, 15):
    slope = (logit(n, 1.01) - logit(n, 0.99)) / 0.02 * tokens.shape[1]
    # A difference of float32 logits over a step of 0.02.
    np.testing.assert_allclose(scores[:, n], slope, rtol=0.02, atol=0.02)


def test_maps_are_drawn_where_the_patches_are(monkeypatch):
  task, params, stats = make_task(image=(8, 4))
  images = RNG.integers(0, 256, (2, 8, 4, 1)).astype(np.uint8)
  scores = np.full((1, 2, 8), -1.0)
  scores[0, 0, 5] = 3.0  # third row of patches, second column
  monkeypatch.setattr(task, 'token_scores', lambda *_: jnp.asarray(scores))
  found = np.asarray(task.saliency(params, stats, images, np.zeros(2), (4,)))
  assert found.shape == (1, 2, 8, 4)
  assert found.min() == 0 and found[0, 0].max() == 1
  y, x = np.unravel_index(found[0, 0].argmax(), (8, 4))
  assert 4 <= y < 6 and 2 <= x < 4
  assert (found[0, 1] == 0).all()  # nothing speaks for it


def split_of(count, seed, side=12, channels=1):
  rng = np.random.default_rng(seed)
  shape = (count, side, side, channels)
  return rng.integers(0, 256, shape, np.uint8), rng.integers(0, CLASSES, count)


KERNEL = RNG.normal(size=(144, 16)).astype(np.float32)
HEAD = RNG.normal(size=(16, CLASSES)).astype(np.float32)


def make_evidence(side=12, channels=1, rows=(40, 30), **changed):
  splits = {
    'train': split_of(rows[0], 1, side, channels),
    'validation': split_of(rows[1], 2, side, channels),
  }

  def embed(split):
    """Of a split, or of any examples."""
    if isinstance(split, str):
      images, labels = splits[split]
    else:
      images = np.stack([split[i]['image'] for i in range(len(split))])
      labels = np.array([split[i]['label'] for i in range(len(split))])
    flat = images.reshape(len(images), -1)[:, :144] / 255 - 0.5
    return vectors.Vectors((flat @ KERNEL).astype(np.float32), labels)

  def saliency(images, classes, dims):
    grey = images.mean(-1) / 255
    return jnp.asarray(np.stack([grey * m / 16 for m in dims]))

  options = dict(
    dims=(2, 6, 16),
    trained=(2, 16),
    mesh=sharding.make_mesh(),
    embed=embed,
    names=NAMES,
    logits=lambda z, dims: nested.prefix_products(z, HEAD, dims),
    images=lambda split, some: splits[split][0][np.asarray(some, int)],
    saliency=saliency,
  )
  return evidence.Evidence(**options | changed)


def picture(text):
  return Image.open(io.BytesIO(base64.b64decode(text)))


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
    image = seen.images('validation', [e['row']])[0]
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
        picture(found[2]['image']), seen.images('train', order)[2, ..., 0]
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
  seen = make_evidence(
    rows=(2, 1), names=(), saliency=None, dims=(16,), trained=(16,)
  )
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


def test_robustness_equals_a_loop():
  seen = make_evidence()
  some = ('gaussian_noise', 'rotate')
  look = robustness.Robustness(corruptions=some, severities=(1, 4), images=11)
  rows, details = look.run(seen)
  found = {(r['variant'], r['dim']): r for r in rows}
  variants = ['clean', *some, 'severity1', 'severity4', 'mean']
  assert look.metrics == tuple(f'top1.{v}' for v in variants)
  assert list(found) == list(itertools.product(variants, (2, 6, 16)))
  drawn = robustness.drawn(30, 11)
  assert len(set(drawn)) == 11 and (np.diff(drawn) > 0).all()
  images = seen.images('validation', drawn)
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
  np.testing.assert_array_equal(robustness.drawn(7, 0), np.arange(7))
  np.testing.assert_array_equal(robustness.drawn(7, 9), np.arange(7))


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
  right = robustness.restricted(logits, np.array([0, 1]), groups)
  assert right.tolist() == [[True, True]]
  right = robustness.restricted(logits, np.array([1, 0]), groups)
  assert right.tolist() == [[False, False]]


def test_bad_options_and_maps(tmp_path):
  make = robustness.Robustness
  root = shifted_set(tmp_path / 'set', ['cat', 'doge'])
  for message, options in (
    ("'fogg' is not one of gaussian", dict(corruptions=('fogg',))),
    ('repeats one', dict(corruptions=('fog', 'fog'))),
    ('must be some of', dict(severities=(0, 1))),
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
  with pytest.raises(ValueError, match="'doge' is no .*did you mean 'dog'"):
    look.run(make_evidence())
  for text, message in (
    ('{', 'must be one JSON object'),
    ('["cat"]', 'must be one JSON object'),
    ('{"doge": []}', 'must be one JSON object'),
    ('{"cat": 3}', 'must be one JSON object'),
    ('{"bird": "cat"}', 'names none of the sub-folders'),
    ('{"doge": ["dog", "bird"]}', "'bird' is no training class"),
  ):
    (root / 'map.json').write_text(text)
    with pytest.raises(ValueError, match=message):
      look.run(make_evidence())
