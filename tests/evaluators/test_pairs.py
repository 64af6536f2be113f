"""Scored pairs: correlations per dim against scipy, rivals, the decision."""

import json

import numpy as np
import pytest
from scipy import stats

from mrl_jax import correlation, errors, intervals
from mrl_jax.embed import proof, quantise, reductions, store
from mrl_jax.embed.scored import Scored
from mrl_jax.embed.store import Store
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import pairs
from mrl_jax.evaluators.pairs import decision
from tests.samples.vectors import evidence_of, keyed, unit

DIMS = (1, 4, 8, 16)
SCIPY = {'spearman': stats.spearmanr, 'pearson': stats.pearsonr}


def given(count=200, width=16, noise=0.2, seed=0, dead=True):
  """Pairs whose grades follow their cosine; few coordinates hold most.

  Sides repeat, some coordinates are constant, one vector is zero.
  """
  rng = np.random.default_rng(seed)
  scale = 0.8 ** np.arange(width)
  first = rng.normal(size=(count, width)) * scale
  mixed = rng.uniform(0, 1, (count, 1))
  second = (1 - mixed) * first + mixed * rng.normal(size=first.shape) * scale
  cosines = np.vecdot(unit(first), unit(second))
  scores = cosines + noise * rng.normal(size=count)
  grades = np.clip(np.round(5 * scores), 0, 5)
  first[1], second[2] = first[0], first[0]
  if dead:
    first[:, 5], second[:, 5] = 0.0, 0.0
    first[:, 6], second[:, 6] = 0.3, 0.3
    first[3] = 0.0
  sides = (Vectors(side.astype(np.float32)) for side in (first, second))
  return Scored(*sides, grades)


def asked(scored, dims=DIMS, **options):
  evidence = evidence_of(
    scored.first, scored.second, dims, functions={'pairs': lambda: scored}
  )
  assert evidence.has(*pairs.ScoredPairs.needs)
  return pairs.ScoredPairs(**options).run(evidence)


def cosine(left, right, m):
  """[p] of prefixes in float64, 0 for a zero prefix."""
  left, right = (np.asarray(x, np.float64)[:, :m] for x in (left, right))
  lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
  near = np.sum(left * right, axis=1) / np.where(lengths > 0, lengths, 1)
  return np.round(near, 12)


def test_correlations_of_prefixes_are_those_of_scipy():
  scored = given()
  rows, details = asked(scored)
  known = keyed(rows)
  for metric, theirs in SCIPY.items():
    for m in DIMS:
      near = cosine(scored.first.embeddings, scored.second.embeddings, m)
      row = known[f'pairs/{metric}/d{m}']
      assert row['value'] == pytest.approx(theirs(near, scored.scores)[0])
      assert row['n'] == 200 and row['per_query'].shape == (200,)
      assert row['per_query'].mean() == pytest.approx(row['value'])
      assert row['ci_low'] < row['value'] < row['ci_high']
  assert details['pairs'] == 200
  sides = [side.embeddings for side in (scored.first, scored.second)]
  assert details['texts'] == len(np.unique(np.concatenate(sides), axis=0)) < 400
  json.dumps({k: v for k, v in details.items() if k != 'arrays'})


def test_cosines_do_not_depend_on_blocks_or_on_lengths(monkeypatch):
  scored = given(dead=False)
  rows, _ = asked(scored)
  monkeypatch.setattr(pairs.cosines, 'PAIRS_AT_ONCE', 7)
  longer = Scored(
    Vectors(scored.first.embeddings * np.float32(1e-6)),
    Vectors(scored.second.embeddings * np.float32(8)),
    10 * scored.scores - 3,
  )
  again = keyed(asked(longer)[0])
  for name, row in keyed(rows).items():
    if '.' not in name:
      assert again[name]['value'] == pytest.approx(row['value'], abs=1e-5)


def test_equal_cosines_of_one_dim_are_ties():
  """Of one dim cosines are 1 or -1, whatever rounding makes of them."""
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=(2, 500, 3)).astype(np.float32)
  scored = Scored(Vectors(first), Vectors(second), np.arange(500.0))
  near = pairs.cosines.of_pairs(scored, (1, 3), lambda z: z)
  assert set(near[0]) == {-1.0, 1.0}


def test_pca_and_random_reductions():
  scored = given()
  rows, _ = asked(scored, seeds=3)
  known = keyed(rows)
  texts = np.unique(
    np.concatenate([scored.first.embeddings, scored.second.embeddings]), axis=0
  ).astype(np.float64)
  centred = texts - texts.mean(axis=0)
  axes = np.linalg.svd(centred, full_matrices=False)[2].T
  for m in (4, 8):
    sides = [
      (side.embeddings - texts.mean(axis=0)) @ axes[:, :m]
      for side in (scored.first, scored.second)
    ]
    expected = stats.spearmanr(cosine(*sides, m), scored.scores)[0]
    row = known[f'pairs/spearman.pca/d{m}']
    assert row['value'] == pytest.approx(expected, abs=2e-3)  # float32 maps
    assert 'per_query' not in row
    values = []
    for seed in range(3):
      turn = reductions.random_rotation(16, seed)
      sides = [turn(x.embeddings) for x in (scored.first, scored.second)]
      values.append(stats.spearmanr(cosine(*sides, m), scored.scores)[0])
    row = known[f'pairs/spearman.random_rotation/d{m}']
    assert row['value'] == pytest.approx(np.mean(values), abs=2e-3)
    assert row['spread'] == pytest.approx(np.std(values), abs=2e-3)
    assert row['seeds'] == 3
  for way in ('random_subset', 'random_rotation'):
    row = known[f'pairs/pearson.{way}/d16']  # the full width is the same
    assert row['value'] == pytest.approx(known['pairs/pearson/d16']['value'])


def test_differences_to_full_width_are_paired():
  rows, details = asked(given(), seeds=3)
  known = keyed(rows)
  full = known['pairs/spearman/d16']
  assert 'difference' not in full
  for m in (4, 8):
    row = known[f'pairs/spearman/d{m}']
    apart = row['per_query'] - full['per_query']
    assert row['difference'] == pytest.approx(row['value'] - full['value'])
    ends = intervals.paired_difference(apart, most=2)
    assert (row['difference_low'], row['difference_high']) == (
      pytest.approx(ends)
    )
    for rival, leads in details['nested']['by'].items():
      lead = next(it for it in leads if it['dim'] == m)
      theirs = known[f'pairs/spearman.{rival}/d{m}']['value']
      assert lead['value'] == pytest.approx(row['value'] - theirs)
      assert lead['low'] < lead['value'] < lead['high']


def test_negative_and_constant_correlations():
  scored = given()
  turned = Scored(scored.first, scored.second, -scored.scores)
  rows, details = asked(turned)
  known = keyed(rows)
  assert known['pairs/spearman/d16']['value'] < -0.3
  assert known['pairs/spearman/d16']['ci_low'] > -1
  assert details['decision']['status'] == 'few'
  text = details['decision']['text']
  assert 'fall where the scores rise' in text and 'nothing to keep' in text
  same = Vectors(np.ones((50, 16), np.float32))
  rows, details = asked(Scored(same, same, np.arange(50.0)))
  assert {row['value'] for row in rows} == {0.0}
  assert 'do not follow the scores at all' in details['decision']['text']
  assert details['decision']['chosen'] is None


def tried_of(scored, **options):
  """The store -> Spearman on all pairs, naively."""
  halves = proof.halved(len(scored), 0)
  sides = [side.embeddings for side in (scored.first, scored.second)]
  texts = np.unique(np.concatenate([x[halves[0]] for x in sides]), axis=0)
  found = {}
  for name, reduce in {
    'prefix': lambda z: z,
    'pca': reductions.pca(texts),
  }.items():
    ranges = quantise.measure(unit_or_zero(reduce(texts)))
    for format in store.FORMATS[name]:
      for m in DIMS:
        codes = [
          quantise.decode(
            quantise.encode(unit_or_zero(reduce(x))[:, :m], format, ranges),
            format, ranges, m,
          )
          for x in sides
        ]  # fmt: skip
        near = cosine(*codes, m)
        found[Store(name, m, format)] = stats.spearmanr(near, scored.scores)[0]
  return found


def unit_or_zero(x):
  length = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
  return (x / np.where(length > 0, length, 1)).astype(np.float32)


def test_the_decision_and_its_table_against_full_encodings():
  scored = given(600)
  _, details = asked(scored, keep=0.9, rows=1000)
  naive = tried_of(scored)
  full = naive[Store('prefix', 16, 'float32')]
  assert details['decision']['status'] == 'proven'
  (chosen,) = [point for point in details['table'] if point['chosen']]
  for point in details['table'] + details['front']:
    one = Store(point['reduction'], point['dim'], point['format'])
    at = point['measures']['spearman']
    assert at['value'] == pytest.approx(naive[one], abs=5e-3)
    assert at['kept'] == pytest.approx(naive[one] / full, abs=5e-3)
    assert at['kept_low'] < at['kept'] < at['kept_high']
    assert point['held'] == one.held(16, 1000)
  assert chosen['measures']['spearman']['kept'] > 0.9
  cheaper = [one for one in naive if one.held(16, 1000) < chosen['held']]
  assert max((naive[one] / full for one in cheaper), default=0) < 0.97
  text = details['decision']['text']
  assert text.startswith(f'Deploy {chosen["label"]}: ') and 'take 64.' in text
  assert 'asymptotic' in details['decision']['why'][0]


def test_principal_components_bring_their_matrix():
  """Turned vectors: the prefix holds little, PCA most."""
  scored = given(600, dead=False)
  turn = reductions.random_rotation(16, 3)
  turned = Scored(
    *(Vectors(turn(x.embeddings)) for x in (scored.first, scored.second)),
    scored.scores,
  )
  _, details = asked(turned, keep=0.9)
  (chosen,) = [point for point in details['table'] if point['chosen']]
  assert chosen['reduction'] == 'pca'
  arrays = details['arrays']
  assert arrays['matrix'].shape == (16, chosen['dim'])
  assert any('pairs.npz' in words for words in details['decision']['why'])


def test_too_few_pairs_decide_nothing_and_say_how_many_would():
  _, details = asked(given(40), keep=0.95)
  said = details['decision']
  assert said['status'] == 'few' and said['chosen'] is None
  assert said['text'].startswith('40 pairs are too few to prove')
  assert not any(point['chosen'] for point in details['table'])
  assert said['needed'] > 40


def test_how_many_pairs_are_needed():
  """With as many a store that loses nothing passes, with fewer it does not."""
  rng = np.random.default_rng(0)
  scores, noise = rng.normal(size=(2, 1000))
  for keep, rho in ((0.95, 1.0), (0.95, 3.0), (0.99, 1.0)):
    full = correlation.spearman(scores, rho * scores + noise)
    count = decision.pairs_needed(full, keep)
    for n, enough in ((count, True), (int(0.8 * count), False)):
      values = np.quantile(full, (np.arange(n // 2) + 0.5) / (n // 2))
      low, _ = intervals.paired_difference((1 - keep) * values, decision.Z)
      assert (low > 0) == enough
  assert decision.pairs_needed(-full, 0.95) is None


@pytest.mark.parametrize('count', [200, 1500])
def test_the_promise_holds_on_fresh_pairs(count):
  """A store just below what is to be kept is rarely taken, among many."""
  rng = np.random.default_rng(count)
  options = pairs.ScoredPairs(keep=0.9)
  large = np.random.default_rng(9).normal(size=100_000)

  def truth(noise):
    guess = large + noise * np.random.default_rng(1).normal(size=len(large))
    return correlation.spearman(np.round(2 * large), guess).mean()

  least = 0.9 * truth(0.2)
  below = next(x for x in np.arange(0.45, 0.7, 0.005) if truth(x) < least)
  # The cheapest is far below, the next three just below, the rest keep.
  draws = dict(enumerate((0.7, below, below, below, 0.4, 0.3, 0.25, 0.2), 1))
  truths = {m: truth(noise) for m, noise in draws.items()}
  stores = [Store('prefix', m, 'float32') for m in draws]
  broken = taken = 0
  for trial in range(200):
    scores = rng.normal(size=count)
    near = {
      one: scores + draws[one.dim] * rng.normal(size=count) for one in stores
    }
    tried = decision.Tried(near, np.round(2 * scores), 8, options)
    tried.halves = proof.halved(count, trial)
    chosen = tried.proven()
    if chosen is not None:
      taken += 1
      broken += truths[chosen.dim] < least
  assert broken <= 0.05 * 200 + 3 * np.sqrt(0.05 * 200)
  assert taken >= 195


def test_few_or_odd_pairs():
  for count in (2, 3, 5):
    rng = np.random.default_rng(count)
    sides = [
      Vectors(x.astype(np.float32)) for x in rng.normal(size=(2, count, 16))
    ]
    rows, details = asked(Scored(*sides, np.arange(float(count))))
    assert all(-1 <= row['ci_low'] <= row['ci_high'] <= 1 for row in rows)
    assert details['decision']['status'] == 'few'
  rows, details = asked(given(), dims=(16,))
  assert {row['dim'] for row in rows} == {16}


@pytest.mark.parametrize(
  'options', [{'keep': 0}, {'keep': 1.1}, {'rows': 0}, {'seeds': 0}]
)
def test_options_are_checked(options):
  with pytest.raises(ValueError, match=next(iter(options))):
    pairs.ScoredPairs(**options)


@pytest.mark.parametrize(
  'change, words',
  [
    ({'scores': np.arange(4.0)}, '5 first sides, 5 second sides and 4 scores'),
    ({'second': Vectors(np.ones((5, 3)))}, 'the first sides are 4 wide'),
    ({'scores': np.array([1, 2, np.nan, 3, 4])}, 'the score of pair 2 is nan'),
    ({'scores': np.full(5, 2.5)}, '5 pairs, all scored 2.5; a correlation'),
  ],
)
def test_pairs_that_do_not_fit_are_refused(change, words):
  side = Vectors(np.ones((5, 4)))
  parts = {'first': side, 'second': side, 'scores': np.arange(5.0)}
  with pytest.raises(errors.UsageError, match=words):
    Scored(**parts | change)
