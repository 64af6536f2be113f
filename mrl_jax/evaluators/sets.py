"""`sets`: how well each prefix finds what it should in judged sets of texts."""

from mrl_jax import rows
from mrl_jax.embed import ties
from mrl_jax.evaluators import options


class Sets:
  """Ranked retrieval in the sets of `eval.retrieval_sets`, a curve each.

  Args:
    ndcg: depth of nDCG, all passages where the set has fewer.
    recall: depth of recall, which is left out where the set has fewer passages.
  """

  needs = ('sets',)
  metrics = ()

  def __init__(self, ndcg: int = 10, recall: int = 100):
    options.at_least(1, ndcg=ndcg, recall=recall)
    self.ndcg, self.recall = ndcg, recall

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    """Rows `sets/ndcg@10.<set>` and `sets/r@100.<set>`; no details."""
    results = []
    for name, seen in evidence.functions['sets']():
      relevance, size = seen.relevance, len(seen.database)
      depths = {'ndcg': min(self.ndcg, size), 'r': self.recall}
      if self.recall > size:
        del depths['r']
      rankings = ties.rankings(
        seen.queries,
        seen.database,
        seen.dims,
        max(depths.values()),
        relevance,
        seen.mesh,
      )
      ideal = relevance.ideal(max(depths.values()))
      for m, ranking in zip(seen.dims, rankings):
        for metric, k in depths.items():
          values = ties.expected_measures(
            ranking.top(k), ideal[:, :k], relevance.totals
          )[metric]
          results.append(
            rows.mean('sets', metric, m, values, k=k, variant=name)
          )
    return results, {}
