"""Fingerprints: the same for the same data, another for any other."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mrl_jax.embed import fingerprint, relevance
from mrl_jax.embed.vectors import Vectors
from tests.samples import runs
from tests.samples.vectors import evidence_of

DIMS = (4, 8)


def side(count, seed):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(count, 8)).astype(np.float16)
  return Vectors(x, rng.integers(0, 3, count))


def of(queries, database, **changed):
  return fingerprint.of_sides(evidence_of(database, queries, DIMS, **changed))


def test_any_change_of_the_vectors_is_seen(monkeypatch):
  queries, database = side(5, 0), side(30, 1)
  same = of(queries, database)
  wide = dataclasses.replace(
    database, embeddings=database.embeddings.astype(np.float64)
  )
  assert of(queries, wide) == same
  monkeypatch.setattr(fingerprint, 'ROWS_AT_ONCE', 7)
  assert of(queries, database) == same
  changed = []
  for name, value in (('embeddings', 9), ('labels', 7)):
    for row in (0, 29):
      array = getattr(database, name).copy()
      array[row] = value
      changed.append(
        of(queries, dataclasses.replace(database, **{name: array}))
      )
  changed += [
    of(database, queries),
    of(queries, database.at(np.arange(29))),
    of(queries, database.at(np.r_[1, 0, 2:30])),
    of(queries, dataclasses.replace(database, labels=None)),
    of(queries, database, names=('a', 'b', 'c')),
    of(queries.at(np.arange(4)), database),
  ]
  assert len({same, *changed}) == len(changed) + 1


def test_ids_are_not_data_and_judgements_are():
  queries, database = side(5, 0), side(30, 1)
  named = dataclasses.replace(database, ids=np.arange(30).astype(str))
  assert of(queries, named) == of(queries, database)
  ids = [
    fingerprint.of_ids(evidence_of(it, queries, DIMS))
    for it in (database, named)
  ]
  assert ids[0] != ids[1]

  def judged(grade):
    return lambda q, d: relevance.by_judgement({0: {3: grade}}, q, d)

  found = {of(queries, database, relate=judged(grade)) for grade in (1, 1, 2)}
  assert len(found) == 2 and of(queries, database) not in found


def test_variables_are_told_apart_by_one_bit():
  tree = {'a': jnp.arange(6.0).reshape(2, 3), 'b': {0: jnp.ones(3)}}
  same = fingerprint.of_variables(tree)
  assert (
    fingerprint.of_variables(
      {k: v + 0 for k, v in tree.items() if k == 'a'} | {'b': tree['b']}
    )
    == same
  )
  turned = tree['a'].at[1, 2].set(np.nextafter(np.float32(5), np.float32(6)))
  others = [
    tree | {'a': turned},
    tree | {'a': tree['a'].reshape(3, 2)},
    tree | {'a': tree['a'][::-1]},
    {'a': tree['b'], 'b': tree['a']},
  ]
  assert len({same, *map(fingerprint.of_variables, others)}) == 5


@pytest.mark.slow
def test_the_fingerprint_of_a_run_is_that_of_what_it_evaluates(tmp_path):
  def of_run(*words):
    settings = runs.loaded('vit_mrl.py:digits,smoke', *words)
    return runs.built(settings, tmp_path).feed.fingerprint

  same = of_run()
  for word in ('seed=3', 'inputs.image.crop=pad', 'train.batch_size=64'):
    assert of_run(f'--config.{word}') == same
  assert of_run('--config.inputs.image.eval_crop=0.5') != same
