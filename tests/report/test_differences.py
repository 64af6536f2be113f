"""Differences of runs against a naive computation; which runs are alike."""

import dataclasses
import math

import numpy as np
import pytest

from mrl_jax import intervals, rows
from mrl_jax.granularity import Granularity
from mrl_jax.report import compare, differences
from tests.samples.compared import DIMS, changed, hits, write_run


@pytest.fixture
def read(tmp_path):
  """Writes a run and reads it as compare does."""

  def write_and_read(name, per_query, **options):
    return differences.read_newest(
      write_run(tmp_path / name, per_query, **options)
    )

  return write_and_read


def knn(rng, n=500, shares=(0.5, 0.7, 0.8, 0.9)):
  return {('knn', 'top1'): hits(rng, n, shares)}


def test_differences_are_those_of_naive_sums(read):
  """Counts by hand, one addition of 1 and -1 per z^2/4, Bonferroni's z."""
  from scipy import stats

  rng = np.random.default_rng(0)
  one, two = knn(rng), knn(rng, shares=(0.4, 0.7, 0.85, 0.9))
  maps = [
    {m: (rng.integers(0, 11, 500) / 10).astype(np.float16) for m in DIMS[:2]}
    for _ in range(2)
  ]
  runs = [
    read(name, {**it, ('retrieval', 'map'): of_maps})
    for name, it, of_maps in zip('ab', (one, two), maps)
  ]
  ((pair,),) = differences.compare_pairs([runs])
  assert len(pair.differences) == 6
  z = stats.norm.ppf(1 - 0.05 / 6 / 2)
  added = z * z / 4
  for it in pair.curves['knn/top1']:
    a, b = (x['knn', 'top1'][it.size.dim] for x in (one, two))
    up, down = sum(a & ~b) + added, sum(b & ~a) + added
    n = 500 + 2 * added
    mean = (up - down) / n
    half = z * math.sqrt(((up + down) / n - mean**2) / n)
    assert it.paired and it.seeds is None
    assert (it.low, it.high) == pytest.approx((mean - half, mean + half))
    assert it.value == pytest.approx(a.mean() - b.mean())
  for it in pair.curves['retrieval/map@10']:
    a, b = (x[it.size.dim].astype(float) for x in maps)
    assert it.value == pytest.approx((a - b).mean(), abs=1e-6)
    expected = intervals.paired_difference(a - b, z)
    assert (it.low, it.high) == pytest.approx(expected)


def test_swapped_runs_have_swapped_signs(read):
  rng = np.random.default_rng(1)
  runs = [read(name, knn(rng)) for name in 'ab']
  ((there,),) = differences.compare_pairs([runs])
  ((back,),) = differences.compare_pairs([runs[::-1]])
  for it, other in zip(there.differences, back.differences):
    assert (it.value, it.low, it.high) == pytest.approx(
      (-other.value, -other.high, -other.low)
    )


@pytest.mark.parametrize(
  'low, high, verdict',
  [
    (0.001, 0.3, 'better'),
    (-0.3, -0.001, 'worse'),
    (-0.02, 0.01, 'level'),
    (-0.0201, 0.01, 'undecided'),
    (0.0, 0.3, 'undecided'),
    (-math.inf, math.inf, 'undecided'),
  ],
)
def test_verdicts_are_of_the_whole_interval(low, high, verdict):
  size = Granularity(8)
  it = differences.Difference('knn/top1', size, 0.0, low, high, True, None)
  assert it.verdict == verdict


@pytest.mark.parametrize(
  'data', [(None, None), (None, 'x'), ('x', 'x')], ids=str
)
def test_rows_are_compared_where_pairs_are_not_known(read, tmp_path, data):
  """The data have no names, or a run has no values per query."""
  rng = np.random.default_rng(2)
  one, two = knn(rng), knn(rng)
  old, new = (
    read(name, it, data=of_run)
    for name, it, of_run in zip(('old', 'new'), (one, two), data)
  )
  if data == ('x', 'x'):
    (tmp_path / 'old/eval/5/parts/knn.npz').unlink()
    old = differences.read_newest(tmp_path / 'old')
  ((pair,),) = differences.compare_pairs([[old, new]])
  z = 2.4977  # 1 - 0.05 / 4, two-sided
  for it in pair.differences:
    name = f'knn/top1/d{it.size.dim}'
    a, b = (
      (row['value'], row['ci_low'], row['ci_high'])
      for row in (old.main_rows[name], new.main_rows[name])
    )
    expected = intervals.unpaired_difference(a, b, z)
    assert not it.paired
    assert (it.low, it.high) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
  'wrong',
  [
    lambda x: x[:-1],  # another number of queries
    lambda x: ~x,  # of another evaluation
    lambda x: x * 2.0,
    lambda x: np.where(x, np.nan, 0.0),
  ],
)
def test_values_of_another_evaluation_are_not_used(read, tmp_path, wrong):
  rng = np.random.default_rng(3)
  values = knn(rng)
  read('a', values)
  path = tmp_path / 'a/eval/5/parts/knn.npz'
  arrays = dict(np.load(path))
  np.savez(path, **{**arrays, 'knn/top1/d8': wrong(arrays['knn/top1/d8'])})
  run = differences.read_newest(tmp_path / 'a')
  assert set(run.per_query) == {f'knn/top1/d{m}' for m in DIMS[1:]}


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'no archive'])
def test_a_broken_file_of_values_is_named(read, tmp_path, content):
  read('a', knn(np.random.default_rng(3)))
  (tmp_path / 'a/eval/5/parts/knn.npz').write_bytes(content)
  run = differences.read_newest(tmp_path / 'a')
  assert run.per_query == {} and 'parts/knn.npz was left out' in run.notes[0]


def test_runs_are_parted_by_their_data(read):
  rng = np.random.default_rng(4)

  def names(*runs):
    return [
      ''.join(run.name for run in group) for group in differences.by_data(runs)
    ]

  a, b = (read(name, knn(rng), data='x') for name in 'ab')
  other = read('c', knn(rng), data='y')
  fewer = read('d', knn(rng, 400), data='x')
  old, older = (read(name, knn(rng), data=None) for name in 'ef')
  assert names(a, b) == ['ab']
  assert names(a, other, b) == ['ab', 'c']
  assert names(a, fewer) == ['a', 'd']
  assert names(old, older) == ['ef']
  assert names(old, a, b) == ['eab']
  assert names(old, a, other, older) == ['ef', 'a', 'c']


def test_of_many_runs_each_is_compared_with_the_first(read):
  run = read('a', knn(np.random.default_rng(5)))
  runs = [dataclasses.replace(run, name=f'{i}') for i in range(7)]
  (pairs,) = differences.compare_pairs([runs])
  assert [(p.first.name, p.second.name) for p in pairs] == [
    ('0', f'{i}') for i in range(1, 7)
  ]
  assert len(differences.compare_pairs([runs[:6]])[0]) == 15


def group(read, name, base, seeds, rng, shift=0.0):
  """Runs of one config with those seeds; some of their hits are drawn."""
  runs = []
  for seed in seeds:
    values = {('knn', 'top1'): changed(rng, base, 0.05 + shift)}
    config = {'name': name, 'seed': seed}
    runs.append(read(f'{name}-s{seed}', values, config=config))
  (of_seeds,) = compare._grouped(runs)
  return of_seeds


def test_groups_are_compared_by_seed(read):
  """The ends are those of queries and of Student's t, squares added."""
  from scipy import stats

  rng = np.random.default_rng(6)
  base = hits(rng, 500, (0.5, 0.7, 0.8, 0.9))
  one = group(read, 'a', base, (0, 1, 2), rng)
  two = group(read, 'b', base, (1, 2, 0, 5), rng, shift=0.3)
  ((pair,),) = differences.compare_pairs([[one, two]])
  level = 1 - 0.05 / 4
  for it in pair.differences:
    name = f'knn/top1/d{it.size.dim}'
    apart = np.array(
      [one.seeds[s].per_query[name] - two.seeds[s].per_query[name]
       for s in (0, 1, 2)]
    )  # fmt: skip
    z = stats.norm.ppf(1 - 0.05 / 8)
    low, high = intervals.paired_difference(apart.mean(axis=0), z)
    t = stats.ttest_1samp(apart.mean(axis=1), 0).confidence_interval(level)
    value = apart.mean()
    below = math.hypot(value - low, value - t.low)
    above = math.hypot(high - value, t.high - value)
    assert (it.value, it.seeds, it.paired) == (pytest.approx(value), 3, True)
    assert (it.low, it.high) == pytest.approx((value - below, value + above))


@pytest.mark.parametrize('seeds', [(0,), (0, 7, 8), (7, 8)])
def test_fewer_than_two_seeds_in_common_decide_nothing(read, seeds):
  rng = np.random.default_rng(7)
  base = hits(rng, 500, (0.9, 0.9, 0.9, 0.95))
  one = group(read, 'a', base, (0, 1, 2), rng)
  two = group(read, 'b', {m: ~x for m, x in base.items()}, seeds, rng)
  ((pair,),) = differences.compare_pairs([[one, two]])
  assert {it.verdict for it in pair.differences} == {'undecided'}
  count = '1 seed' if 0 in seeds else 'no seeds'
  first = pair.differences[0]
  assert first.text.endswith(f' points ({count} in common)')
  apart = np.subtract(
    *(np.mean([s.main_rows['knn/top1/d8']['value'] for s in it.seeds.values()])
      for it in (one, two))
  )  # fmt: skip
  assert first.value == pytest.approx(apart)


def test_all_verdicts_of_a_page_are_right_at_once():
  """Better and worse are wrong on few of 200 pages of runs alike in truth."""
  rng, wrong = np.random.default_rng(8), 0
  for _ in range(200):
    base = hits(rng, 300, (0.6, 0.8, 0.9, 0.97))
    runs = []
    for name in 'abc':
      values = changed(rng, base, 0.2)
      points = [rows.mean('knn', 'top1', m, x) for m, x in values.items()]
      per_query = {f'knn/top1/d{m}': x * 1.0 for m, x in values.items()}
      runs.append(
        differences.Compared(
          name, points, {'evaluation': {'data': 'x'}}, per_query=per_query
        )
      )
    (pairs,) = differences.compare_pairs([runs])
    verdicts = {it.verdict for pair in pairs for it in pair.differences}
    wrong += bool(verdicts & {'better', 'worse'})
  assert wrong <= 0.05 * 200 + 3
