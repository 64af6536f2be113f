"""`baselines` against naive counts, with fixed-feature runs beside them."""

import dataclasses
import json

import numpy as np
import pytest

from mrl_jax import intervals, rows
from mrl_jax.embed import probes, reductions, relevance, vectors
from mrl_jax.embed.vectors import Vectors
from mrl_jax.evaluators import baselines, retrieval
from tests.samples.vectors import cosines, evidence_of, judged_evidence

DIMS = (4, 7, 12)


def some_rows(n=200, seed=0):
  rng = np.random.default_rng(seed)
  mix = np.random.default_rng(9).normal(size=(12, 12)) * 0.7 ** np.arange(12)
  return (rng.normal(size=(n, 12)) @ mix.T + 2).astype(np.float32)


def shown(dims=DIMS, database=150, asked=40):
  rng = np.random.default_rng(3)
  sides = {}
  for name, n in (('train', database), ('validation', asked)):
    labels = rng.integers(0, 3, n)
    x = some_rows(n, seed=n) - 1.7
    x[:, :4] += np.eye(4, dtype=np.float32)[labels] * 2
    sides[name] = Vectors(x, labels * 70_000)
  return evidence_of(sides['train'], sides['validation'], dims)


@pytest.mark.slow
def test_baselines_are_naive_counts():
  seen = shown()
  found, details = baselines.Baselines(seeds=2).run(seen)
  by = {(r['metric'], r['variant'], r['dim']): r for r in found}
  assert len(by) == len(found)
  one, two = seen.queries, seen.database
  makers = {
    'prefix': [lambda z: z],
    'pca': [reductions.pca(two.embeddings)],
    'svd': [reductions.svd(two.embeddings)],
  } | {
    name: [make(12, s) for s in range(2)]
    for name, make in baselines.RANDOM.items()
  }
  whole = cosines(one.embeddings, two.embeddings, 12)
  best = np.argsort(-whole, axis=1)[:, :10]
  for variant, maps in makers.items():
    for m in DIMS if variant == 'prefix' else DIMS[:-1]:
      right = [
        two.labels[
          cosines(f(one.embeddings), f(two.embeddings), m).argmax(axis=1)
        ]
        == one.labels
        for f in maps
      ]
      row = by.pop(('knn_top1', variant, m))
      assert row['value'] == pytest.approx(np.mean(right), abs=1e-12)
      assert row['n'] == 40 and row['ci_low'] < row['value'] < row['ci_high']
      assert ('spread' in row) == variant.startswith('random')
      near = [
        np.argsort(-cosines(f(one.embeddings), f(two.embeddings), m))[:, :10]
        for f in maps
      ]
      found = [np.mean([len({*a} & {*b}) / 10 for a, b in zip(n, best)])
               for n in near]  # fmt: skip
      row = by.pop(('recall', variant, m))
      assert row['value'] == pytest.approx(np.mean(found), abs=1e-12)
      assert row['k'] == 10
  pca = reductions.pca(two.embeddings)
  ridge = probes.Options(solver='ridge')
  whole = Vectors(pca(two.embeddings), two.labels)
  probe = probes.fit(whole, DIMS[:-1], ridge)
  logits = np.asarray(probe.logits(pca(one.embeddings), DIMS[:-1]))
  said = probe.classes[logits.argmax(-1)]
  for g, m in enumerate(DIMS[:-1]):
    expected = np.mean(said[g] == one.labels)
    assert by['probe_top1', 'pca', m]['value'] == expected
  assert {key[:2] for key in by} == {
    ('probe_top1', v) for v in baselines.PROBED
  }
  assert details['examples'] == details['database'] == 150


def test_only_examples_rows_are_used_and_one_dim_has_no_baselines():
  evaluator = baselines.Baselines(examples=30, queries=10, probe=False, seeds=1)
  found, details = evaluator.run(shown())
  assert details['examples'] == 30 and details['database'] == 150
  assert {r['n'] for r in found} == {10}
  assert evaluator.run(shown())[0] == found
  alone, _ = evaluator.run(shown(dims=(12,)))
  names = [(r['metric'], r['variant'], r['dim']) for r in alone]
  assert sorted(names) == [('knn_top1', 'prefix', 12), ('recall', 'prefix', 12)]


def right_by(one, two, reduce, m):
  scores = cosines(reduce(one.embeddings), reduce(two.embeddings), m)
  return (two.labels[scores.argmax(axis=1)] == one.labels).astype(float)


def test_whether_it_is_nested_is_paired_by_query():
  seen = shown()
  _, details = baselines.Baselines(seeds=4, probe=False).run(seen)
  said = details['nested']
  assert (said['metric'], said['width']) == ('knn_top1', 12)
  one, two = seen.queries, seen.database
  makers = {
    'pca': [reductions.pca(two.embeddings)],
    'random_subset': [reductions.random_coordinates(12, s) for s in range(4)],
    'random_rotation': [reductions.random_rotation(12, s) for s in range(4)],
  }
  assert set(said['by']) == set(makers)
  for rival, maps in makers.items():
    for point in said['by'][rival]:
      m = point['dim']
      ours = right_by(one, two, lambda z: z, m)
      differences = ours - np.stack([right_by(one, two, f, m) for f in maps])
      assert point['value'] == pytest.approx(differences.mean(), abs=1e-12)
      low, high = intervals.crossed((differences + 1) / 2)
      assert point['low'] == pytest.approx(2 * low - 1)
      assert point['high'] == pytest.approx(2 * high - 1)
      assert point['low'] < point['value'] < point['high']


def test_without_labels_neighbours_say_whether_it_is_nested():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(900, 16)) * 0.6 ** np.arange(16)
  turned = x @ reductions.random_rotation(16, 1).matrix
  for vectors_of, nested_it_is in ((x, True), (turned, False)):
    sides = Vectors(vectors_of[:700]), Vectors(vectors_of[700:])
    seen = evidence_of(*sides, (4, 8, 16))
    found, details = baselines.Baselines().run(seen)
    assert {row['metric'] for row in found} == {'recall'}
    said = details['nested']
    assert said['metric'] == 'recall'
    (point,) = (p for p in said['by']['random_rotation'] if p['dim'] == 4)
    assert (point['low'] > 0) == nested_it_is


def write_run(path, dim, value, steps=(5, 10)):
  path.mkdir()
  head = {'name': 'ff'} | ({'dim': dim} if dim else {})
  old = path.name == 'a'  # saved when the head stood at the top
  config = {
    'dims': [4, 7, 12],
    **({'head': head} if old else {'task': {'head': head}}),
  }
  (path / 'config.json').write_text(json.dumps(config))
  for step in steps:
    lines = [
      rows.make(name, 'top1', m, value if step == 10 else 0, (value, 1.0), 40)
      for name in ('knn', 'linear')
      for m in DIMS
    ]
    folder = path / 'eval' / str(step)
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'results.jsonl').write_text(text)


def test_fixed_feature_runs_stand_beside(tmp_path):
  for name, dim, value in (('a', 4, 0.5), ('b', 4, 0.7), ('c', 0, 0.9)):
    write_run(tmp_path / name, dim, value)
  folders = [str(tmp_path / name) for name in 'abc']
  evaluator = baselines.Baselines(probe=False, seeds=1, ff=folders)
  found, details = evaluator.run(shown())
  ff = {(r['metric'], r['dim']): r for r in found if r['variant'] == 'ff'}
  assert set(ff) == {
    (f'{n}_top1', m) for n in ('knn', 'linear') for m in (4, 12)
  }
  assert ff['knn_top1', 4]['value'] == pytest.approx(0.6)
  assert ff['knn_top1', 4]['ci_low'] == pytest.approx(0.6)
  assert ff['linear_top1', 12]['value'] == 0.9
  assert details['ff'] == {4: folders[:2], 12: folders[2:]}


def test_fixed_feature_runs_that_are_not_there(tmp_path):
  with pytest.raises(ValueError, match='not a run: it has no config.json'):
    baselines.Baselines(ff=str(tmp_path)).run(shown())
  write_run(tmp_path / 'a', 4, 0.5, steps=())
  command = f'has no results; run `python eval.py --workdir={tmp_path}/a`'
  with pytest.raises(ValueError, match=command):
    baselines.Baselines(ff=[str(tmp_path / 'a')]).run(shown())
  write_run(tmp_path / 'b', 3, 0.5)
  with pytest.raises(ValueError, match='no knn/top1 or linear/top1 at d3'):
    baselines.Baselines(ff=[str(tmp_path / 'b')]).run(shown())
  with pytest.raises(ValueError, match='seeds=0 must be'):
    baselines.Baselines(seeds=0)


def full_ndcg(x, asked):
  """1 / log2(rank + 1) of each query's partner among ten, else 0."""
  moved = np.concatenate([x[:30], np.roll(x[30:], 1, axis=0)])
  order = np.argsort(-cosines(moved[asked], x, 12), axis=1)
  ranks = 1 + np.argmax(order == asked[:, None], axis=1)
  return np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0)


def test_partners_without_labels_have_neighbours_and_no_probes():
  x = some_rows(40)
  asked = np.concatenate([x[:30], np.roll(x[30:], 1, axis=0)])
  seen = evidence_of(Vectors(x), Vectors(asked), DIMS, relate=relevance.by_pair)
  found, _ = baselines.Baselines(seeds=1, queries=25).run(seen)
  asked = vectors.draw_rows(np.random.default_rng(0), 40, 25)
  assert {row['metric'] for row in found} == {'ndcg', 'recall'}
  (full,) = (
    row for row in found if (row['metric'], row['dim']) == ('ndcg', 12)
  )
  first = asked < 30  # the others' partners are found second or later
  assert full['value'] == pytest.approx(np.mean(full_ndcg(x, asked)))
  assert np.mean(first) < full['value'] < 1


def test_the_order_of_tied_rows_changes_nothing():
  """The share of the tied best rows that has the query's class, at one dim."""
  rng = np.random.default_rng(0)
  x, asked = some_rows(40), some_rows(9, seed=1)
  labels, wanted = rng.integers(0, 2, 40), rng.integers(0, 2, 9)
  found = []
  for order in (np.arange(40), rng.permutation(40)):
    seen = evidence_of(
      Vectors(x[order], labels[order]), Vectors(asked, wanted), (1, 12)
    )
    results, _ = baselines.Baselines(probe=False, seeds=1).run(seen)
    found.append(
      {
        (row['metric'], row['variant'], row['dim']): row['value']
        for row in results
        if row['variant'] in ('prefix', 'random_subset')
      }
    )
  assert found[0] == pytest.approx(found[1], abs=1e-12)
  same = labels == wanted[:, None]
  tied = np.sign(x[:, 0]) == np.sign(asked[:, :1])
  expected = np.mean(np.sum(tied & same, axis=1) / np.sum(tied, axis=1))
  assert found[0]['knn_top1', 'prefix', 1] == pytest.approx(expected)


def test_with_judgements_the_measure_is_ndcg():
  """The prefix as `retrieval` has it; the verdict is in its words too."""
  _, seen = judged_evidence((4, 16), rows=120, queries=60)
  found, details = baselines.Baselines(seeds=1).run(seen)
  ours = {r['dim']: r for r in found if r.get('variant') == 'prefix'
          and r['metric'] == 'ndcg'}  # fmt: skip
  theirs = {r['dim']: r for r in retrieval.Retrieval(k=(10,)).run(seen)[0]
            if r['metric'] == 'ndcg'}  # fmt: skip
  assert set(ours) == {4, 16} and ours[4]['k'] == 10
  for m, row in ours.items():
    assert row['value'] == pytest.approx(theirs[m]['value'], abs=1e-12)
  assert details['nested']['metric'] == 'ndcg'
  (by_queries,) = (r for r in found if r['variant'] == 'pca_queries'
                   and r['metric'] == 'ndcg')  # fmt: skip
  assert by_queries['dim'] == 4 and by_queries['n'] == 60
  assert not [r for r in found if r['metric'] in ('knn_top1', 'probe_top1')]


def test_pca_of_queries_is_fitted_on_other_queries():
  """A query that is moved far changes the others' half, and never its own."""
  _, seen = judged_evidence(rows=120, queries=60)

  def values(evidence):
    trial = baselines._Trial(
      evidence.queries, evidence.database, evidence.relevance,
      evidence.dims, evidence.mesh, True,
    )  # fmt: skip
    kept = {}
    rows_of = baselines._seed_rows

    def spied(metric, variant, dims, hits, *rest):
      kept[metric] = hits[0]
      return rows_of(metric, variant, dims, hits, *rest)

    baselines._seed_rows = spied
    try:
      baselines._rows_by_queries(
        trial, evidence.queries, evidence.database, (2, 4, 8)
      )
    finally:
      baselines._seed_rows = rows_of
    return kept['ndcg']

  before = values(seen)
  moved = seen.queries.embeddings.copy()
  moved[7] *= 100  # of the same direction: its own measures stay
  other = dataclasses.replace(
    seen,
    make_queries=lambda: dataclasses.replace(seen.queries, embeddings=moved),
  )
  after = values(other)
  changed = np.any(before != after, axis=0)
  order = np.random.default_rng(0).permutation(60)
  own = order[:30] if 7 in order[:30] else order[30:]
  assert not changed[own].any() and changed.sum() > 10
