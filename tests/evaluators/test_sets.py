"""Judged sets inside training: against a naive search, each text read once."""

import collections
import dataclasses
import functools

import ir_measures
import jax
import numpy as np
import pytest

from mrl_jax import (
  build,
  config,
  data,
  encoders,
  evaluation,
  inputs,
  schema,
  tasks,
  workdir,
)
from mrl_jax.embed import evidence, relevance
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import EVALUATORS
from mrl_jax.report import results
from tests.samples import contrast, pieces, vectors
from tests.samples.texts import write_set

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=''):
  return ConfigDict(dict(
    dims=(4, 16),
    encoder=dict(name='table'),
    inputs={f: dict(name='tokens') for f in %(fields)r},
    task=%(task)r,
    data=dict(source=dict(name=%(source)r, size=48), threads=1),
    train=dict(steps=4, batch_size=16, eval_every=2),
    eval=dict(batch_size=16, only=('sets',), often=('sets',)),
  ))
"""
KINDS = {
  'classify': dict(
    source='texts', fields=('text',), task=dict(name='classify')
  ),
  'contrast': dict(
    source='made_pairs',
    fields=('query', 'positive'),
    task=dict(name='contrast', key_encoder=dict(name='table')),
  ),
}


@pytest.fixture
def asked(monkeypatch):
  """One row for each new piece; how often each text became tokens."""
  monkeypatch.setitem(encoders.ENCODERS, 'table', pieces.Table)
  monkeypatch.setitem(inputs.INPUTS, 'tokens', pieces.Tokens)
  monkeypatch.setitem(data.SOURCES, 'texts', pieces.labelled_texts)
  monkeypatch.setitem(data.SOURCES, 'made_pairs', pieces.pairs)
  monkeypatch.setitem(tasks.TASKS, 'contrast', contrast.Contrast)
  counts, evaluate = collections.Counter(), pieces.Tokens.evaluate

  def counted(self, value):
    counts[value] += 1
    return evaluate(self, value)

  monkeypatch.setattr(pieces.Tokens, 'evaluate', counted)
  return counts


def judged_words(folder, seed=0):
  """A set of sentences of the vocabulary, and what is judged."""
  rng = np.random.default_rng(seed)
  corpus = {
    f'd{i}': pieces.sentence(i % 5, rng, 4) + f' sea{i % 12} sky{i // 12}'
    for i in range(30)
  }
  asked = {
    f'q{i}': pieces.sentence(i % 5, rng, 3) + f' snow{i}' for i in range(12)
  }
  qrels = {
    q: {f'd{j}': 1 + j % 3 for j in range(i, 30, 5)}
    for i, q in enumerate(asked)
  }
  sides = (
    [{'_id': name, 'text': text} for name, text in side.items()]
    for side in (corpus, asked)
  )
  write_set(folder, *sides, qrels)
  return corpus, asked, qrels


def test_a_set_with_few_passages_is_ranked_whole():
  rng = np.random.default_rng(0)
  sides = [
    Vectors(rng.normal(size=(n, 8)).astype(np.float32), ids=np.arange(n))
    for n in (5, 7)
  ]
  qrels = {q: {q % 5: 1} for q in range(7)}
  seen = dataclasses.replace(
    evidence.of_vectors(*sides, (4, 8)),
    relate=functools.partial(relevance.by_judgement, qrels),
  )
  asked = dataclasses.replace(seen, functions={'sets': lambda: [('a', seen)]})
  found, _ = EVALUATORS['sets']().run(asked)
  wanted = [
    row
    for row in EVALUATORS['retrieval']().run(seen)[0]
    if row['metric'] == 'ndcg'
  ]
  assert [(row['dim'], row['k']) for row in found] == [(4, 5), (8, 5)]
  assert [r['value'] for r in found] == [r['value'] for r in wanted]


def embedded(run, state, texts, function, field):
  tokens = run.learner.spec.inputs[field]
  arrays = [pieces.Tokens.evaluate(tokens, text) for text in texts]
  batch = {field: jax.tree.map(lambda *x: np.stack(x), *arrays)}
  return np.asarray(run.learner.task.functions()[function](state.best, batch))


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_a_run_is_judged_as_it_trains(tmp_path, run_cli, asked, kind):
  path = tmp_path / 'c.py'
  path.write_text(CONFIG % KINDS[kind])
  corpus, queries, qrels = judged_words(tmp_path / 'one')
  judged_words(tmp_path / 'two', seed=1)
  sets = f'{tmp_path / "one"},{tmp_path / "two"}'
  code, _, err = run_cli(
    'train', f'--config={path}', f'--workdir={tmp_path / "run"}',
    f'--config.eval.retrieval_sets={sets}',
  )  # fmt: skip
  assert code == 0, err
  fields = KINDS[kind]['fields']
  # Once for every field, and of one query more to see that it is text.
  assert {asked[text] for text in corpus.values()} == {len(fields)}
  found = results.read(tmp_path / 'run' / 'eval' / '4')
  assert {row['variant'] for row in found} == {'one', 'two'}
  assert (tmp_path / 'run' / 'eval' / '2' / 'results.jsonl').exists()
  run = build.run(workdir.read_config(tmp_path / 'run'), tmp_path / 'run')
  state, _ = evaluation.saved_state(run, None)
  near = 'embed_key' if kind == 'contrast' else 'embed'
  sides = [
    embedded(run, state, queries.values(), 'embed', fields[0]),
    embedded(run, state, corpus.values(), near, fields[-1]),
  ]
  for m in (4, 16):
    scores = vectors.cosines(*sides, m)
    ranking = {
      q: dict(zip(corpus, line.tolist())) for q, line in zip(queries, scores)
    }
    wanted = ir_measures.calc_aggregate(
      [ir_measures.nDCG @ 10], qrels, ranking
    )[ir_measures.nDCG @ 10]
    (row,) = (r for r in found if (r['dim'], r['variant']) == (m, 'one'))
    assert row['metric'] == 'ndcg' and row['k'] == 10 and row['n'] == 12
    assert row['value'] == pytest.approx(wanted, abs=1e-5)
  before = dict(asked)
  code, out, err = run_cli('eval', f'--workdir={tmp_path / "run"}')
  assert code == 0 and 'sets: done before' in out, err
  assert all(asked[text] == before[text] for text in corpus.values())
  judged_words(tmp_path / 'two', seed=2)  # other texts are asked anew
  code, out, err = run_cli('eval', f'--workdir={tmp_path / "run"}')
  assert code == 0 and 'done before' not in out, err


@pytest.mark.parametrize(
  ('given', 'said'),
  [
    ('{}/one', "for runs on text, and the field 'image' cannot be one"),
    ('{}/none', 'none is not a folder'),
    ('{}/one,{}/more/one', 'share a name'),
  ],
)
def test_a_run_that_cannot_be_asked_is_refused(tmp_path, given, said):
  for name in ('one', 'more/one'):
    judged_words(tmp_path / name)
  whole, _ = config.load('configs/vit_mrl.py:digits,smoke')
  given = given.replace('{}', str(tmp_path))
  words = f'--config.eval.retrieval_sets={given}'
  with pytest.raises(config.UsageError, match=said):
    changed = schema.resolve(whole, [words, '--config.eval.only=sets'])
    build.run(changed, tmp_path / 'run')
  left_out = [words, '--config.eval.only=knn']
  build.run(schema.resolve(whole, left_out), tmp_path / 'run')
