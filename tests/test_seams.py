"""A text-like encoder and a task with two towers fit through the seams.

Each is one file (tests/samples) and one row in a table. They train, evaluate,
save and resume; nothing in the package knows them.
"""

import json
import shutil

import chex
import jax
import numpy as np
import pytest

from mrl_jax import build, data, encoders, inputs, schema, tasks, workdir
from mrl_jax.config import load
from mrl_jax.state import TrainState
from tests.samples import contrast, pieces

COMMON = """
from ml_collections import ConfigDict

def get_config(arg=''):
  config = ConfigDict(dict(
    dims=(4, 8, 16),
    encoder=dict(name='table'),
    train=dict(steps=60, batch_size=16, log_every=20, eval_every=30),
    optim=dict(learning_rate=0.02, average=0.5),
    eval=dict(batch_size=32, dims=(6,)),
    checkpoint=dict(every=30, keep=3),
  ))
  config.data = ConfigDict(dict(source=dict(name=%(source)r), threads=1))
  tokens = {field: dict(name='tokens') for field in %(fields)r}
  config.inputs = ConfigDict(tokens)
  config.task = ConfigDict(dict(name=%(task)r))
  return config
"""
TEXTS = dict(source='texts', fields=('text',), task='classify')
PAIRS = dict(source='made_pairs', fields=('query', 'positive'), task='contrast')


@pytest.fixture
def rows(monkeypatch):
  """One row for each new piece."""
  monkeypatch.setitem(encoders.ENCODERS, 'table', pieces.Table)
  monkeypatch.setitem(inputs.INPUTS, 'tokens', pieces.Tokens)
  monkeypatch.setitem(data.SOURCES, 'texts', pieces.labelled_texts)
  monkeypatch.setitem(data.SOURCES, 'made_pairs', pieces.pairs)
  monkeypatch.setitem(tasks.TASKS, 'contrast', contrast.Contrast)


def flag(folder, kind):
  path = folder / f'{kind["source"]}.py'
  path.write_text(COMMON % kind)
  return f'--config={path}'


def results(folder, step=60):
  path = folder / 'eval' / str(step) / 'results.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()]


def value(lines, evaluator, metric, dim):
  (row,) = (
    line
    for line in lines
    if (line['evaluator'], line['metric']) == (evaluator, metric)
    and line['dim'] == dim
    and 'k' not in line
    and 'variant' not in line
  )
  return row['value']


def state_of(folder, step):
  run = build.run(workdir.read_config(folder), folder)
  saver = run.checkpointer(read_only=True)
  tree, _ = saver.restore(step, run.learner.placed.to_tree())
  saver.close()
  return run, jax.device_get(TrainState.from_tree(tree))


def trained(run_cli, folder, config, *words):
  work = folder / 'work'
  code, _, err = run_cli('train', config, f'--workdir={work}', *words)
  assert code == 0, err
  return work


def resumed_is_unbroken(run_cli, work, config, *words):
  """A run cut back to step 30 and run again is the same, to the last bit."""
  _, whole = state_of(work, 60)
  lines = results(work)
  again = work.parent / 'again'
  shutil.copytree(work, again)
  shutil.rmtree(again / 'checkpoints' / '60')
  shutil.rmtree(again / 'eval' / '60')
  done = again / 'checkpoints' / 'evaluated.json'
  kept = {k: v for k, v in json.loads(done.read_text()).items() if k == '30'}
  done.write_text(json.dumps(kept))
  code, out, err = run_cli('train', config, f'--workdir={again}', *words)
  assert code == 0 and 'resuming from step 30' in out, err
  chex.assert_trees_all_equal(state_of(again, 60)[1], whole)
  assert results(again) == lines


@pytest.mark.slow
def test_a_text_like_encoder_learns_through_the_seams(rows, run_cli, tmp_path):
  config = flag(tmp_path, TEXTS)
  work = trained(run_cli, tmp_path, config)
  lines = results(work)
  # Two of five words tell the topic; chance is 1 in 5.
  assert value(lines, 'linear', 'top1', 16) > 0.8
  ran = {line['evaluator'] for line in lines}
  assert {'linear', 'knn', 'retrieval', 'cascade', 'baselines'} <= ran
  assert 'robustness' not in ran  # it needs images
  assert (work / 'eval' / '60' / 'report.html').exists()
  resumed_is_unbroken(run_cli, work, config)
  before = (work / 'eval' / '60' / 'results.jsonl').read_text()
  code, _, err = run_cli(
    'eval', f'--workdir={work}', '--only=linear,knn,retrieval', '--fresh'
  )
  assert code == 0, err
  kept = {json.dumps(line, sort_keys=True) for line in results(work)}
  for line in before.splitlines():
    line = json.loads(line)
    if line['evaluator'] in ('linear', 'knn', 'retrieval'):
      assert json.dumps(line, sort_keys=True) in kept


@pytest.mark.parametrize(
  ('words', 'least'),
  [
    pytest.param([], 0.5, marks=pytest.mark.slow),
    pytest.param(
      ['--config.task.loss.name=sigmoid'], 0.5, marks=pytest.mark.slow
    ),
    pytest.param(
      ['--config.task.key_encoder.name=table', '--config.task.loss.form=tiled'],
      0.1,  # two encoders take longer to agree than one with itself
      marks=pytest.mark.slow,
    ),
  ],
)
def test_two_towers_learn_through_the_seams(
  rows, run_cli, tmp_path, words, least
):
  config = flag(tmp_path, PAIRS)
  words = [*words, '--config.eval.only=retrieval,stores,baselines,search']
  work = trained(run_cli, tmp_path, config, *words)
  lines = results(work)
  # Its own key among 50: chance is 0.02.
  assert value(lines, 'retrieval', 'top1', 16) > least
  assert value(lines, 'retrieval', 'top1', 4) < 1
  assert {line['evaluator'] for line in lines} >= {'retrieval', 'stores'}
  assert (work / 'eval' / '60' / 'report.html').exists()
  if len(words) > 2:
    resumed_is_unbroken(run_cli, work, config, *words)


@pytest.mark.slow
def test_a_new_task_takes_the_towers_it_shares_by_name(rows, run_cli, tmp_path):
  two = '--config.task.key_encoder.name=table'
  config = flag(tmp_path, PAIRS)
  words = [two, '--config.train.steps=30', '--config.eval.only=retrieval']
  work = trained(run_cli, tmp_path, config, *words)
  _, old = state_of(work, 30)
  settings = schema.resolve(
    load(config.partition('=')[2])[0],
    [two, f'--config.init_from={work}', '--config.seed=9'],
  )
  fresh = build.run(settings, tmp_path / 'new').create()
  for name in ('encoder', 'key_encoder'):
    chex.assert_trees_all_equal(
      jax.device_get(fresh.variables.part(name)), old.average.part(name)
    )
  scale = fresh.variables.params['temperature']['scale']
  np.testing.assert_allclose(np.exp(scale), 10, rtol=1e-6)


def test_a_wrong_field_is_named(rows, run_cli, tmp_path):
  config = flag(tmp_path, PAIRS)
  code, _, err = run_cli('train', config, '--config.task.query=text')
  assert code == 2
  assert "field='text' is not one of the inputs: positive, query" in err
  code, _, err = run_cli('train', config, '--config.task.name=classify')
  assert code == 2 and 'the data has no classes to learn' in err
