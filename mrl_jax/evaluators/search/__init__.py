"""`search`: what finds the nearest rows at which cost, beside exact search."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.embed import exact, schedules, shortlist
from mrl_jax.embed.relevance import Relevance
from mrl_jax.evaluators import options
from mrl_jax.evaluators.search import methods, tuning
from mrl_jax.evaluators.search.methods import Method
from mrl_jax.shapes import Float

FUNNELS = (8, 16, 32)  # first shortlists of the paper's funnels
USUAL = 10  # neighbours
SINGLES = 20  # queries timed one by one


class Search:
  """Recall of the exact nearest rows at full width, per way to search.

  Variants: `prefix`, exact search at one prefix only; `ar`, adaptive retrieval
  (paper, section 4.3.1): a shortlist there, reranked at full width; `funnel`,
  the paper's; `funnel_auto`, the schedule chosen on other queries within a
  budget; `device`, all rows at full width on the devices, and on a TPU
  `device_approximate`. A row's dim is that of the first shortlist. Half of the
  queries choose, the other half is reported. `bytes` are those of what the
  shortlist looks through; the full rows to rerank may lie in a file. `top1`
  says how often the first row found is relevant. Indexes: see `stores`.

  Args:
    shortlist: rows reranked, no more than there are.
    k: neighbours looked for, 0 for 10, or all rows if there are fewer.
    dims: of shortlists, () for all but the width.
    queries: looked at, drawn with a fixed seed.
    budget: of `funnel_auto`, as a share of exact search's multiply-adds.
  """

  needs = ()

  def __init__(
    self,
    shortlist: int = 200,
    k: int = 0,
    dims: tuple[int, ...] = (),
    queries: int = 1000,
    budget: float = 0.25,
  ):
    if not 0 <= k <= shortlist:
      raise ValueError(f'k={k} must be from 1 to shortlist={shortlist}')
    options.at_least(1, queries=queries)
    if not 0 < budget <= 1:
      raise ValueError(f'budget={budget} must be a share above 0, at most 1')
    self.k, self.shortlist, self.dims = k, shortlist, tuple(dims)
    self.queries, self.budget = queries, budget
    self.metrics = (f'recall@{k or min(USUAL, shortlist)}.prefix',)

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    k = self.k or min(USUAL, self.shortlist, len(evidence.database))
    dims = self._check(evidence, k)
    trial = make_trial(evidence, self.queries, k)
    left_out, results, table = {}, [], []
    for method in self._methods(trial, evidence, dims, left_out):
      of_method, described = measured(method, trial)
      results += of_method
      table.append(described)
    details = {
      'k': k,
      'shortlist': min(self.shortlist, len(trial.database)),
      'database_rows': len(trial.database),
      'queries': len(trial.reported),
      'tuning_queries': len(trial.tuning),
      'methods': table,
      'left_out': left_out,
    }
    return results, details

  def _methods(
    self, trial: 'Trial', evidence, dims, left_out: dict
  ) -> Iterator[Method]:
    """All ways to search, one after another; why some are left out."""
    database, k, every = trial.database, trial.k, evidence.dims
    width = database.width
    why = methods.crowded(database, evidence.mesh)
    if why:
      left_out['device'] = why
    else:
      yield from methods.on_devices(database, evidence.mesh, k)
    for dim in reversed(every):
      yield methods.scheduled('prefix', database, schedules.Schedule(dim), k)
      database.forget(width)  # as large as the embeddings
    for dim in dims:
      adaptive = schedules.adaptive(dim, self.shortlist, width)
      yield methods.scheduled('ar', database, adaptive, k)
    for dim in sorted(set(dims) & set(FUNNELS)):
      funnel = schedules.funnel(dim, width, k)
      yield methods.scheduled('funnel', database, funnel, k)
    try:
      schedule = self._choose(trial, every)
    except ValueError as error:
      left_out['funnel_auto'] = str(error)
    else:
      yield methods.scheduled('funnel_auto', database, schedule, k)

  def _check(self, evidence, k: int) -> tuple[int, ...]:
    """Dims of shortlists, once they and k fit the evidence."""
    if k > len(evidence.database):
      raise errors.UsageError(
        f'eval.search.k={k} exceeds the {len(evidence.database)} '
        f'database rows; set --config.eval.search.k to at most that'
      )
    unknown = set(self.dims) - set(evidence.dims)
    if unknown:
      raise errors.UsageError(
        f'eval.search.dims={self.dims}: {min(unknown)} is not evaluated; '
        f'choose from {evidence.dims} or add it to eval.dims'
      )
    return tuple(sorted(set(self.dims or evidence.dims[:-1])))

  def _choose(self, trial: 'Trial', dims) -> schedules.Schedule:
    """The best schedule on the tuning queries within the budget."""
    if not len(trial.tuning):
      raise errors.UsageError('one query cannot both choose and be reported')
    database = trial.database
    tried = tuning.candidates(dims, trial.k, len(database))
    whole = len(database) * database.width / 1e6
    return tuning.best_schedule(
      database, trial.tuning, trial.exact_tuning, tried, self.budget * whole
    )


@dataclasses.dataclass(frozen=True)
class Trial:
  """Queries that choose and queries that are reported, with the truth.

  Attributes:
    exact_tuning, exact: (scores, rows) [q k] of the nearest rows at full
      width, of the queries that choose and of those reported.
    relevance: of the reported queries, or None.
  """

  database: shortlist.Database
  k: int
  tuning: Float[np.ndarray, 'p d']
  reported: Float[np.ndarray, 'q d']
  exact_tuning: tuple
  exact: tuple
  relevance: Relevance | None


def make_trial(evidence, most: int, k: int) -> Trial:
  """Some queries, drawn with a fixed seed: half choose, half are reported."""
  database, queries = evidence.database.embeddings, evidence.queries.embeddings
  drawn = np.random.default_rng(0).permutation(len(queries))[:most]
  # Read in the order of the file, then put into the order drawn.
  asked = queries[np.sort(drawn)][np.argsort(np.argsort(drawn))]
  nearest = exact.nested_top_k(
    asked, database, evidence.dims[-1:], k, evidence.mesh
  )
  half, relevance = len(drawn) // 2, evidence.relevance
  return Trial(
    database=shortlist.Database(database),
    k=k,
    tuning=asked[:half],
    reported=asked[half:],
    exact_tuning=tuple(x[0, :half] for x in nearest),
    exact=tuple(x[0, half:] for x in nearest),
    relevance=relevance and relevance.at(drawn[half:]),
  )


def measured(method: Method, trial: Trial) -> tuple[list[rows.Row], dict]:
  """(results, what a table and a chart need) of one method."""
  queries = trial.reported
  nearest = np.asarray(method.find(queries))
  shares = shortlist.recall(trial.database, queries, nearest, trial.exact)
  costs = {
    'mflops': method.mflops,
    'mflops_shortlist': method.mflops_shortlist,
    'bytes': method.bytes,
  }
  extra = {'variant': method.name, **costs}
  recall = rows.mean('search', 'recall', method.dim, shares, k=trial.k, **extra)
  results = [recall]
  if trial.relevance is not None:
    right = trial.relevance.grades(nearest[:, :1]) > 0
    hits = int(np.sum(right))
    results.append(
      rows.proportion('search', 'top1', method.dim, hits, len(right), **extra)
    )
  batch = least_seconds(lambda: method.find(queries)) / len(queries)
  singles = queries[:SINGLES]
  method.find(singles[:1])  # what is compiled for one query is not its time
  single = least_seconds(lambda: [method.find(one[None]) for one in singles])
  return results, {
    'method': method.name,
    'about': method.about,
    'dim': method.dim,
    'recall': recall['value'],
    'top1': results[1]['value'] if len(results) > 1 else None,
    **costs,
    'milliseconds_batch': batch * 1e3,
    'milliseconds_single': single / len(singles) * 1e3,
    'build_seconds': method.build_seconds,
  }


def least_seconds(run: Callable) -> float:
  """Seconds, the least of as many runs as fit into a second, at most five."""
  seconds = []
  while len(seconds) < 5 and sum(seconds) < 1:
    started = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - started)
  return min(seconds)
