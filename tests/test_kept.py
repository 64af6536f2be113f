"""Evaluations by the command line: joined, repeated, stopped, gone on with."""

import json
import re
import shutil
import signal

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mrl_jax import errors
from mrl_jax.evaluators import EVALUATORS, QUICK, knn, retrieval
from mrl_jax.report import page, results
from tests.samples import processes, runs

CODES = {'SIGTERM': 143, 'SIGINT': 130}


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
  """A folder with two files of vectors of one name, and their labels."""
  folder = tmp_path_factory.mktemp('vectors')
  data = load_digits()
  for name, start in (('a', 0), ('b', 600)):
    (folder / name).mkdir()
    rows = slice(start, start + 600)
    np.save(folder / name / 'x.npy', data.data[rows].astype(np.float32))
    np.save(folder / name / 'y.npy', data.target[rows])
  return folder


def words(folder, output, *more):
  sides = f'--embeddings={folder}/x.npy', f'--labels={folder}/y.npy'
  return ['eval', *sides, f'--output={output}', '--dims=8,64', *more]


def lines(folder, step=0):
  path = folder / 'eval' / str(step) / 'results.jsonl'
  return path.read_text().splitlines()


def of(found):
  return [json.loads(line)['evaluator'] for line in found]


@pytest.fixture(scope='module')
def unbroken(digits, tmp_path_factory):
  """The rows of knn, retrieval and cosine in one command."""
  from mrl_jax import commands

  folder = tmp_path_factory.mktemp('unbroken')
  _, *given = words(digits / 'a', folder, '--only=knn,retrieval,cosine')
  assert commands.run_eval(given) == 0
  return lines(folder)


def test_a_second_command_adds_and_replaces_only_its_own(
  digits, unbroken, run_cli, tmp_path
):
  for only in ('cosine', 'knn', 'retrieval'):
    given = words(digits / 'a', tmp_path, f'--only={only}')
    code, out, err = run_cli(*given)
    assert code == 0 and f'1/1 {only}' in out, err
  assert lines(tmp_path) == unbroken
  given = words(digits / 'a', tmp_path, '--config.eval.knn.neighbours=3')
  assert run_cli(*given, '--only=knn')[0] == 0
  rest = [line for line in lines(tmp_path) if '"k": 3,' not in line]
  assert rest == [line for line in unbroken if '"k": 20,' not in line]
  folder = tmp_path / 'eval' / '0'
  options = results.details(folder)['evaluation']['options']
  assert options['knn']['neighbours'] == 3 and len(options) == 3
  text = (folder / 'report.html').read_text()
  assert 'k=3' in text and 'k=20' not in text and 'cosine' in text


def test_the_same_command_again_costs_nothing_and_says_so(
  digits, run_cli, tmp_path, monkeypatch
):
  given = words(digits / 'a', tmp_path, '--only=knn,retrieval')
  _, first, _ = run_cli(*given)
  before = lines(tmp_path)
  table = 'with 95% intervals'

  def run(*_):
    raise AssertionError('it ran again')

  monkeypatch.setattr(knn.KNN, 'run', run)
  monkeypatch.setattr(retrieval.Retrieval, 'run', run)
  code, again, err = run_cli(*given)
  assert code == 0 and 'knn, retrieval: done before, kept' in again, err
  assert again.split(table)[1] == first.split(table)[1]
  assert lines(tmp_path) == before
  with pytest.raises(AssertionError, match='it ran again'):
    run_cli(*given, '--fresh')


def test_other_vectors_of_one_name_are_refused_or_cleared(
  digits, run_cli, tmp_path
):
  assert run_cli(*words(digits / 'a', tmp_path, '--only=knn,cosine'))[0] == 0
  before = lines(tmp_path)
  given = words(digits / 'b', tmp_path, '--only=knn')
  code, _, err = run_cli(*given)
  assert code == 2 and err.count('\n') == 1
  assert re.search(
    'holds an evaluation of other vectors; .*--output=.*--fresh', err
  )
  assert lines(tmp_path) == before
  assert run_cli(*given, '--fresh')[0] == 0
  assert set(of(lines(tmp_path))) == {'knn'}
  assert lines(tmp_path) != before[: len(lines(tmp_path))]
  assert not (tmp_path / 'eval' / '0' / 'cosine.json').exists()
  text = (tmp_path / 'eval' / '0' / 'report.html').read_text()
  assert 'cosine' not in text


def test_a_folder_of_an_older_version_is_joined_and_said(
  digits, unbroken, run_cli, tmp_path
):
  folder = tmp_path / 'eval' / '0'
  old = [json.loads(line) for line in unbroken]
  options = {'options': {'cosine': {'rows': 5}}}
  results.write(folder, old, {'evaluation': options})
  code, out, err = run_cli(*words(digits / 'a', tmp_path, '--only=knn'))
  assert code == 0 and '1/1 knn' in out, err
  assert lines(tmp_path) == unbroken
  assert 'note: Rows of retrieval, cosine stay from an older version' in out
  assert results.details(folder)['evaluation']['data']


@pytest.mark.slow
def test_evaluators_alone_in_any_order_are_all_at_once(
  digits, run_cli, tmp_path
):
  whole, pieces = tmp_path / 'whole', tmp_path / 'pieces'
  code, _, err = run_cli(*words(digits / 'a', whole))
  assert code == 0, err
  names = sorted({json.loads(line)['evaluator'] for line in lines(whole)})
  assert len(names) > 8
  for name in names:
    code, _, err = run_cli(*words(digits / 'a', pieces, f'--only={name}'))
    assert code == 0, err
  assert lines(pieces) == lines(whole)


@pytest.mark.parametrize('name', CODES)
@pytest.mark.parametrize('stopped', [knn.KNN, retrieval.Retrieval])
def test_a_signal_in_an_evaluator_keeps_what_is_done(
  digits, unbroken, run_cli, tmp_path, monkeypatch, stopped, name
):
  monkeypatch.setattr(
    stopped, 'run', lambda *_: signal.raise_signal(signal.Signals[name])
  )
  given = words(digits / 'a', tmp_path, '--only=knn,retrieval,cosine')
  code, out, err = run_cli(*given)
  assert code == CODES[name]
  (line,) = err.splitlines()
  assert 'intervals' not in out
  if stopped is knn.KNN:
    assert line == f'stopped by {name}: no evaluator was done'
    assert not (tmp_path / 'eval' / '0' / 'results.jsonl').exists()
  else:
    assert line.startswith(f'stopped by {name}: knn are kept in {tmp_path}')
    assert lines(tmp_path) == unbroken[: of(unbroken).count('knn')]
    assert 'knn' in (tmp_path / 'eval' / '0' / 'report.html').read_text()
  monkeypatch.undo()
  code, out, err = run_cli(*given)
  assert code == 0, err
  assert ('knn: done before' in out) == (stopped is not knn.KNN)
  assert lines(tmp_path) == unbroken


def test_a_page_that_is_stopped_is_written_the_next_time(
  digits, unbroken, run_cli, tmp_path, monkeypatch
):
  given = words(digits / 'a', tmp_path, '--only=knn,retrieval,cosine')
  monkeypatch.setattr(
    page, 'write', lambda *_: signal.raise_signal(signal.SIGINT)
  )
  code, _, err = run_cli(*given)
  assert code == 130 and err == 'stopped by SIGINT\n'
  monkeypatch.undo()
  assert run_cli(*given)[0] == 0
  assert lines(tmp_path) == unbroken
  assert (tmp_path / 'eval' / '0' / 'report.html').exists()


SLEEPER = """
import sys, time
from mrl_jax import commands
from mrl_jax.evaluators import retrieval
def run(*_):
  while True:
    time.sleep(0.01)
retrieval.Retrieval.run = run
sys.exit(commands.run_eval())
"""


@pytest.mark.slow
@pytest.mark.parametrize('name', ['SIGKILL', *CODES])
def test_a_process_that_ends_in_an_evaluator_is_gone_on_with(
  digits, unbroken, run_cli, tmp_path, name
):
  given = words(digits / 'a', tmp_path, '--only=knn,retrieval,cosine')
  done = tmp_path / 'eval' / '0' / 'parts' / 'knn.json'
  with processes.Child('-c', SLEEPER, *given[1:]) as child:
    child.wait_until(lambda: '1/3 knn' in child.read('out'))
    child.process.send_signal(signal.Signals[name])
    code, _, err = child.finish()
  assert done.exists() and 'Traceback' not in err
  assert code == CODES.get(name, -signal.SIGKILL)
  assert err.count('\n') == (name in CODES), err
  code, out, err = run_cli(*given)
  assert code == 0 and 'knn: done before' in out, err
  assert lines(tmp_path) == unbroken


@pytest.mark.parametrize(
  ('more', 'said'),
  [
    ('--only=knn,retreival', "'retreival' is not one of .*mean retrieval"),
    ('--only=', '--only is empty'),
    ('--only=knn --quick', '--quick names its evaluators'),
    ('--config.eval.only=kn', "eval.only='kn' .*did you mean knn"),
  ],
)
def test_what_is_wrong_about_a_choice_is_one_line(
  digits, run_cli, tmp_path, more, said
):
  code, _, err = run_cli(*words(digits / 'a', tmp_path, *more.split()))
  (line,) = err.splitlines()
  assert code == 2 and re.search(said, line), err
  code, _, err = run_cli('eval', '--compare', tmp_path, '--quick')
  assert code == 2 and '--quick goes with an evaluation' in err


def test_quick_is_what_most_people_ask(digits, run_cli, tmp_path, monkeypatch):
  assert set(QUICK) <= set(EVALUATORS)
  for name in QUICK:
    monkeypatch.setattr(
      EVALUATORS[name], 'run', lambda self, _: ([], {'a': str(type(self))})
    )
  code, out, err = run_cli(*words(digits / 'a', tmp_path, '--quick'))
  assert code == 0, err
  done = set(results.details(tmp_path / 'eval' / '0')) - {'evaluation'}
  # Vectors have no head, and no scored pairs.
  assert done == set(QUICK) - {'linear', 'pairs'}


@pytest.mark.slow
def test_training_goes_on_with_its_last_evaluation(
  run_cli, tmp_path, monkeypatch
):
  only = '--config.eval.only=linear,knn,retrieval'
  whole, broken = tmp_path / 'whole', tmp_path / 'broken'
  given = ['train', runs.SMOKE, f'--workdir={broken}', only]
  monkeypatch.setattr(
    retrieval.Retrieval, 'run', lambda *_: signal.raise_signal(signal.SIGINT)
  )
  code, out, err = run_cli(*given)
  assert code == 130 and 'Traceback' not in err, err
  assert 'stopped by SIGINT at step 6, saved; run it again' in out
  assert set(of(lines(broken, 6))) == {'linear', 'knn'}
  monkeypatch.undo()
  shutil.copytree(broken, whole)
  code, _, err = run_cli('eval', f'--workdir={whole}', only, '--fresh')
  assert code == 0, err
  monkeypatch.setattr(knn.KNN, 'run', lambda *_: 1 / 0)
  code, out, err = run_cli(*given)
  assert code == 0 and 'linear, knn: done before, kept' in out, err
  assert lines(broken, 6) == lines(whole, 6)
  # And eval.py goes on from there; other pixels are refused.
  monkeypatch.undo()
  given = ['eval', f'--workdir={broken}', '--only=knn,cosine']
  code, out, err = run_cli(*given)
  assert code == 0 and 'knn: done before, kept' in out, err
  assert '1/1 cosine' in out
  data = results.details(broken / 'eval' / '6')['evaluation']['data']
  assert data == results.details(broken / 'eval' / '3')['evaluation']['data']
  other = '--config.inputs.image.eval_crop=0.5'
  code, _, err = run_cli(*given, other)
  assert code == 2 and 'or another state; clear it: --fresh' in err
  assert err.count('\n') == 1
  code, out, err = run_cli(*given, other, '--fresh')
  assert code == 0 and set(of(lines(broken, 6))) == {'knn', 'cosine'}, err
  assert results.details(broken / 'eval' / '6')['evaluation']['data'] != data


def test_python_refuses_other_vectors_too_unless_asked(digits, tmp_path):
  import mrl_jax

  def values(name, **more):
    sides = (digits / name / f'{side}.npy' for side in 'xy')
    only = {'eval.only': ('knn',), 'output': tmp_path}
    return mrl_jax.evaluate(*sides, **only, **more).values

  first = values('a')
  assert values('a') == first
  with pytest.raises(errors.UsageError, match='evaluation of other vectors'):
    values('b')
  assert values('b', fresh=True) != first
