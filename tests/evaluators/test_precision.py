"""Stored codes, the quality they keep, and the cheapest that suffices."""

import json
import math

import ml_dtypes
import numpy as np
import pytest

from mrl_jax import intervals, sharding
from mrl_jax.embed import evidence, quantise, recommend
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import precision

DIMS = (3, 9, 16)


def rows(n=400, seed=0, width=16):
  rng = np.random.default_rng(seed)
  scale = 0.9 ** np.arange(width)
  return (rng.normal(size=(n, width)) * scale + 0.2).astype(np.float32)


def calibrated(z, **options):
  z = quantise.normalised(z)
  return z, quantise.calibrate(z, **options)


@pytest.mark.parametrize('kind', quantise.PRECISIONS)
def test_codes_of_a_prefix_are_the_prefix_of_the_codes(kind):
  z, by = calibrated(rows())
  whole = quantise.decode(quantise.encode(z, kind, by), kind, by, 16)
  for m in (1, 7, 8, 9, 16):
    codes = quantise.encode(z[:, :m], kind, by)
    assert codes.nbytes == len(z) * quantise.vector_bytes(kind, m)
    np.testing.assert_array_equal(
      quantise.decode(codes, kind, by, m), whole[:, :m]
    )


def test_codes_are_near_what_they_stand_for():
  z, by = calibrated(rows(), clip=0.0)
  for kind, relative, absolute in (
    ('float32', 0, 0),
    ('float16', 2**-11, 1e-7),
    ('float8', 2**-4, by.largest / 240 * 2**-10),
    ('int8', 0, by.step / 2 + 1e-7),
  ):
    back = quantise.decode(quantise.encode(z, kind, by), kind, by, 16)
    assert (np.abs(back - z) <= relative * np.abs(z) + absolute).all(), kind
  codes = quantise.encode(z, 'int8', by)
  assert codes.min() == -128 and codes.max() == 127


def test_values_beyond_the_range_are_clipped_and_never_wrap():
  z, by = calibrated(rows(), clip=0.01)
  far = np.concatenate([z + 50, z - 50, z * 1e6])
  codes = quantise.encode(far, 'int8', by)
  assert (codes[:400] == 127).all() and (codes[400:800] == -128).all()
  eight = quantise.encode(far, 'float8', by)
  assert eight.dtype == ml_dtypes.float8_e4m3fn
  assert np.isfinite(eight.astype(np.float32)).all()
  outside = (z > by.high) | (z < by.low)
  assert 0.01 < outside.mean() < 0.03


def test_zero_rows_and_constant_coordinates():
  z = np.zeros((5, 4), np.float32)
  z[1:, 0] = 2
  z, by = calibrated(z, centre='zero')
  for kind in quantise.PRECISIONS[:-1]:
    back = quantise.decode(quantise.encode(z, kind, by), kind, by, 4)
    np.testing.assert_allclose(back, z, atol=0.01)


def test_bits_are_packed_row_by_row_and_distances_are_products():
  z, by = calibrated(rows(50))
  for m in (1, 7, 9, 16):
    codes = quantise.encode(z[:, :m], 'binary', by)
    bits = z[:, :m] > z.mean(axis=0)[:m]
    assert codes.shape == (50, -(-m // 8))
    for row, code in zip(bits, codes):
      text = ''.join(f'{byte:08b}' for byte in code)
      assert text == ''.join(map(str, row.astype(int))).ljust(len(text), '0')
    signs = quantise.decode(codes, 'binary', by, m)
    expected = (bits[:, None] != bits[None]).sum(axis=-1)
    np.testing.assert_array_equal(quantise.hamming(codes, codes), expected)
    np.testing.assert_array_equal(signs @ signs.T, m - 2 * expected)
  around_zero = quantise.calibrate(z, centre='zero')
  codes = quantise.encode(z, 'binary', around_zero)
  np.testing.assert_array_equal(np.unpackbits(codes, axis=1), z > 0)


def shown(database=400, asked=60, labels=True):
  rng = np.random.default_rng(5)
  centres = rng.normal(size=(12, 16)) * 0.9 ** np.arange(16)
  sides = []
  for n in (database, asked):
    index = rng.integers(0, 12, n)
    x = centres[index] + 0.6 * rng.normal(size=(n, 16)) + 0.3
    ids = index * 70_000 if labels else None
    sides.append(Vectors(x.astype(np.float32), ids))
  return evidence.Evidence(
    dims=DIMS,
    trained=DIMS,
    mesh=sharding.make_mesh(),
    embed=dict(zip(('train', 'validation'), sides)).__getitem__,
  )


def cosines(one, two, m):
  one, two = (
    z[:, :m].astype(np.float64)
    / np.linalg.norm(z[:, :m].astype(np.float64), axis=1, keepdims=True)
    for z in (one, two)
  )
  return one @ two.T


def test_every_point_is_a_naive_search_of_its_codes():
  seen = shown()
  evaluator = precision.Precision(k=5, rescore=3)
  found, details = evaluator.run(seen)
  by = {(r['metric'], r['variant'], r['dim']): r for r in found}
  assert len(by) == len(found) == 2 * 6 * 3
  z, ranges = calibrated(seen.database.embeddings, clip=0.001)
  asked = quantise.normalised(seen.queries.embeddings)
  full = cosines(asked, z, 16)
  fifth = np.sort(full, axis=1)[:, -5]
  nearest = seen.database.labels[full.argmax(axis=1)] == seen.queries.labels
  for kind in (*quantise.PRECISIONS, 'binary_rescored'):
    for m in DIMS:
      stored = 'binary' if kind == 'binary_rescored' else kind
      codes = quantise.encode(z[:, :m], stored, ranges)
      back = quantise.decode(codes, stored, ranges, m)
      if stored == 'binary':
        query = quantise.encode(asked[:, :m], 'binary', ranges)
        scores = -quantise.hamming(query, codes)
      else:
        scores = cosines(asked, back, m)
      order = np.argsort(-scores, axis=1, kind='stable')
      if kind == 'binary_rescored':
        eight = quantise.encode(z[:, :m], 'int8', ranges)
        eight = quantise.decode(eight, 'int8', ranges, m)
        again = np.take_along_axis(cosines(asked, eight, m), order[:, :15], 1)
        best = np.argsort(-again, axis=1, kind='stable')
        order = np.take_along_axis(order[:, :15], best, 1)
      order = order[:, :5]
      right = seen.database.labels[order[:, 0]] == seen.queries.labels
      share = np.take_along_axis(full, order, 1) >= fifth[:, None] - 1e-6
      top1, recall = by['top1', kind, m], by['recall', kind, m]
      assert top1['value'] == pytest.approx(right.mean(), abs=1e-12), (kind, m)
      assert recall['value'] == pytest.approx(share.mean(), abs=1e-12)
      assert recall['k'] == 5 and recall['kept'] == recall['value']
      assert top1['kept'] == pytest.approx(right.sum() / nearest.sum())
      assert top1['kept_low'] < top1['kept'] < top1['kept_high']
      more = m if kind == 'binary_rescored' else 0
      assert top1['bytes'] == codes.shape[1] * codes.itemsize
      assert top1['bytes_rescore'] == more
  assert by['recall', 'float32', 16]['value'] == 1
  assert len(details['points']) == 18 and details['metric'] == 'top1'
  json.dumps((found, details), allow_nan=False)
  assert evaluator.run(seen) == (found, details)


def test_duplicates_count_as_found():
  seen = shown(database=40)
  twice = np.repeat(seen.database.embeddings, 20, axis=0)
  database = Vectors(twice)
  found = {
    'float32': np.zeros((1, 60, 5), int),
    'int8': np.zeros((1, 60, 5), int),
  }
  best = cosines(seen.queries.embeddings, twice, 16).argmax(axis=1)
  found['float32'][0] = best[:, None] + np.arange(5)
  found['int8'][0] = best[:, None] + 19 - np.arange(5)
  shares = precision.recall(seen.queries, database, found, 5)
  assert (shares['int8'] == 1).all()


def test_without_labels_with_few_rows_and_one_query():
  evaluator = precision.Precision(queries=50, examples=300, calibration=100)
  found, details = evaluator.run(shown(labels=False))
  assert {r['metric'] for r in found} == {'recall'}
  assert {r['n'] for r in found} == {50}
  assert details['database_rows'] == 300
  assert details['database_rows_of'] == 400
  assert details['recommendation']['metric'] == 'recall@10'
  assert all('.' in name for name in evaluator.metrics)
  few, details = precision.Precision().run(shown(database=3, asked=1))
  assert {r['k'] for r in few if r['metric'] == 'recall'} == {3}
  assert details['recommendation']['text'].startswith('nothing smaller than 16')
  json.dumps((few, details), allow_nan=False)


def test_the_front():
  points = [
    (4, 0.5),
    (2, 0.5),
    (8, 0.9),
    (8, 0.7),
    (16, 0.8),
    (1, 0.2),
    (8, 0.9),
  ]
  assert recommend.front(points) == [5, 1, 2]


def drawn(rng, count, kept):
  """Hits of points and, last, of the full width, which they resemble."""
  full = rng.random(count) < 0.85
  points = []
  for share in kept:
    # Right where full is, less often; sometimes where it is wrong.
    gain = 0.2
    stay = share - gain * 0.15 / 0.85
    points.append(
      np.where(full, rng.random(count) < stay, rng.random(count) < gain)
    )
  return np.stack([*points, full])


POINTS = [
  dict(dim=m, precision=p, bytes_all=b)
  for m, p, b in ((8, 'int8', 8), (16, 'int8', 16), (64, 'float32', 256))
]


def test_the_recommendation_is_the_cheapest_that_suffices():
  rng = np.random.default_rng(0)
  values = drawn(rng, 20000, (0.9, 0.999))
  said = recommend.cheapest(POINTS, values, 'top1', 0.99, 0)
  assert (said['dim'], said['precision'], said['n']) == (16, 'int8', 10000)
  assert (said['bytes'], said['full_bytes']) == (16, 256)
  low, kept, high = (
    f'{100 * said[key]:.1f}' for key in ('kept_low', 'kept', 'kept_high')
  )
  assert said['text'] == (
    f'16 dims in int8 keep {kept}% ({low} to {high}) of top-1 at 1/16 of the '
    'bytes'
  )
  less = recommend.cheapest(POINTS, values, 'recall@10', 0.85, 0)
  assert less['dim'] == 8 and 'of recall@10 at 1/32 of' in less['text']
  none = recommend.cheapest(
    POINTS, drawn(rng, 300, (0.5, 0.6)), 'top1', 0.99, 0
  )
  assert none['precision'] == 'float32' and none['dim'] == 64
  assert none['text'].startswith('nothing smaller than 64 dims in float32')


def test_without_a_hit_at_full_width_nothing_is_kept():
  seen = shown()
  seen.queries.labels[:] = -1
  rows, details = precision.Precision(k=5).run(seen)
  top1 = [row for row in rows if row['metric'] == 'top1']
  assert {(row['value'], row['kept']) for row in top1} == {(0, None)}
  json.dumps([rows, details], allow_nan=False)
  missed = np.zeros(40, bool)
  assert math.isnan(recommend.share_kept(missed, missed)[0])
  said = recommend.cheapest(POINTS, np.stack([missed] * 3), 'top1', 0.99, 0)
  assert said['kept'] is None and said['text'].startswith('nothing smaller')


def test_what_is_told_does_not_depend_on_what_it_was_chosen_by():
  values = drawn(np.random.default_rng(0), 400, (0.99, 0.99))
  said = recommend.cheapest(POINTS, values, 'top1', 0.9, 3)
  one = np.random.default_rng(3).permutation(400)[:200]
  other = np.setdiff1d(np.arange(400), one)
  point = values[0, other].sum() / values[2, other].sum()
  assert said['dim'] == 8 and said['kept'] == point and said['n'] == 200


@pytest.mark.parametrize('size', [300, 2000])
def test_intervals_of_recommendations_cover(size):
  rng = np.random.default_rng(size)
  # Cheap points differ little: the one chosen is chosen by luck too.
  truth = (0.975, 0.985, 0.99, 0.995)
  points = [
    dict(dim=8 + i, precision='int8', bytes_all=i + 1) for i in range(4)
  ] + [dict(dim=64, precision='float32', bytes_all=256)]
  covered = told = 0
  for trial in range(600):
    values = drawn(rng, size, truth)
    said = recommend.cheapest(points, values, 'top1', 0.97, trial)
    if said['dim'] < 64:
      told += 1
      share = truth[said['dim'] - 8]
      covered += said['kept_low'] <= share <= said['kept_high']
  assert told > 300 and covered / told >= 0.93


@pytest.mark.parametrize('share', [0.8, 0.97, 1.0])
@pytest.mark.parametrize('n', [60, 500])
def test_the_interval_of_a_paired_ratio_covers(share, n):
  rng = np.random.default_rng(n)
  covered = 0
  for _ in range(1500):
    one, full = drawn(rng, n, (share,))
    both = int(np.sum(one & full))
    low, high = intervals.paired_ratio(
      both, int(np.sum(one & ~full)), int(np.sum(full & ~one))
    )
    covered += low <= share <= high
  assert covered / 1500 >= 0.93


@pytest.mark.parametrize(
  'draw',
  [
    lambda rng, n: rng.random(n),
    lambda rng, n: rng.integers(0, 11, n) / 10,
    lambda rng, n: (rng.random(n) < 0.9).astype(float),
    lambda rng, n: rng.beta(8, 0.5, n),
    lambda rng, n: np.where(rng.random(n) < 0.03, 0.0, 1.0),
  ],
)
@pytest.mark.parametrize('n', [25, 400])
def test_the_interval_of_a_mean_covers(draw, n):
  rng = np.random.default_rng(n)
  truth = draw(rng, 2_000_000).mean()
  covered = 0
  for _ in range(1500):
    low, high = intervals.mean(draw(rng, n))
    covered += low <= truth <= high
  assert covered / 1500 >= 0.93


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(k=0), 'k=0, rescore=4'),
    (dict(keep=1.5), 'keep=1.5 must be a share'),
    (dict(clip=0.5), 'clip=0.5 must be'),
    (dict(centre='median'), "centre='median' must be mean or zero"),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    precision.Precision(**options)
  with pytest.raises(ValueError, match="precision='int4' must be one of"):
    quantise.vector_bytes('int4', 8)
