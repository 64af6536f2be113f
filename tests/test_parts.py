"""Parts: written whole, merged, reused only on the same, old folders too."""

import json

import numpy as np
import pytest

from mrl_jax import parts, rows
from mrl_jax.evaluators import EVALUATORS
from mrl_jax.report import results

FACTS = {'details': {}, 'options': {'k': 1}, 'seconds': 2.5, 'environment': {}}


def place(folder, **changed):
  options = {'data': 'd', 'about': 'a', 'more': (8, 16)}
  return parts.Place(folder, **options | changed)


def hits(seed=0):
  return np.random.default_rng(seed).random((2, 37)) < 0.7


def test_a_part_gives_back_rows_and_values_per_query(tmp_path):
  right, shares = hits(), hits() / 3
  answers = [
    *rows.proportions('knn', 'top1', (8, 16), right),
    *rows.means('knn', 'weighted', (8, 16), shares, k=20),
    *rows.means('knn', 'weighted', (8, 16), shares, k=50),
    *rows.proportions('knn', 'top1', (8, 16), right, variant='v'),
  ]
  place(tmp_path).write('knn', answers, FACTS | {'details': {'a': [1]}})
  (part,) = parts.read(tmp_path).values()
  assert part['rows'] == [rows.without_queries(row) for row in answers]
  assert part['details'] == {'a': [1]} and part['seconds'] == 2.5
  with np.load(tmp_path / 'parts' / 'knn.npz') as values:
    assert set(values) == {
      *(f'knn/top1/d{m}' for m in (8, 16)),
      *(f'knn/weighted@20/d{m}' for m in (8, 16)),
    }
    assert values['knn/top1/d16'].dtype == bool
    np.testing.assert_array_equal(values['knn/top1/d16'], right[1])
    assert values['knn/weighted@20/d8'].dtype == np.float32
    np.testing.assert_allclose(values['knn/weighted@20/d8'], shares[0])
  size = (tmp_path / 'parts' / 'knn.npz').stat().st_size
  assert size < 2500
  # Rows without values leave none of others behind.
  place(tmp_path).write('knn', answers[-1:], FACTS)
  assert [path.name for path in (tmp_path / 'parts').iterdir()] == ['knn.json']


def test_rows_never_stand_beside_the_values_of_others(tmp_path, monkeypatch):
  """Whatever stops a second writing, the first part is whole or gone."""
  first = rows.proportions('knn', 'top1', (8,), hits())
  second = rows.proportions('knn', 'top1', (8,), hits(1))
  whole = results.write_whole
  for stop_at in ('knn.npz', 'knn.json'):
    place(tmp_path).write('knn', first, FACTS)

    def stopped(path, content, stop_at=stop_at):
      if path.name == stop_at:
        raise KeyboardInterrupt
      whole(path, content)

    monkeypatch.setattr(results, 'write_whole', stopped)
    with pytest.raises(KeyboardInterrupt):
      place(tmp_path).write('knn', second, FACTS)
    monkeypatch.undo()
    assert parts.read(tmp_path) == {}


def test_a_key_tells_options_data_dims_and_state_apart(tmp_path):
  keys = [
    place(tmp_path).key({'k': 1}),
    place(tmp_path).key({'k': 2}),
    place(tmp_path, about='b').key({'k': 1}),
    place(tmp_path, more=(8,)).key({'k': 1}),
  ]
  assert len(set(keys)) == 4 and '' not in keys
  assert place(tmp_path, data='e').key({'k': 1}) == keys[0]  # `about` has it
  assert place(tmp_path).key({'k': 1}) == keys[0]
  assert place(tmp_path, about='').key({'k': 1}) == ''


def test_a_folder_belongs_to_one_data_and_one_state(tmp_path):
  assert not place(tmp_path).of_others()
  place(tmp_path).write('knn', [], FACTS)
  assert not place(tmp_path).of_others()
  assert place(tmp_path, data='e').of_others()
  assert place(tmp_path, about='b').of_others()
  assert not place(tmp_path, about='').of_others()  # nobody knows
  assert not place(tmp_path, more=()).of_others()
  parts.clear(tmp_path)
  assert not place(tmp_path, data='e').of_others()
  assert list(tmp_path.iterdir()) == []


def test_damaged_parts_are_left_out(tmp_path):
  for name in ('knn', 'probe', 'linear'):
    place(tmp_path).write(name, [], FACTS)
  (tmp_path / 'parts' / 'knn.json').write_text('{"rows": [')
  (tmp_path / 'parts' / 'probe.json').write_text('[]')
  assert list(parts.read(tmp_path)) == ['linear']


def older(folder):
  """The files of a version without parts."""
  answers = [
    rows.without_queries(row)
    for name in ('knn', 'search')
    for row in rows.proportions(name, 'top1', (8, 16), hits())
  ]
  details = {
    'search': {'times': [1]},
    'examples': {'images': []},
    'evaluation': {'options': {'knn': {'neighbours': 20}}, 'notes': ['n']},
  }
  results.write(folder, answers, details)
  return answers


def test_results_of_an_older_version_are_adopted_once(tmp_path):
  answers = older(tmp_path)
  parts.adopt(tmp_path, EVALUATORS)
  there = parts.read(tmp_path)
  assert list(there) == ['examples', 'knn', 'search']
  assert there['knn']['rows'] == answers[:2]
  assert there['knn']['options'] == {'neighbours': 20}
  assert there['search']['details'] == {'times': [1]}
  assert {part['key'] for part in there.values()} == {''}
  # A newer part stays, and the rest joins it.
  fresh = rows.proportions('knn', 'top1', (8,), hits(1))
  place(tmp_path).write('knn', fresh, FACTS)
  parts.adopt(tmp_path, EVALUATORS)
  joined, details = parts.merged(tmp_path, ['search', 'knn'], ['odd'])
  assert joined == [*answers[2:], rows.without_queries(fresh[0])]
  about = details.pop('evaluation')
  assert details == {'search': {'times': [1]}, 'examples': {'images': []}}
  assert about['data'] == 'd'
  assert about['options']['knn'] == {'k': 1}
  odd, doubt = about['notes']
  assert odd == 'odd' and 'Rows of search, examples stay from an older' in doubt


@pytest.mark.parametrize('text', ['', '{"evaluator": "knn"', '{}'])
def test_results_that_were_cut_off_are_not_adopted(tmp_path, text):
  older(tmp_path)
  (tmp_path / 'results.jsonl').write_text(text and text + '\n')
  parts.adopt(tmp_path, EVALUATORS)
  assert 'knn' not in parts.read(tmp_path)


def test_a_file_is_the_old_or_the_new_one(tmp_path, monkeypatch):
  path = tmp_path / 'a.json'
  results.write_whole(path, json.dumps([1]))

  def full(*_):
    raise OSError('no space left')

  monkeypatch.setattr('os.replace', full)
  with pytest.raises(OSError, match='no space'):
    results.write_whole(path, json.dumps([2]))
  assert json.loads(path.read_text()) == [1]
