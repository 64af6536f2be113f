"""Classes one by one: accuracies, tails, superclasses and trends."""

import json

import numpy as np
import pytest

from mrl_jax.embed import answers
from mrl_jax.evaluators import classes
from mrl_jax.evaluators.classes import trends
from tests.samples.vectors import answered, keyed, random_answers

DIMS = (4, 8, 16)


def loop_accuracy(given, g, keep):
  hits = [
    said == label
    for said, label in zip(given.classes[g, :, 0], given.labels)
    if keep(label)
  ]
  return sum(hits) / len(hits)


def test_classes_equal_a_loop():
  from sklearn.metrics import balanced_accuracy_score

  given = random_answers()
  # Rarest: 3 (5 rows), then 70,001 (9), then 0.
  database = np.repeat([0, 1, 2, 3, 70_001], [20, 30, 40, 5, 9])
  found = classes.Classes(tail=0.4).run(
    answered(given, database, ('zero', 'one', 'two', 'three'))
  )
  rows, details = keyed(found[0]), found[1]
  assert details['tail'] == ['three', '70001']
  for g, m in enumerate(DIMS):
    head = loop_accuracy(given, g, lambda c: c not in (3, 70_001))
    tail = loop_accuracy(given, g, lambda c: c in (3, 70_001))
    assert rows[f'classes/head/d{m}']['value'] == pytest.approx(head)
    assert rows[f'classes/tail/d{m}']['value'] == pytest.approx(tail)
    macro = balanced_accuracy_score(given.labels, given.classes[g, :, 0])
    assert rows[f'classes/per_class/d{m}']['value'] == pytest.approx(macro)
    for one in details['classes']:
      expected = loop_accuracy(given, g, lambda c, one=one: c == one['id'])
      assert one['accuracy'][g] == pytest.approx(expected)
  assert [one['name'] for one in details['classes']][-1] == '70001'
  assert sum(details['trends'].values()) == 5
  json.dumps(details)


def test_no_tail_where_classes_are_equally_frequent():
  given = random_answers()
  for database in (np.repeat([0, 1, 2, 3, 70_001], 4), None):
    rows, _ = classes.Classes().run(answered(given, database))
    assert {row['metric'] for row in rows} == {'per_class'}
  one = random_answers(10, ids=(70_001,))
  rows, _ = classes.Classes().run(answered(one, np.full(9, 70_001)))
  assert {row['metric'] for row in rows} == {'per_class'}


def test_the_tail_is_the_rarest_and_ties_take_the_smaller_id():
  ids = np.asarray([3, 5, 9, 70_000])
  labels = np.repeat(ids, [2, 7, 2, 2])
  assert classes.rarest(labels, ids, 0.5).tolist() == [1, 0, 1, 0]
  assert classes.rarest(labels, ids, 0.01).tolist() == [1, 0, 0, 0]
  assert classes.rarest(labels, ids, 0.99).tolist() == [1, 0, 1, 1]
  assert classes.rarest(labels[2:], ids, 0.2).tolist() == [1, 0, 0, 0]


def test_superclasses_from_json_and_csv(tmp_path):
  given, names = random_answers(), ('cat', 'dog', 'car', 'bus')
  groups = {'cat': 'pet', 'dog': 'pet', '2': 'road', 'bus': 'road'}
  groups['70001'] = 'other'
  table = tmp_path / 'map.json'
  table.write_text(json.dumps(groups))
  text = ''.join(f'{name},{group}\n' for name, group in groups.items())
  plain, headed = tmp_path / 'a.csv', tmp_path / 'b.csv'
  plain.write_text(text)
  headed.write_text('class, superclass\n' + text + '\n')
  number = {0: 'pet', 1: 'pet', 2: 'road', 3: 'road', 70_001: 'other'}
  for path in (table, plain, headed):
    made = classes.Classes(superclasses=str(path))
    assert made.metrics == ('per_class', 'superclass')
    rows = keyed(made.run(answered(given, None, names))[0])
    for g, m in enumerate(DIMS):
      expected = np.mean(
        [
          number[a] == number[b]
          for a, b in zip(given.classes[g, :, 0].tolist(), given.labels)
        ]
      )
      assert rows[f'classes/superclass/d{m}']['value'] == expected
  del groups['bus']
  table.write_text(json.dumps(groups))
  with pytest.raises(ValueError, match=r"no entry for class 'bus' \(id 3\)"):
    classes.Classes(superclasses=str(table)).run(answered(given, None, names))


@pytest.mark.parametrize(
  ('name', 'text', 'said'),
  [
    ('a.json', '[1]', 'must hold one object'),
    ('a.json', '{"a": ["b"]}', 'must hold one object'),
    ('a.json', '{', 'is not JSON'),
    ('a.json', '{"a": "b", "a": "c"}', "class 'a' both in 'b' and in 'c'"),
    ('a.csv', 'a,b,c\n', "one line is 'a,b,c'"),
    ('a.txt', 'a,b\n', 'must end in .json or .csv'),
    ('none.csv', None, 'is not a file'),
  ],
)
def test_maps_that_cannot_be_read(tmp_path, name, text, said):
  if text is not None:
    (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=said):
    classes.Classes(superclasses=str(tmp_path / name))


@pytest.mark.parametrize('options', [{'tail': 0}, {'tail': 1}])
def test_options_that_cannot_be(options):
  with pytest.raises(ValueError, match='must be above 0 and below 1'):
    classes.Classes(**options)


def nested_right(counts, n=100):
  """Prefix g is right on the first counts[g] of n queries."""
  return np.arange(n) < np.asarray(counts)[:, None]


@pytest.mark.parametrize(
  ('counts', 'expected'),
  [
    ((20, 50, 80), 'rises'),
    ((80, 50, 20), 'falls'),
    ((80, 20, 80), 'dips'),
    ((20, 80, 20), 'peaks'),
    ((50, 52, 50), 'flat'),
    ((50, 50, 50), 'flat'),
    ((20, 50, 48, 90), 'rises'),  # two of 100 are noise
    ((20, 60, 30, 90), 'dips'),
    ((90, 30, 60, 20), 'peaks'),
    ((80, 40, 70, 68), 'dips'),
    ((100,), 'flat'),
  ],
)
def test_trends_by_hand(counts, expected):
  assert trends.trend(nested_right(counts)) == expected


def test_changes_count_the_same_queries_once():
  right = np.random.default_rng(0).random((3, 40)) < 0.5
  gained, _ = trends.changes(right)
  for i in range(3):
    for j in range(3):
      won = sum(b and not a for a, b in zip(right[i], right[j]))
      missed = sum(a and not b for a, b in zip(right[i], right[j]))
      assert gained[i, j] == won - missed


def test_five_of_five_gained_are_noise_and_six_of_six_are_not():
  # The exact two-sided sign test: 2 / 32 and 2 / 64.
  assert trends.trend(nested_right((0, 5))) == 'flat'
  assert trends.trend(nested_right((0, 6))) == 'rises'


def test_each_class_has_its_own_trend():
  labels = np.repeat([3, 70_001], 50)
  right = np.concatenate(
    [nested_right((5, 20, 45), 50), nested_right((45, 20, 5), 50)], axis=1
  )
  said = np.where(right, labels, 8)[..., None]
  given = answers.Answers(DIMS, said, right * 1.0, labels, 'probe')
  _, details = classes.Classes().run(answered(given))
  assert [one['trend'] for one in details['classes']] == ['rises', 'falls']
  assert details['most_gained'][0]['name'] == '3'
  assert details['most_lost'][0]['change'] == pytest.approx(-0.8)


def test_classes_that_do_not_change_are_seldom_said_to():
  rng = np.random.default_rng(0)
  for n, dims in ((10, 2), (50, 5)):
    said = [
      trends.trend(rng.random((dims, n)) < 0.6) != 'flat' for _ in range(400)
    ]
    assert np.mean(said) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
