"""`calibration`: does an answer's confidence tell how often it is right?"""

import numpy as np

from mrl_jax import rows
from mrl_jax.evaluators import options
from mrl_jax.shapes import Bool, Float, Int

RESAMPLES = 200
SEED = 0


class Calibration:
  """Expected calibration error per dimension (arXiv:1706.04599, eq. 3).

  `ece` has bins of equal width over [0, 1], each closed above; `ece_adaptive`
  bins of equal mass (arXiv:1904.01685, section 3.3, over the top answer):
  equal confidences share one. The value is the usual plug-in sum, which noise
  makes too large; the interval is of the error without noise, see `bounds`.

  Args:
    bins: at least 1.
  """

  needs = ('labels',)
  metrics = ('ece', 'ece_adaptive')

  def __init__(self, bins: int = 15):
    options.at_least(1, bins=bins)
    self.bins = bins

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    answers, bins = evidence.answers, self.bins
    confidence = np.asarray(answers.confidence, np.float64)
    right, n = answers.right, len(answers.labels)
    results, diagrams = [], {}
    for metric, place in (('ece', equal_width), ('ece_adaptive', equal_mass)):
      where = np.stack([place(row, bins) for row in confidence])
      gaps = right - confidence
      values = error(summed(gaps, where, bins))
      low, high = bounds(gaps, where, bins)
      results += [
        rows.make('calibration', metric, m, value, interval, n)
        for m, value, interval in zip(answers.dims, values, zip(low, high))
      ]
      diagrams[metric] = [
        _reliability(*prefix, bins) for prefix in zip(confidence, right, where)
      ]
    over = np.mean(confidence - right, axis=1).tolist()
    details = {
      'by': answers.by,
      'dims': list(answers.dims),
      'bins': bins,
      'reliability': diagrams['ece'],
      'reliability_adaptive': diagrams['ece_adaptive'],
      'overconfidence': over,
      'text': _sentence(answers.by, answers.dims, over, results),
    }
    return results, details


def equal_width(
  confidence: Float[np.ndarray, 'q'], bins: int
) -> Int[np.ndarray, 'q']:
  """The bin (i/bins, (i+1)/bins] of each confidence; 0 is in the first."""
  edges = np.linspace(0, 1, bins + 1)
  return np.searchsorted(edges[1:-1], confidence, side='left')


def equal_mass(
  confidence: Float[np.ndarray, 'q'], bins: int
) -> Int[np.ndarray, 'q']:
  """Bins by the share of smaller confidences; equal ones stay together."""
  smaller = np.searchsorted(np.sort(confidence), confidence, side='left')
  return smaller * bins // len(confidence)


def summed(
  gaps: Float[np.ndarray, 'g q'], where: Int[np.ndarray, 'g q'], bins: int
) -> Float[np.ndarray, 'g bins']:
  """Mean over all queries of right - confidence, split among the bins."""
  index = where + bins * np.arange(len(where))[:, None]
  total = np.bincount(index.ravel(), gaps.ravel(), len(where) * bins)
  return total.reshape(len(where), bins) / gaps.shape[1]


def error(parts: Float[np.ndarray, '*g bins']) -> Float[np.ndarray, '*g']:
  """sum_bins (n_bin / n) |accuracy - confidence|."""
  return np.sum(np.abs(parts), axis=-1)


def bounds(
  gaps: Float[np.ndarray, 'g q'], where: Int[np.ndarray, 'g q'], bins: int
) -> tuple[Float[np.ndarray, 'g'], Float[np.ndarray, 'g']]:
  """95% interval of the error, from resampled queries with the bins kept.

  Noise in a bin adds to |accuracy - confidence|: the plug-in is biased
  upward, and a resample again. The basic bootstrap 2 E - E* (Efron and
  Tibshirani, 1993) takes that bias off once, and is too short for it: so the
  ends are the 1% and 99% quantiles. Near perfect calibration, where it fails,
  the lower end is 0: if E is no larger than 97.5% of the sums that noise alone
  makes, |parts* - parts|. Widened, if need be, to hold E itself. Simulated
  coverage is 90% to 99%.
  """
  parts, n = summed(gaps, where, bins), gaps.shape[1]
  rng = np.random.default_rng(SEED)
  errors, noise = [], []
  for _ in range(RESAMPLES):
    times = np.bincount(rng.integers(n, size=n), minlength=n)
    resampled = summed(gaps * times, where, bins)
    errors.append(error(resampled))
    noise.append(error(resampled - parts))
  value = error(parts)
  few, many = np.quantile(errors, (0.01, 0.99), axis=0)
  low = np.where(
    value <= np.quantile(noise, 0.975, axis=0), 0, 2 * value - many
  )
  low, high = np.minimum(low, value), np.maximum(2 * value - few, value)
  return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _reliability(
  confidence: Float[np.ndarray, 'q'],
  right: Bool[np.ndarray, 'q'],
  where: Int[np.ndarray, 'q'],
  bins: int,
) -> list[dict]:
  """Mean confidence, accuracy and count of every bin that has queries."""
  count = np.bincount(where, minlength=bins)
  sure = np.bincount(where, confidence, bins)
  hits = np.bincount(where, right, bins)
  return [
    {
      'bin': int(i),
      'confidence': float(sure[i] / count[i]),
      'accuracy': float(hits[i] / count[i]),
      'count': int(count[i]),
    }
    for i in np.flatnonzero(count)
  ]


def _sentence(by: str, dims, over: list[float], results: list[dict]) -> str:
  """The error of the smallest and the widest prefix, and its direction."""
  errors = [row['value'] for row in results if row['metric'] == 'ece']
  clauses = [
    f'{dims[g]} dimensions are off by {100 * errors[g]:.1f} points, '
    f'{"over" if over[g] > 0 else "under"}confident by {100 * abs(over[g]):.1f}'
    for g in (0, -1)[: len(dims)]
  ]
  return f'Confidence of the {by}: ' + '; '.join(clauses) + '.'
