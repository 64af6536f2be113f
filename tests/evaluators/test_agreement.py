"""What answers know together, against loops."""

import collections
import json

import numpy as np
import pytest

from mrl_jax.evaluators import agreement
from tests.samples.vectors import answered, keyed, random_answers

DIMS = (4, 8, 16)


@pytest.mark.parametrize('trained', [DIMS, (4, 16)])
def test_oracle_vote_and_first_right_equal_a_loop(trained):
  given = random_answers()
  rows, details = agreement.Agreement().run(answered(given, trained=trained))
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
  given = random_answers(30, (16,))
  rows = keyed(agreement.Agreement().run(answered(given))[0])
  values = {row['value'] for row in rows.values()}
  assert values == {given.right.mean()}
