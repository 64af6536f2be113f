"""The quality that stored codes keep, and the cheapest that suffices."""

import functools
import json
import math

import numpy as np
import pytest

from mrl_jax import nested
from mrl_jax.embed import quantise, relevance, shortlist, vectors
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import precision
from mrl_jax.evaluators.precision import recommendation
from tests.samples.vectors import cosines, evidence_of, paired_hits

DIMS = (3, 9, 16)


def shown(database=400, asked=60, labels=True):
  rng = np.random.default_rng(5)
  centres = rng.normal(size=(12, 16)) * 0.9 ** np.arange(16)
  sides = []
  for n in (database, asked):
    index = rng.integers(0, 12, n)
    x = centres[index] + 0.6 * rng.normal(size=(n, 16)) + 0.3
    ids = index * 70_000 if labels else None
    sides.append(Vectors(x.astype(np.float32), ids))
  return evidence_of(*sides, DIMS)


def test_every_point_is_a_naive_search_of_its_codes():
  seen = shown()
  evaluator = precision.Precision(k=5, rescore=3)
  found, details = evaluator.run(seen)
  by = {(r['metric'], r['variant'], r['dim']): r for r in found}
  assert len(by) == len(found) == 2 * 6 * 3
  z = nested.unit(seen.database.embeddings)
  ranges = quantise.measure(z, clip=0.001)
  asked = nested.unit(seen.queries.embeddings)
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
        differ = query[:, None] ^ codes[None]
        scores = -np.bitwise_count(differ).sum(axis=-1, dtype=np.int64)
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
  queries = seen.queries.embeddings
  scores = cosines(queries, twice, 16)
  best = scores.argmax(axis=1)[:, None] + np.arange(20)
  exact = np.take_along_axis(scores, best[:, :5], 1), best[:, :5]
  found = best[:, :14:-1]
  shares = shortlist.recall(shortlist.Database(twice), queries, found, exact)
  assert (shares == 1).all()


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
  assert details['recommendation'] == {}  # one query tells nothing
  json.dumps((few, details), allow_nan=False)


POINTS = [
  dict(dim=m, precision=p, bytes_all=b)
  for m, p, b in ((8, 'int8', 8), (16, 'int8', 16), (64, 'float32', 256))
]


def test_the_recommendation_is_the_cheapest_that_suffices():
  rng = np.random.default_rng(0)
  values = paired_hits(rng, 20000, (0.9, 0.999))
  said = recommendation.cheapest(POINTS, values, 'top1', 0.99, 0)
  assert (said['dim'], said['precision'], said['n']) == (16, 'int8', 10000)
  assert (said['bytes'], said['full_bytes']) == (16, 256)
  low, kept, high = (
    f'{100 * said[key]:.1f}' for key in ('kept_low', 'kept', 'kept_high')
  )
  assert said['text'] == (
    f'16 dims in int8 keep {kept}% ({low} to {high}) of top-1 at 1/16 of the '
    'bytes'
  )
  less = recommendation.cheapest(POINTS, values, 'recall@10', 0.85, 0)
  assert less['dim'] == 8 and 'of recall@10 at 1/32 of' in less['text']
  none = recommendation.cheapest(
    POINTS, paired_hits(rng, 300, (0.5, 0.6)), 'top1', 0.99, 0
  )
  assert none['precision'] == 'float32' and none['dim'] == 64
  assert none['text'].startswith('nothing smaller than 64 dims in float32')


@pytest.mark.parametrize('classes', ['one', 'alike', 'apart'])
def test_nothing_is_recommended_where_dims_are_alike(classes):
  seen = shown(asked=300)
  rng = np.random.default_rng(0)
  for side in (seen.database, seen.queries):
    if classes == 'one':
      side.labels[:] = 7
    elif classes == 'alike':
      side.labels[:] = rng.integers(0, 12, len(side))
  found, details = precision.Precision().run(seen)
  said = details['recommendation']
  assert bool(said) == ('text' in said) == (classes == 'apart')
  by = {r['dim']: r for r in found if r['metric'] == 'top1'}
  assert (by[3]['value'] == by[16]['value'] == 1) == (classes == 'one')


def test_without_a_hit_at_full_width_nothing_is_kept():
  seen = shown()
  seen.queries.labels[:] = -1
  rows, details = precision.Precision(k=5).run(seen)
  top1 = [row for row in rows if row['metric'] == 'top1']
  assert {(row['value'], row['kept']) for row in top1} == {(0, None)}
  json.dumps([rows, details], allow_nan=False)
  missed = np.zeros(40, bool)
  assert math.isnan(recommendation.share_kept(missed, missed)[0])
  said = recommendation.cheapest(
    POINTS, np.stack([missed] * 3), 'top1', 0.99, 0
  )
  assert said['kept'] is None and said['text'].startswith('nothing smaller')


def test_what_is_told_does_not_depend_on_what_it_was_chosen_by():
  values = paired_hits(np.random.default_rng(0), 400, (0.99, 0.99))
  said = recommendation.cheapest(POINTS, values, 'top1', 0.9, 3)
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
    values = paired_hits(rng, size, truth)
    said = recommendation.cheapest(points, values, 'top1', 0.97, trial)
    if said['dim'] < 64:
      told += 1
      share = truth[said['dim'] - 8]
      covered += said['kept_low'] <= share <= said['kept_high']
  assert told > 300 and covered / told >= 0.93


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (dict(k=0), 'k=0 must be at least 1'),
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


def test_judged_rows_are_what_top1_counts():
  """Any grade above 0 counts; rows and queries drawn keep their judgements."""
  x = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)
  judged = {q: {q: 1 + q % 3} if q % 2 else {q: 0, 0: 1} for q in range(30)}
  seen = evidence_of(
    Vectors(x),
    Vectors(x),
    (8, 16),
    relate=functools.partial(relevance.by_judgement, judged),
  )
  evaluator = precision.Precision(k=3, queries=20)
  found, details = evaluator.run(seen)
  asked = vectors.draw_rows(np.random.default_rng(0), 30, 20)
  expected = np.mean((asked % 2 == 1) | (asked == 0))
  top1 = [row for row in found if row['metric'] == 'top1']
  whole = [row for row in top1 if row['variant'] == 'float32']
  assert {row['value'] for row in whole} == {expected}
  assert len(top1) == 12 and details['metric'] == 'top1'
