"""The cheapest way to keep texts so that their pairs keep their order."""

import functools
from collections.abc import Sequence

import numpy as np

from mrl_jax import correlation, intervals, nested
from mrl_jax.embed import proof, quantise, reductions, store
from mrl_jax.embed.scored import Scored
from mrl_jax.embed.store import Store, amount, in_percent, phrased
from mrl_jax.evaluators.pairs import cosines
from mrl_jax.shapes import Float

MEASURE = 'spearman'
CHOOSING, PROVING = 0, 1  # halves of the pairs
Z = 1.644854  # of a one-sided 95% bound
LARGEST = 10**7  # number of pairs that `pairs_needed` looks at

Values = Float[np.ndarray, 'p']


class Tried:
  """Every store that was tried on all pairs.

  Args:
    near: store -> the cosine of each pair.
    scores: of each pair.
    options: `keep`, `rows` and `seed`, see ScoredPairs.
  """

  def __init__(
    self, near: dict[Store, Values], scores: Values, width: int, options
  ):
    self.near, self.scores, self.width = near, scores, width
    self.keep, self.rows = options.keep, options.rows
    self.halves = proof.halved(len(scores), options.seed)
    self.values = functools.cache(self._values)
    self.reference = store.reference(width)

  def _values(self, one: Store, half: int | None = None) -> Values:
    """A value per pair of a half, or of all; Spearman's correlation of these
    pairs is their mean.
    """
    among = slice(None) if half is None else self.halves[half]
    return correlation.spearman(self.near[one][among], self.scores[among])

  def kept(self, one: Store) -> float:
    """Spearman as a share of full width's, on all pairs."""
    full = self.values(self.reference).mean()
    return float(self.values(one).mean() / full) if full > 0 else 0.0

  def held(self, one: Store) -> float:
    return one.held(self.width, self.rows)

  def cost(self, one: Store) -> tuple:
    return self.held(one), one.reduction != 'prefix', one.dim

  def _bound(self, one: Store, half: int) -> tuple[float, float]:
    """(estimate, lower 95% bound) of rho - keep * rho of full width."""
    lead = self.values(one, half)
    lead = lead - self.keep * self.values(self.reference, half)
    low, _ = intervals.paired_difference(lead, Z, most=2)
    return float(lead.mean()), low

  def surely_keeps(self, one: Store) -> bool:
    """The test: by the half that proves, and full width is above 0 there."""
    full = self.values(self.reference, PROVING).mean()
    return bool(full > 0 and self._bound(one, PROVING)[1] > 0)

  def proven(self) -> Store | None:
    """The cheapest store that surely keeps enough."""
    known = list(self.near)
    chosen = proof.cheapest_proven(
      [self.cost(one) for one in known],
      [self._certainty(one) for one in known],
      lambda index: self.surely_keeps(known[index]),
    )
    return None if chosen is None else known[chosen]

  def _certainty(self, one: Store) -> float:
    """The estimate on the half that chooses, in its deviations."""
    lead, low = self._bound(one, CHOOSING)
    return lead / max(lead - low, 1e-12)

  def cheapest(self, reduction: str = '') -> Store | None:
    """The cheapest that was seen to keep enough on all pairs."""
    good = [
      one
      for one in self.near
      if reduction in ('', one.reduction) and self.kept(one) >= self.keep
    ]
    return min(good, key=self.cost, default=None)


def decided(pairs: Scored, dims: Sequence[int], options) -> dict:
  """The decision, its table and its chart, in the form of `stores`."""
  choosing, _ = proof.halved(len(pairs), options.seed)
  texts = cosines.distinct(pairs, choosing)
  fitted = {'prefix': lambda z: z, 'pca': reductions.pca(texts)}
  near = {}
  for reduction, reduce in fitted.items():
    rows = nested.unit(np.asarray(reduce(texts), np.float32))
    ranges = quantise.measure(rows, options.clip, options.centre)
    for format in store.FORMATS[reduction]:
      kept = _kept(reduce, format, ranges)
      for m, of_dim in zip(dims, cosines.of_pairs(pairs, dims, kept)):
        near[Store(reduction, m, format)] = of_dim
  tried = Tried(near, pairs.scores, dims[-1], options)
  words, chosen = _decision(tried)
  out = {
    'measures': [MEASURE],
    'keep': options.keep,
    'width': dims[-1],
    'rows': options.rows,
    'decision': words,
    'table': [
      _point(tried, one) | {'chosen': one == chosen}
      for one in _explaining(tried, chosen)
    ],
    'front': [_point(tried, one) for one in _unbeaten(tried)],
  }
  if chosen is not None and chosen.reduction == 'pca':
    fit = fitted['pca']
    out['arrays'] = {
      'mean': fit.mean.astype(np.float32),
      'matrix': fit.matrix[:, : chosen.dim].astype(np.float32),
    }
  return out


def _kept(reduce, format: str, ranges: quantise.Ranges):
  """What is left of rows that are reduced and stored."""

  def kept(z):
    rows = nested.unit(np.asarray(reduce(z), np.float32))
    codes = quantise.encode(rows, format, ranges)
    return quantise.decode(codes, format, ranges, rows.shape[1])

  return kept


def _decision(tried: Tried) -> tuple[dict, Store | None]:
  """(status, sentences and numbers; the store chosen or None)."""
  chosen, reference = tried.proven(), tried.reference
  words = {
    'task': "Spearman's correlation with the scores",
    'keep': tried.keep,
    'proving_queries': len(tried.halves[1]),
  }
  if chosen is not None and chosen != reference:
    status, text = 'proven', _chosen(tried, chosen)
  elif not tried.surely_keeps(reference):
    status, text, chosen = 'few', _few(tried), None
    words['needed'] = pairs_needed(tried.values(reference), tried.keep)
  else:
    status, chosen = 'nothing', reference
    text = (
      f'Keep {phrased(reference, tried.width)}: nothing smaller surely keeps '
      f'{in_percent(tried.keep)} of {words["task"]}.'
    )
  return words | {
    'status': status,
    'text': text,
    'why': _why(tried, chosen) if status == 'proven' else [],
    'chosen': None if chosen is None else phrased(chosen, tried.width),
  }, chosen


def _chosen(tried: Tried, one: Store) -> str:
  return (
    f'Deploy {phrased(one, tried.width)}: {amount(tried.held(one))} bytes a '
    f'text, where all {tried.width} dims in float32 take '
    f'{amount(tried.held(tried.reference))}.'
  )


def _few(tried: Tried) -> str:
  """Why not even full width itself passes."""
  full = tried.values(tried.reference)
  if full.mean() <= 0:
    how = 'do not follow the scores at all'
    if correlation.fisher(full)[1] < 0:  # as distances make it
      how = 'fall where the scores rise, which should mean more alike'
    return (
      f'The cosines of all dims {how} (Spearman x 100: '
      f'{100 * full.mean():.1f}), so there is nothing to keep.'
    )
  count = pairs_needed(full, tried.keep)
  words = (
    f'{len(full):,} pairs are too few to prove that any store keeps '
    f'{in_percent(tried.keep)}, even one that loses nothing: '
  )
  words += (
    'no number of pairs would do; ask for a smaller `keep`. '
    if count is None
    else f'about {max(count, len(full) + len(full) // 5):,} are needed. '
  )
  seen = tried.cheapest()
  return words + (
    f'The cheapest seen to keep it, unproven: {phrased(seen, tried.width)}, '
    f'{amount(tried.held(seen))} bytes a text.'
  )


def pairs_needed(full: Values, keep: float) -> int | None:
  """Pairs, both halves together, that prove a store which loses nothing.

  None if no number below ten million is enough.
  """
  mean, square = (1 - keep) * full.mean(), (1 - keep) ** 2 * np.mean(full**2)
  count = 4
  while count < LARGEST:
    half = count // 2  # then as intervals.paired_difference
    total, centre = half + 2, half * mean / (half + 2)
    deviation = np.sqrt(((half * square + 2) / total - centre**2) / total)
    if centre > Z * deviation:
      return count
    count = max(count + 2, int(count * 1.05) // 2 * 2)
  return None


def _why(tried: Tried, one: Store) -> list[str]:
  """Sentences: the numbers, what the proof takes for granted, PCA."""
  choosing, proving = map(len, tried.halves)
  at = _measured(tried, one)
  lost = f'at most {100 * max(1 - at["kept_low"], 0):.1f}% lost'
  share = f', {100 * at["kept"]:.1f}% of full width ({lost})'
  if at['kept'] >= 1:
    share = f', no loss seen ({lost})'
  out = [
    f"It keeps at least {in_percent(tried.keep)} of Spearman's correlation at "
    'full width, with 95% confidence (asymptotic, for independent pairs): '
    f'chosen on {choosing:,} pairs, proven on {proving:,} others. On all of '
    f'them Spearman x 100 is {100 * at["value"]:.1f}{share}.',
    'This is about the order of pairs, not about finding texts among many.',
  ]
  if one.reduction == 'pca':
    alone = tried.kept(Store('prefix', one.dim, 'float32'))
    out.append(
      f'{one.dim} leading dims in float32 keep {100 * alone:.1f}%. PCA is '
      'fitted on the texts of the pairs that choose; its matrix is in '
      'pairs.npz: embed by (z - mean) @ matrix, then normalise.'
    )
  return out


def _explaining(tried: Tried, chosen: Store | None) -> list[Store]:
  """The choice, the cheapest of each reduction, the same dims alone."""
  listed = [chosen, *map(tried.cheapest, ('prefix', 'pca'))]
  listed += [
    Store('prefix', one.dim, 'float32') for one in listed if one is not None
  ]
  listed.append(tried.reference)
  return list(dict.fromkeys(one for one in listed if one is not None))


def _unbeaten(tried: Tried) -> list[Store]:
  """Per reduction the stores that nothing cheaper is as good as."""
  front = []
  for reduction in ('prefix', 'pca'):
    best = 0.0
    for one in sorted(tried.near, key=tried.cost):
      if one.reduction == reduction and tried.kept(one) > best:
        best = tried.kept(one)
        front.append(one)
  return front


def _point(tried: Tried, one: Store) -> dict:
  """A store as a line of a table or a point of a chart."""
  return {
    'label': phrased(one, tried.width),
    'reduction': one.reduction,
    'dim': one.dim,
    'format': one.format,
    'shortlist': 0,
    'rescore': '',
    'index': '',
    'held': tried.held(one),
    'stored': tried.held(one),
    'milliseconds': None,
    'measures': {MEASURE: _measured(tried, one)},
  }


def _measured(tried: Tried, one: Store) -> dict:
  """Spearman of a store and the share kept, with intervals, on all pairs."""
  values, full = tried.values(one), tried.values(tried.reference)
  low, high = correlation.fisher(values)
  out = {'value': float(values.mean()), 'ci_low': low, 'ci_high': high}
  if full.mean() <= 0:
    return out | {'kept': None, 'kept_low': 0.0, 'kept_high': 1.0}
  kept = float(values.mean() / full.mean())
  influence = (values - kept * full) / full.mean()
  low, high = intervals.paired_difference(influence, most=np.inf)
  return out | {'kept': kept, 'kept_low': kept + low, 'kept_high': kept + high}
