"""What answers know together, class by class, and of their own confidence."""

import collections
import json
import types

import numpy as np
import pytest

from mrl_jax import intervals, rows
from mrl_jax.embed import classes as by_class
from mrl_jax.embed import evidence, vectors
from mrl_jax.evaluators import agreement, calibration, classes

DIMS = (4, 8, 16)


def answers(queries=200, dims=DIMS, ids=(0, 1, 2, 3, 70_001), seed=0):
  rng = np.random.default_rng(seed)
  ids = np.asarray(ids)
  labels = ids[rng.integers(0, len(ids), queries)]
  right = rng.random((len(dims), queries)) < np.linspace(
    0.4, 0.8, len(dims)
  ).reshape(-1, 1)
  other = ids[rng.integers(0, len(ids), (len(dims), queries))]
  said = np.where(right, labels, other)
  confidence = rng.beta(4, 2, (len(dims), queries)).astype(np.float32)
  return evidence.Answers(dims, said[..., None], confidence, labels, 'probe')


def seen(given, database=None, names=(), trained=None):
  return types.SimpleNamespace(
    dims=given.dims,
    trained=trained or given.dims,
    answers=given,
    names=names,
    database=vectors.Vectors(np.zeros((1, 4)), database),
  )


def keyed(results):
  names = [rows.flat_name(row) for row in results]
  assert len(set(names)) == len(names)
  return dict(zip(names, results))


@pytest.mark.parametrize('trained', [DIMS, (4, 16)])
def test_oracle_vote_and_first_right_equal_a_loop(trained):
  given = answers()
  rows, details = agreement.Agreement().run(seen(given, trained=trained))
  rows = keyed(rows)
  said, any_right, smallest, voted = given.classes[..., 0], 0, [], 0
  first = collections.Counter()
  for i, label in enumerate(given.labels):
    votes = {m: said[DIMS.index(m), i] for m in trained}
    fits = [m for m in trained if votes[m] == label]
    any_right += bool(fits)
    smallest.append(min(fits) if fits else 16)
    counts = collections.Counter(votes.values())
    tied = [c for c in counts if counts[c] == max(counts.values())]
    voted += next(votes[m] for m in reversed(trained) if votes[m] in tied) == (
      label
    )
    fits = [m for g, m in enumerate(DIMS) if said[g, i] == label]
    first[min(fits) if fits else 'never'] += 1
  assert rows['agreement/oracle/d16']['value'] == any_right / 200
  assert rows['agreement/oracle/d16']['expected_dim'] == np.mean(smallest)
  assert rows['agreement/vote/d16']['value'] == voted / 200
  for m in DIMS:
    assert rows[f'agreement/first_right/d{m}']['value'] == first[m] / 200
  assert {e['dim']: e['n'] for e in details['first_right']} == dict(first)
  same = np.mean(said[0] == said[2])
  assert details['same_answer'][0][2] == details['same_answer'][2][0] == same
  json.dumps(details)


def test_ties_go_to_the_widest_prefix_among_them():
  said = np.asarray([[7, 1, 5], [7, 2, 70_001], [9, 2, 5], [9, 1, 70_001]])
  assert agreement.majority(said).tolist() == [9, 1, 70_001]
  said = np.asarray([[7], [7], [8], [8], [9]])  # 9 is widest, but has one vote
  assert agreement.majority(said).tolist() == [8]


def test_one_dim_agrees_with_itself():
  given = answers(30, (16,))
  rows = keyed(agreement.Agreement().run(seen(given))[0])
  values = {row['value'] for row in rows.values()}
  assert values == {given.right.mean()}


def loop_accuracy(given, g, keep):
  hits = [
    said == label
    for said, label in zip(given.classes[g, :, 0], given.labels)
    if keep(label)
  ]
  return sum(hits) / len(hits)


def test_classes_equal_a_loop():
  from sklearn.metrics import balanced_accuracy_score

  given = answers()
  # Rarest: 3 (5 rows), then 70,001 (9), then 0.
  database = np.repeat([0, 1, 2, 3, 70_001], [20, 30, 40, 5, 9])
  found = classes.Classes(tail=0.4).run(
    seen(given, database, ('zero', 'one', 'two', 'three'))
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
  given = answers()
  for database in (np.repeat([0, 1, 2, 3, 70_001], 4), None):
    rows, _ = classes.Classes().run(seen(given, database))
    assert {row['metric'] for row in rows} == {'per_class'}
  one = answers(10, ids=(70_001,))
  rows, _ = classes.Classes().run(seen(one, np.full(9, 70_001)))
  assert {row['metric'] for row in rows} == {'per_class'}


def test_the_tail_is_the_rarest_and_ties_take_the_smaller_id():
  ids = np.asarray([3, 5, 9, 70_000])
  labels = np.repeat(ids, [2, 7, 2, 2])
  assert by_class.rarest(labels, ids, 0.5).tolist() == [1, 0, 1, 0]
  assert by_class.rarest(labels, ids, 0.01).tolist() == [1, 0, 0, 0]
  assert by_class.rarest(labels, ids, 0.99).tolist() == [1, 0, 1, 1]
  assert by_class.rarest(labels[2:], ids, 0.2).tolist() == [1, 0, 0, 0]


def test_superclasses_from_json_and_csv(tmp_path):
  given, names = answers(), ('cat', 'dog', 'car', 'bus')
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
    rows = keyed(made.run(seen(given, None, names))[0])
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
    classes.Classes(superclasses=str(table)).run(seen(given, None, names))


@pytest.mark.parametrize(
  ('name', 'text', 'said'),
  [
    ('a.json', '[1]', 'must hold one object'),
    ('a.json', '{"a": ["b"]}', 'must hold one object'),
    ('a.json', '{', 'is no JSON'),
    ('a.json', '{"a": "b", "a": "c"}', "class 'a' both in 'b' and in 'c'"),
    ('a.csv', 'a,b,c\n', "one line is 'a,b,c'"),
    ('a.txt', 'a,b\n', 'must end in .json or .csv'),
    ('none.csv', None, 'is no file'),
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
  with pytest.raises(ValueError, match='bins=0 must be at least 1'):
    calibration.Calibration(bins=0)


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
  assert by_class.trend(nested_right(counts)) == expected


def test_changes_count_the_same_queries_once():
  right = np.random.default_rng(0).random((3, 40)) < 0.5
  gained, _ = by_class.changes(right)
  for i in range(3):
    for j in range(3):
      won = sum(b and not a for a, b in zip(right[i], right[j]))
      missed = sum(a and not b for a, b in zip(right[i], right[j]))
      assert gained[i, j] == won - missed


def test_five_of_five_gained_are_noise_and_six_of_six_are_not():
  # The exact two-sided sign test: 2 / 32 and 2 / 64.
  assert by_class.trend(nested_right((0, 5))) == 'flat'
  assert by_class.trend(nested_right((0, 6))) == 'rises'


def test_each_class_has_its_own_trend():
  labels = np.repeat([3, 70_001], 50)
  right = np.concatenate(
    [nested_right((5, 20, 45), 50), nested_right((45, 20, 5), 50)], axis=1
  )
  said = np.where(right, labels, 8)[..., None]
  given = evidence.Answers(DIMS, said, right * 1.0, labels, 'probe')
  _, details = classes.Classes().run(seen(given))
  assert [one['trend'] for one in details['classes']] == ['rises', 'falls']
  assert details['most_gained'][0]['name'] == '3'
  assert details['most_lost'][0]['change'] == pytest.approx(-0.8)


def test_classes_that_do_not_change_are_seldom_said_to():
  rng = np.random.default_rng(0)
  for n, dims in ((10, 2), (50, 5)):
    said = [
      by_class.trend(rng.random((dims, n)) < 0.6) != 'flat' for _ in range(400)
    ]
    assert np.mean(said) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_macro_interval_is_wilsons_where_classes_are_balanced():
  hits, totals = np.asarray([3, 7, 10]), np.full(3, 10)
  expected = intervals.wilson(20, 30)
  np.testing.assert_allclose(by_class.macro_interval(hits, totals), expected)


@pytest.mark.parametrize('seed', range(3))
def test_macro_intervals_cover(seed):
  rng = np.random.default_rng(seed)
  totals = rng.integers(2, 40, 30)
  share = rng.uniform(0.6, 1, 30)
  inside = 0
  for _ in range(300):
    low, high = by_class.macro_interval(rng.binomial(totals, share), totals)
    inside += low <= share.mean() <= high
  assert inside >= 0.92 * 300


def naive_bins(confidence, bins, mass):
  if mass:
    return [
      sum(other < c for other in confidence) * bins // len(confidence)
      for c in confidence
    ]
  return [
    next(i for i in range(bins) if c <= (i + 1) / bins) for c in confidence
  ]


def naive_error(confidence, right, where, bins):
  total = 0.0
  for i in range(bins):
    inside = [n for n, b in enumerate(where) if b == i]
    if inside:
      sure = sum(confidence[n] for n in inside) / len(inside)
      hits = sum(bool(right[n]) for n in inside) / len(inside)
      total += len(inside) / len(confidence) * abs(hits - sure)
  return total


@pytest.mark.parametrize('bins', [1, 4, 15])
def test_calibration_error_equals_a_loop(bins):
  given = answers(90)
  given.confidence[:, :8] = [0, 1, 0.5, 0.5, 0.25, 0.75, 1, 1]  # edges, ties
  rows, details = calibration.Calibration(bins).run(seen(given))
  rows = keyed(rows)
  for g, m in enumerate(DIMS):
    sure = [float(c) for c in given.confidence[g]]
    for metric, mass in (('ece', False), ('ece_adaptive', True)):
      where = naive_bins(sure, bins, mass)
      row = rows[f'calibration/{metric}/d{m}']
      expected = naive_error(sure, given.right[g], where, bins)
      assert row['value'] == pytest.approx(expected, abs=1e-12)
      assert 0 <= row['ci_low'] <= row['value'] <= row['ci_high'] <= 1
    gap = np.mean(sure) - np.mean(given.right[g])
    assert details['overconfidence'][g] == pytest.approx(gap)
  assert calibration.Calibration(bins).run(seen(given))[0] == list(
    rows.values()
  )
  json.dumps(details)


def test_reliability_equals_scikit_learn():
  from sklearn.calibration import calibration_curve

  given = answers(300)
  _, details = calibration.Calibration(10).run(seen(given))
  for g in range(3):
    accuracy, sure = calibration_curve(
      given.right[g], given.confidence[g].astype(np.float64), n_bins=10
    )
    found = details['reliability'][g]
    np.testing.assert_allclose([b['accuracy'] for b in found], accuracy)
    np.testing.assert_allclose([b['confidence'] for b in found], sure)
    assert sum(b['count'] for b in found) == 300
    counts = [b['count'] for b in details['reliability_adaptive'][g]]
    assert counts == [30] * 10


def test_equal_confidences_share_a_bin_in_any_order():
  sure = np.asarray([0.9, 0.5, 0.9, 0.9, 0.1, 0.9])
  where = calibration.equal_mass(sure, 3)
  assert where.tolist() == [1, 0, 1, 1, 0, 1]
  order = np.random.default_rng(0).permutation(6)
  assert (calibration.equal_mass(sure[order], 3) == where[order]).all()


def test_one_query():
  given = answers(1, ids=(70_001,))
  for made in (
    agreement.Agreement(),
    classes.Classes(),
    calibration.Calibration(),
  ):
    for row in made.run(seen(given, np.asarray([70_001])))[0]:
      assert 0 <= row['ci_low'] <= row['value'] <= row['ci_high'] <= 1


def drawn(n, sharpness, seed):
  """Queries whose confidence is sharper than their chance to be right."""
  rng = np.random.default_rng(seed)
  logit = rng.normal(1.5, 1.2, n)
  sure = 1 / (1 + np.exp(-sharpness * logit))
  return sure, rng.random(n) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize('sharpness', [1.0, 1.6])
def test_calibration_intervals_equal_a_loop_of_resamples(sharpness):
  sure, right = drawn(60, sharpness, 3)
  where, gaps = calibration.equal_width(sure, 6), right - sure
  low, high = calibration.bounds(gaps[None], where[None], 6)

  def parts(rows):
    return [sum(gaps[i] for i in rows if where[i] == b) / 60 for b in range(6)]

  every, rng = parts(range(60)), np.random.default_rng(calibration.SEED)
  value, drawn_errors, noise = sum(map(abs, every)), [], []
  for _ in range(calibration.RESAMPLES):
    again = parts(rng.integers(60, size=60))
    drawn_errors.append(sum(map(abs, again)))
    noise.append(sum(abs(a - b) for a, b in zip(again, every)))
  few, many = np.quantile(drawn_errors, 0.01), np.quantile(drawn_errors, 0.99)
  bottom = 0 if value <= np.quantile(noise, 0.975) else 2 * value - many
  assert low[0] == pytest.approx(min(max(bottom, 0), value))
  assert high[0] == pytest.approx(max(2 * value - few, value))


@pytest.mark.parametrize(('sharpness', 'n'), [(1.6, 400), (1.0, 400)])
def test_calibration_intervals_hold_the_error_without_noise(sharpness, n):
  def gaps(size, seed):
    sure, right = drawn(size, sharpness, seed)
    return (right - sure)[None], calibration.equal_width(sure, 15)[None]

  true = calibration.error(calibration.summed(*gaps(400_000, 99), 15))[0]
  inside, plug_in = 0, []
  for seed in range(80):
    found = gaps(n, seed)
    low, high = calibration.bounds(*found, 15)
    inside += low[0] <= true <= high[0]
    plug_in.append(calibration.error(calibration.summed(*found, 15))[0])
  assert np.mean(plug_in) > true  # the bias that the interval takes off
  assert inside >= 0.9 * 80
