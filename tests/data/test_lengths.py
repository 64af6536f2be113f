"""Batches of texts are cut, alike in all processes."""

import json

import jax
import numpy as np
import pytest

from mrl_jax import sharding
from mrl_jax.contracts import Facts
from mrl_jax.data import feed, lengths
from mrl_jax.data.source import Split
from mrl_jax.inputs import text
from tests.samples import processes, text_models, tokenizer

# Prints the sizes and the tokens of all batches, gathered.
WORKER = """
import json, sys
import jax
jax.config.update('jax_cpu_collectives_implementation', 'gloo')
from jax.experimental import multihost_utils
from mrl_jax import sharding
from tests.data import test_lengths
file, place = sys.argv[1:]
sharding.initialise(place)
print(json.dumps(test_lengths.totals(file)))
"""


def made(file, devices=None, workers=0):
  """A feed of texts in batches of 8."""
  field = text.Text(str(file), length=40, lengths=(8, 16, 24))
  texts = sorted(text_models.sentences(40), key=len)
  records = [{'text': one} for one in texts]
  records += [{'text': 'a wing'}] * 20
  source = Split(records, records[:21], Facts({'text': {}}))
  mesh = sharding.make_mesh(data=-1, devices=devices)
  loading = feed.Loading('texts', 0, 8, 8, threads=1, workers=workers)
  return feed.Feed(source, {'text': field}, mesh, loading)


def some(batches, count=12):
  return [batch['text'] for _, batch in zip(range(count), batches)]


def totals(file) -> list:
  """Sizes of batches, and a sum that each token's place decides."""
  run = made(file)
  found = []
  for arrays in some(run.training(0)) + some(run.batches('validation')):
    tokens = arrays['tokens']
    weights = 1 + np.arange(tokens.size).reshape(tokens.shape)
    total = jax.jit(lambda a, w: (a * w).sum())(tokens, weights)
    found.append([tokens.shape[1], int(total)])
  return found


def test_sizes():
  assert [lengths.smallest((4, 8), n) for n in (0, 1, 4, 5, 8)] == [
    4, 4, 4, 8, 8
  ]  # fmt: skip


def test_batches_are_as_long_as_their_longest_text(tmp_path):
  file = tokenizer.letters(tmp_path / 't.json')
  run = made(file)
  field, records = run.inputs['text'], run.splits['validation']
  row, sizes = 0, set()
  for batch in run.batches('validation'):
    tokens, mask = (np.asarray(batch['text'][n]) for n in ('tokens', 'mask'))
    real = np.asarray(batch['mask']) > 0
    longest = mask.sum(1).max()
    assert tokens.shape[1] == min(s for s in field.sizes if s >= longest)
    assert not mask[~real].any()
    for one, shown in zip(tokens[real], mask[real]):
      whole = field.evaluate(records[row]['text'])
      np.testing.assert_array_equal(one, whole['tokens'][: len(one)])
      assert shown.sum() == whole['mask'].sum()
      row += 1
    sizes.add(tokens.shape[1])
  assert row == 21 and len(sizes) > 1
  (abstract,) = {
    leaf.shape
    for leaf in jax.tree.leaves(
      feed.abstract_batch(run.inputs, False, 8, run.mesh)['text']
    )
  }
  assert abstract == (8, 40)
  trained = {arrays['tokens'].shape for arrays in some(run.training(0), 40)}
  assert len(trained) > 1 and trained <= {(8, s) for s in field.sizes}


@pytest.mark.slow
def test_two_processes_cut_alike(tmp_path):
  file = tokenizer.letters(tmp_path / 't.json')
  words = str(file), '{place}'
  pair = processes.connected(WORKER, *words, devices=4)
  expected = totals(file)
  assert len({size for size, _ in expected}) > 1
  for result in pair:
    assert json.loads(result.out.splitlines()[-1]) == expected


@pytest.mark.slow
def test_worker_processes_give_the_same_without_warnings(tmp_path, capfd):
  """The library warns when a process that used its threads is forked."""
  file = tokenizer.letters(tmp_path / 't.json')
  run = made(file, workers=1)
  run.inputs['text'].evaluate_all(text_models.sentences(300))
  ours = some(run.training(0), 4)
  for batch, other in zip(ours, some(made(file).training(0), 4)):
    np.testing.assert_array_equal(batch['tokens'], other['tokens'])
  assert 'TOKENIZERS_PARALLELISM' not in capfd.readouterr().err
