"""Batches of values of like length."""

import jax
import numpy as np
import pytest

from mrl_jax import sharding
from mrl_jax.embed import windows
from mrl_jax.errors import UsageError
from mrl_jax.inputs import text
from tests.samples import text_models, tokenizer


@pytest.fixture(scope='module')
def field(tmp_path_factory):
  file = tokenizer.letters(tmp_path_factory.mktemp('w') / 't.json')
  return text.Text(str(file), length=40, lengths=(8, 16, 24))


@pytest.fixture(scope='module')
def mesh():
  return sharding.make_mesh(data=2, devices=jax.devices()[:2])


class Lazy:
  """Texts that count how many were read."""

  def __init__(self, texts):
    self.texts, self.read = texts, 0
    self.names = [f'n{i}' for i in range(len(texts))]

  def __len__(self):
    return len(self.texts)

  def __getitem__(self, index):
    self.read += 1
    return self.texts[index]


@pytest.mark.parametrize('count', [1, 3, 10, 64, 101])
def test_every_row_comes_once_and_whole(field, mesh, monkeypatch, count):
  monkeypatch.setattr(windows, 'BATCHES', 4)
  texts = text_models.sentences(count)
  alone = [field.evaluate(one) for one in texts]
  seen = []
  for rows, batch in windows.batches(Lazy(texts), field, 'x', 10, mesh):
    mask = np.asarray(batch['mask'])
    assert mask[: len(rows)].all() and not mask[len(rows) :].any()
    width = batch['x']['tokens'].shape[1]
    arrays = batch['x']['tokens'], batch['x']['mask']
    for row, tokens, real in zip(rows, *arrays):
      np.testing.assert_array_equal(tokens, alone[row]['tokens'][:width])
      assert real.sum() == alone[row]['mask'].sum()
    longest = max(field.size(alone[row]) for row in rows)
    assert width == min(size for size in field.sizes if size >= longest)
    seen += rows.tolist()
  assert sorted(seen) == list(range(count))


def test_few_shapes_and_little_padding(field, mesh):
  texts = text_models.sentences(300)
  shapes, used = set(), 0
  for _, batch in windows.batches(Lazy(texts), field, 'x', 20, mesh):
    shapes.add(batch['x']['tokens'].shape)
    used += batch['x']['tokens'].size
  assert shapes <= {(20, size) for size in field.sizes}
  real = sum(field.size(field.evaluate(one)) for one in texts)
  assert used < 1.5 * real < 300 * 40


def test_only_two_windows_are_in_memory(field, mesh, monkeypatch):
  monkeypatch.setattr(windows, 'BATCHES', 2)
  values = Lazy(text_models.sentences(200))
  batches = windows.batches(values, field, 'x', 10, mesh)
  for i, _ in enumerate(batches):
    assert values.read <= 20 * (i // 2 + 2)
  assert values.read == 200
  monkeypatch.setattr(windows, 'WINDOW_BYTES', 1)
  values = Lazy(text_models.sentences(200))
  next(windows.batches(values, field, 'x', 10, mesh))
  assert values.read <= 20


def test_a_bad_row_is_named(field, mesh):
  for bad in (None, 7, 'a\ud800'):
    texts = [*text_models.sentences(5), bad, 'a']
    with pytest.raises(UsageError, match='row n5: its text') as caught:
      list(windows.batches(Lazy(texts), field, 'x', 10, mesh))
    assert '\n' not in str(caught.value)
