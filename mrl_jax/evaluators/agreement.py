"""`agreement`: what the prefixes' answers know together."""

import numpy as np

from mrl_jax import rows
from mrl_jax.shapes import Bool, Int


class Agreement:
  """Oracle, majority vote and first-right histogram (arXiv:2205.13147, app. F).

  Rows: `oracle`, at the full width, the share of queries that some trained
  prefix gets right; its `expected_dim` is the mean of the smallest such
  prefix, the full width where there is none. `vote`, at the full width, the
  majority of all trained prefixes. `first_right`, per dim, the share of
  queries whose smallest right prefix of all evaluated ones it is.
  """

  needs = ('labels',)
  metrics = ('first_right',)

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    every = evidence.answers
    dims = tuple(m for m in evidence.dims if m in evidence.trained)
    answers = every.at(dims or evidence.dims)
    width, n = answers.dims[-1], len(every.labels)
    first = _first_right(answers.right)
    smallest = np.append(answers.dims, width)[first]
    vote = majority(answers.classes[..., 0])
    counts = np.bincount(
      _first_right(every.right), minlength=len(every.dims) + 1
    ).tolist()
    oracle = rows.proportion(
      'agreement',
      'oracle',
      width,
      int(np.sum(first < len(answers.dims))),
      n,
      expected_dim=float(np.mean(smallest)),
    )
    voted = rows.proportion(
      'agreement', 'vote', width, int(np.sum(vote == answers.labels)), n
    )
    results = [oracle, voted]
    results += [
      rows.proportion('agreement', 'first_right', m, count, n)
      for m, count in zip(every.dims, counts)
    ]
    details = {
      'by': every.by,
      'text': _sentence(oracle, voted, np.mean(answers.right[-1]), width),
      'voters': list(answers.dims),
      'dims': list(every.dims),
      'first_right': [
        {'dim': m, 'n': count, 'share': count / n}
        for m, count in zip([*every.dims, 'never'], counts)
      ],
      'same_answer': _same_answers(every.classes[..., 0]),
    }
    return results, details


def _first_right(right: Bool[np.ndarray, 'g q']) -> Int[np.ndarray, 'q']:
  """Index of the smallest prefix that is right, g where none is."""
  never = np.ones((1, right.shape[1]), bool)
  return np.argmax(np.concatenate([right, never]), axis=0)


def majority(classes: Int[np.ndarray, 'g q']) -> Int[np.ndarray, 'q']:
  """The class most prefixes answer; of tied ones that of the widest prefix."""
  votes = [np.sum(classes == answer, axis=0) for answer in classes[::-1]]
  winner = len(classes) - 1 - np.argmax(votes, axis=0)
  return classes[winner, np.arange(classes.shape[1])]


def _same_answers(classes: Int[np.ndarray, 'g q']) -> list[list[float]]:
  """[g g] shares of queries to which two prefixes answer the same class."""
  return [np.mean(classes == answer, axis=1).tolist() for answer in classes]


def _sentence(oracle: dict, vote: dict, full: float, width: int) -> str:
  return (
    f'Some prefix is right on {100 * oracle["value"]:.1f}% of the queries, at '
    f'{oracle["expected_dim"]:.1f} dimensions on average if it were known '
    f'which; all {width} dimensions on {100 * full:.1f}%, the majority of '
    f'prefixes on {100 * vote["value"]:.1f}%.'
  )
