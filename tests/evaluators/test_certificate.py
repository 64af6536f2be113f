"""The proof that a store keeps enough: how often it errs, what it needs."""

import numpy as np
import pytest

from mrl_jax.embed import proof
from mrl_jax.evaluators.stores import certificate


def drawn(rng, n, truths):
  """[stores q] values in tenths with these means, of one query alike."""
  u = rng.random((n, 10))
  return np.stack([(u < mean).mean(axis=1) for mean in truths])


@pytest.mark.parametrize('queries', [60, 300, 2000])
@pytest.mark.parametrize('gap', [0.0, 0.01, 0.05])
def test_the_promise_holds_on_fresh_queries(queries, gap):
  """Stores just below what is to be kept are rarely taken, in any number."""
  keep, broken, taken = 0.9, 0, 0
  rng = np.random.default_rng(queries)
  truths = np.concatenate([
    np.linspace(0.6, keep - 1e-3, 20), np.linspace(keep + gap, 1.0, 5)
  ])  # fmt: skip
  costs = [(1.0 + i,) for i in range(len(truths))]
  for trial in range(200):
    recall, other = drawn(rng, queries, truths), drawn(rng, queries, truths)
    full = {'recall': np.ones(queries), 'top1': rng.random(queries) < 0.8}
    # A top-1 of a share of what full width gets right, and never more.
    values = [
      {'recall': a, 'top1': full['top1'] * b} for a, b in zip(recall, other)
    ]
    halves = proof.halved(queries, trial)
    chosen = certificate.choose(costs, values, full, keep, halves)
    if chosen is not None:
      taken += 1
      broken += truths[chosen] < keep
  assert broken <= 10, (broken, taken)
  if queries >= 300:
    assert taken >= 190
  if queries == 2000 and gap == 0.05:  # the cheapest that keeps is found
    assert chosen == 20


def test_a_bet_wins_only_what_it_may():
  rng = np.random.default_rng(0)
  wealth = []
  for _ in range(4000):  # values that just do not keep: a fair game
    gained = np.where(rng.random(40) < 0.9, 0.1, -0.9)
    bet = certificate.bet(gained[:20], 0.9)[0]
    wealth.append(np.exp(np.log1p(bet * gained[20:]).sum()))
  assert np.mean(np.array(wealth) >= 20) < 0.05
  assert np.mean(wealth) < 1.1


def test_how_many_queries_are_needed():
  for keep, quality in ((0.95, 1.0), (0.95, 0.5), (0.99, 1.0)):
    hits = {'top1': np.arange(1000) < 1000 * quality}
    needed = certificate.needed(hits, keep)
    for n, enough in ((needed, True), (needed // 2, False)):
      full = {'top1': np.arange(n) % 100 < 100 * quality}
      halves = proof.halved(n, 0)
      copies = [full['top1'].astype(float)]
      chosen = certificate.choose(
        [(1,)], [{'top1': copies[0]}], full, keep, halves
      )
      assert (chosen is not None) == enough, (keep, quality, n)
  assert certificate.needed({'recall': np.ones(9)}, 1.0) is None
  assert certificate.needed({'recall': np.zeros(9)}, 0.9) is None
