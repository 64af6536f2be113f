"""Search and stores on judgements: few queries, 46 rows, many never judged."""

import dataclasses

import numpy as np
import pytest

from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import retrieval, search, stores
from tests.samples.vectors import judged_evidence

DIMS = (4, 16)


def full_ndcg(seen):
  """nDCG@10 at full width, as `retrieval` has it."""
  results, _ = retrieval.Retrieval(k=(10,)).run(seen)
  (row,) = (r for r in results if (r['metric'], r['dim']) == ('ndcg', DIMS[-1]))
  return row


def test_stores_decide_by_ndcg():
  _, seen = judged_evidence(DIMS)
  results, details = stores.Stores(indexes=False).run(seen)
  assert details['measures'] == ['ndcg@10']
  assert {(r['metric'], r['k']) for r in results} == {('ndcg', 10)}
  (full,) = (
    r for r in results if (r['variant'], r['dim']) == ('prefix.float32', 16)
  )
  row = full_ndcg(seen)
  assert full['value'] == pytest.approx(row['value'], abs=1e-6)
  assert (full['n'], row['without_relevant']) == (40, 2)
  said = details['decision']
  assert said['task'] == 'nDCG@10' and said['status'] == 'few'
  assert '40 queries are too few to prove' in said['text']
  assert 'None' not in said['text'] and 'class' not in str(said)


@pytest.mark.slow
def test_enough_queries_prove_a_store():
  _, seen = judged_evidence(DIMS, queries=900)
  _, details = stores.Stores(indexes=False).run(seen)
  said = details['decision']
  assert said['status'] == 'proven' and 'of nDCG@10' in said['why'][0]
  assert details['database_rows'] == 46


def test_stores_where_nothing_is_relevant_say_so():
  _, seen = judged_evidence(DIMS, queries=4, mute=3)
  asked = Vectors(seen.queries.embeddings[1:], None, seen.queries.ids[1:])
  whole = seen.relevance  # with the query that has something to find
  other = dataclasses.replace(
    seen,
    make_queries=lambda: asked,
    relate=lambda *_: whole.at(np.arange(1, 4)),
  )
  _, details = stores.Stores(indexes=False).run(other)
  assert 'nothing to keep' in details['decision']['text']


def test_search_says_how_often_the_first_row_is_relevant():
  _, seen = judged_evidence(DIMS)
  results, details = search.Search().run(seen)
  assert (details['database_rows'], details['queries']) == (46, 20)
  rows = {(r['variant'], r['metric'], r['dim']): r for r in results}
  drawn = np.random.default_rng(0).permutation(40)[20:]
  found, _ = retrieval.Retrieval(k=(10,)).run(seen)
  (top1,) = (r for r in found if (r['metric'], r['dim']) == ('top1', 16))
  expected = top1['per_query'][drawn].mean()
  assert rows['prefix', 'top1', 16]['value'] == pytest.approx(expected)
