"""`lost`: the queries that few dimensions lose."""

import numpy as np

from mrl_jax import nested
from mrl_jax.embed import relevance, ties, vectors
from mrl_jax.embed.relevance import Relevance
from mrl_jax.evaluators import options
from mrl_jax.shapes import Float, Int

SEED = 0
NEAREST = 5  # rows among which one of another class is looked for
DEPTH = 10  # of nDCG
LETTERS = 400  # of a text that is kept
ROWS_AT_ONCE = 65_536


class Lost:
  """No rows: a list of queries that need many dimensions.

  By class, lost are queries that the full width gets right by 1-NN and the
  smallest trained dim gets wrong; gained are those the other way round. A
  query is right if at least half of the rows that tie for its nearest have
  its class. With judgements, lost are queries whose nDCG@10 falls from the
  full width to the smallest trained dim, gained those whose nDCG@10 rises;
  listed are those that fall most, with their texts where there are any.

  Args:
    shown: so many are listed.
    queries: at most so many are asked, drawn if there are more.
  """

  needs = ('relevance',)
  metrics = ()

  def __init__(self, shown: int = 20, queries: int = 1000):
    options.at_least(1, shown=shown, queries=queries)
    if shown > 100:
      raise ValueError(f'shown={shown} must be at most 100')
    self.shown, self.queries = shown, queries

  def run(self, evidence) -> tuple[list, dict]:
    """([], details): counts, and a line per query that is listed."""
    dims = tuple(sorted({*evidence.trained, evidence.dims[-1]}))
    if len(dims) < 2:
      return [], {}
    if evidence.relate is not None:
      return [], _judged(evidence, (dims[0], dims[-1]), self)
    return [], self._by_class(evidence, dims)

  def _by_class(self, evidence, dims) -> dict:
    random = np.random.default_rng(SEED)
    queries, database, _ = evidence.sample(
      random, len(evidence.database), self.queries
    )
    same = relevance.by_class(queries, database)
    k = min(NEAREST, len(database))
    ranked = list(
      ties.rankings(queries, database, dims, k, same, evidence.mesh)
    )
    right = np.stack([ranking.chance[:, 0] >= 0.5 for ranking in ranked])
    lost = np.flatnonzero(right[-1] & ~right[0])
    # The place behind the last dim that is wrong.
    turn = len(dims) - np.argmax(~right[::-1], axis=0)
    lost = lost[np.argsort(-turn[lost], kind='stable')]
    near = ranked[0].rows
    other = np.argmin(same.grades(near), axis=1)  # the first of another class

    def named(side: vectors.Vectors, row: int) -> dict:
      name = vectors.class_name(int(side.labels[row]), evidence.names)
      return {'id': side.name(row), 'class': name}

    return {
      'dims': list(dims),
      'queries': len(queries),
      'lost': len(lost),
      'gained': int(np.sum(right[0] & ~right[-1])),
      'shown': [
        {
          **named(queries, q),
          'right_from': dims[turn[q]],
          'found': named(database, near[q, other[q]]),
        }
        for q in lost[: self.shown]
      ],
    }


def _judged(evidence, dims: tuple[int, int], most) -> dict:
  """The details with judgements; `most` has the options."""
  database = evidence.database
  random = np.random.default_rng(SEED)
  asked = vectors.draw_rows(random, len(evidence.queries), most.queries)
  queries, judged = evidence.queries.at(asked), evidence.relevance.at(asked)
  k = min(DEPTH, len(database))
  ranked = list(
    ties.rankings(queries, database, dims, k, judged, evidence.mesh)
  )
  ideal, totals = judged.ideal(k), judged.totals
  few, full = (
    ties.expected_measures(ranking, ideal, totals)['ndcg'] for ranking in ranked
  )
  lost = np.flatnonzero(full - few > ties.TIE)
  lost = lost[np.argsort(few[lost] - full[lost], kind='stable')]
  shown = lost[: most.shown]
  return {
    'measure': f'ndcg@{k}',
    'dims': list(dims),
    'queries': len(queries),
    'lost': len(lost),
    'gained': int(np.sum(few - full > ties.TIE)),
    'shown': [
      {
        **_named(evidence, 'queries', asked[q]),
        'few': float(few[q]),
        'full': float(full[q]),
        **more,
      }
      for q, more in zip(
        shown, _found(evidence, asked[shown], ranked[0].at(shown), dims)
      )
    ],
  }


def _found(evidence, asked, few: ties.Ranking, dims) -> list[dict]:
  """Of each query: the wrong row found first, the best row and its ranks."""
  judged = evidence.relevance.at(asked)
  near = few.rows
  wrong = judged.grades(near) == 0
  lines: list[dict] = [{} for _ in asked]
  for q in np.flatnonzero(wrong.any(axis=1)):
    row = near[q, np.argmax(wrong[q])]
    lines[q]['found'] = _named(evidence, 'database', row)
  best = _best(judged, evidence, asked)
  known = np.flatnonzero(best >= 0)
  ranks = [_ranks(evidence, asked[known], best[known], m) for m in dims]
  for q, row, at_few, at_full in zip(known, best[known], *ranks):
    named = _named(evidence, 'database', row)
    lines[q]['best'] = {**named, 'few': float(at_few), 'full': float(at_full)}
  return lines


def _best(judged: Relevance, evidence, asked) -> Int[np.ndarray, 'q']:
  """The row of the highest grade, the nearest of equal ones; -1 for none."""
  queries, database = evidence.queries.embeddings, evidence.database.embeddings
  best = np.full(len(asked), -1)
  for q in range(len(asked)):
    of = (judged.queries == q) & (judged.rows >= 0)
    rows, grades = judged.rows[of], judged.values[of]
    rows = rows[grades == grades.max(initial=0)]
    if len(rows):
      near = nested.unit(database[rows]) @ nested.unit(queries[asked[q]])
      best[q] = rows[np.argmax(near)]
  return best


def _ranks(
  evidence, asked: Int[np.ndarray, 'q'], rows: Int[np.ndarray, 'q'], dim: int
) -> Float[np.ndarray, 'q']:
  """The rank from 1 of a row for each query; the mean place where rows tie."""
  database = evidence.database.embeddings
  queries = nested.unit(evidence.queries.embeddings[asked], dim)
  own = np.sum(queries * nested.unit(database[rows], dim), axis=1)
  better, tied = np.zeros((2, len(asked)))
  for start in range(0, len(database), ROWS_AT_ONCE):
    chunk = np.asarray(database[start : start + ROWS_AT_ONCE, :dim])
    above = queries @ nested.unit(chunk).T - own[:, None]
    better += np.sum(above > ties.TIE, axis=1)
    tied += np.sum(np.abs(above) <= ties.TIE, axis=1)
  return better + (np.maximum(tied, 1) + 1) / 2


def _named(evidence, side: str, row: int) -> dict:
  """The id of a row, and the start of its text where texts are known."""
  named = {'id': getattr(evidence, side).name(row)}
  if 'texts' not in evidence.functions:
    return named
  (text,) = evidence.functions['texts'](side, np.array([row]))
  return named | {'text': text[:LETTERS]}
