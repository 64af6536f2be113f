"""All stores tried, what each keeps and costs, and which one is taken."""

import functools
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from mrl_jax import intervals, rows
from mrl_jax.embed import indexes, proof, store
from mrl_jax.embed.store import Store
from mrl_jax.evaluators.stores import certificate
from mrl_jax.evaluators.stores.clock import Clock
from mrl_jax.shapes import Float, Int

Values = Mapping[str, Float[np.ndarray, 'q']]  # by measure


class Book:
  """Stores with each query's measures, the first of them without indexes.

  Args:
    found: store -> its values; the reference is among them.
    width, count: of the database as it will be stored.
    keep: share of each measure at full width to be kept.
    seed: of the halves of the queries.
  """

  def __init__(
    self, found: dict[Store, Values], width: int, count: int, keep: float,
    seed: int, timer: Clock, k: int,
  ):  # fmt: skip
    self.found, self.width, self.count = dict(found), width, count
    self.keep, self.timer, self.k = keep, timer, k
    self.timed: dict[Store, float] = {}
    self.reference = store.reference(width)
    self.full = self.found[self.reference]
    # What full width never gets, nothing can keep.
    self.weighed = {n: of for n, of in self.full.items() if of.any()}
    queries = len(next(iter(self.full.values())))
    self.halves = proof.halved(queries, seed)

  def add(self, found: Iterable) -> None:
    """Stores with an index, as indexed.of_store yields them."""
    for one in found:
      self.found[one.store] = one.values
      self.timed[one.store] = one.milliseconds

  def held(self, one: Store) -> float:
    return one.held(self.width, self.count)

  def cost(self, one: Store) -> tuple:
    """What stores are compared by: held, stored, then the simpler."""
    simple = one.reduction != 'prefix', bool(one.index), one.shortlist, one.dim
    return self.held(one), one.stored(self.width, self.count), *simple

  def milliseconds(self, one: Store) -> float | None:
    if one.index:
      return self.timed[one]
    return self.timer.milliseconds(one, self.k)

  def measured(self, one: Store, name: str) -> dict:
    """A measure of a store: its value and what it keeps, with intervals."""
    values = np.asarray(self.found[one][name], np.float64)
    full = np.asarray(self.full[name], np.float64)
    low, high = intervals.mean(values)
    kept = _share_kept(values, full)
    return {
      'value': float(values.mean()),
      'ci_low': low,
      'ci_high': high,
      **dict(zip(('kept', 'kept_low', 'kept_high'), kept)),
    }

  def least_kept(self, one: Store) -> float:
    """The smallest share kept of any measure, on all queries."""
    return self._least[one] if one in self._least else self._share(one)

  @functools.cached_property
  def _least(self) -> dict[Store, float]:
    return {one: self._share(one) for one in self.found}

  def _share(self, one: Store) -> float:
    return self.share(one, np.arange(sum(map(len, self.halves))))

  def share(self, one: Store, queries: Int[np.ndarray, 'q']) -> float:
    """The smallest share kept of any measure, on some queries."""
    values = self.found[one]
    return min(
      (
        float(np.mean(values[name][queries]))
        / max(float(np.mean(full[queries])), 1e-12)
        for name, full in self.weighed.items()
      ),
      default=0.0,
    )

  def cheapest(
    self,
    allowed: Callable[[Store], bool],
    queries: Int[np.ndarray, 'q'] | None = None,
  ) -> Store | None:
    """The cheapest allowed store that was seen to keep every measure.

    Seen on some queries, by default on all.
    """

    def kept(one: Store) -> float:
      if queries is None or not len(queries):
        return self.least_kept(one)
      return self.share(one, queries)

    good = [
      one for one in self.found if allowed(one) and kept(one) >= self.keep
    ]
    return min(good, key=self.cost, default=None)

  def best(self, allowed: Callable[[Store], bool]) -> Store | None:
    """The allowed store that keeps most; of equal ones the cheapest."""
    known = [one for one in self.found if allowed(one)]
    return min(
      known,
      key=lambda one: (-round(self.least_kept(one), 9), self.cost(one)),
      default=None,
    )

  def proven(self, allowed: Callable[[Store], bool]) -> Store | None:
    """The cheapest allowed store that surely keeps every measure."""
    known = [one for one in self.found if allowed(one)]
    chosen = certificate.choose(
      [self.cost(one) for one in known],
      [self.found[one] for one in known],
      self.weighed,
      self.keep,
      self.halves,
    )
    return None if chosen is None else known[chosen]

  def bases(self) -> list[Store]:
    """Scans worth an index: the cheapest that keep, and all as it is.

    By the queries that choose; the others prove.
    """

    def plain(one: Store) -> bool:
      return one.format in indexes.FORMATS and not one.shortlist

    def listed(one: Store) -> bool:
      return one.format == 'int8' and one.rescore == 'full'

    first, _ = self.halves
    kept = self.cheapest(plain, first), self.cheapest(listed, first)
    chosen = *kept, self.reference
    scans = [Store(one.reduction, one.dim, one.format) for one in chosen if one]
    return list(dict.fromkeys(scans))

  def results(self) -> list[rows.Row]:
    """The result rows of every store without an index."""
    return [
      self._row(one, name)
      for one in self.found
      if not one.index
      for name in self.full
    ]

  def _row(self, one: Store, name: str) -> rows.Row:
    metric, _, k = name.partition('@')
    measured = self.measured(one, name)
    more = {'k': int(k)} if k else {}
    return rows.make(
      'stores',
      metric,
      one.dim,
      measured['value'],
      (measured['ci_low'], measured['ci_high']),
      len(self.full[name]),
      variant=one.variant,
      **more,
      **{key: measured[key] for key in ('kept', 'kept_low', 'kept_high')},
      held=self.held(one),
      stored=one.stored(self.width, self.count),
    )


def _share_kept(
  values: Float[np.ndarray, 'q'], full: Float[np.ndarray, 'q']
) -> tuple[float | None, float, float]:
  """(ratio of the means over the same queries, its 95% interval).

  None where full width has nothing. Hits are paired (Bonett and Price); where
  full width is always 1 it is the mean; else Fieller's interval of a ratio of
  means (1954).
  """
  if not full.any():
    return None, 0.0, float(len(full))
  if (full == 1).all():
    return float(values.mean()), *intervals.mean(values)
  hits = all(np.isin(side, (0, 1)).all() for side in (values, full))
  ratio = float(values.mean() / full.mean())
  if hits:
    both = int(np.sum(values * full))
    first, second = int(values.sum()) - both, int(full.sum()) - both
    low, high = intervals.paired_ratio(both, first, second)
  else:
    low, high = _fieller(values, full)
  return ratio, low, min(high, float(len(values)))


def _fieller(values, full) -> tuple[float, float]:
  """Shares that the mean of values - share * full does not rule out."""
  n = len(values)
  # A query of each outcome more, so that it never has width 0.
  values = np.append(values, (0.0, 1.0, 0.0, 1.0))
  full = np.append(full, (0.0, 1.0, 1.0, 0.0))
  top, base = values.mean(), full.mean()
  covariance = np.cov(values, full) / n
  z = intervals.Z**2
  a = base**2 - z * covariance[1, 1]
  b = top * base - z * covariance[0, 1]
  c = top**2 - z * covariance[0, 0]
  if a <= 0 or b * b < a * c:
    return 0.0, float(n)
  root = np.sqrt(b * b - a * c)
  return float(max((b - root) / a, 0.0)), float((b + root) / a)
