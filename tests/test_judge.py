"""Models and vectors on disk, judged: against ir-measures, and bad input."""

import json
import re
import types

import ir_measures
import jax
import numpy as np
import pytest
import scipy.stats

import mrl_jax
from mrl_jax import build, judge, rows, sharding
from mrl_jax import model as door
from mrl_jax.data import judged
from mrl_jax.embed import kept
from mrl_jax.inputs import image
from mrl_jax.report import results
from tests.samples import vectors
from tests.samples.judging import WIDTH, WordModel, pairs_of, set_of


@pytest.fixture
def model(monkeypatch):
  """A model that every --model=FOLDER is."""
  made = WordModel()
  monkeypatch.setattr(door, 'load', lambda path, step=None: made)
  return made


def measured(folder, model, m):
  """nDCG@10 and recall@10 by ir-measures, of float64 cosines."""
  given = judged.read(folder)
  asked = np.stack([model.vector(t, 'query') for t in given.queries])
  near = np.stack([model.vector(t, 'document') for t in given.corpus])
  scores = vectors.cosines(asked, near, m)
  run = {
    q: dict(zip(given.corpus.ids.tolist(), line.tolist()))
    for q, line in zip(given.queries.ids.tolist(), scores)
  }
  qrels = {
    q: {d: int(g) for d, g in by.items()} for q, by in given.qrels.items()
  }
  measures = [ir_measures.nDCG @ 10, ir_measures.R @ 10]
  return [ir_measures.calc_aggregate(measures, qrels, run)[x] for x in measures]


def values(folder, name):
  points = rows.curves(results.read(folder / 'eval' / '0'))[name]
  return {row['dim']: row['value'] for row in points}


def notes(folder):
  path = folder / 'eval' / '0' / 'evaluation.json'
  return ' '.join(json.loads(path.read_text(encoding='utf-8'))['notes'])


def test_a_model_is_judged_as_ir_measures_does(tmp_path, run_cli, model):
  """Each text is encoded once, with the words that its side is given."""
  folder = set_of(tmp_path / 'tiny')
  words = (
    f'--model={tmp_path / "m"}',
    f'--retrieval={folder}',
    '--only=retrieval',
  )
  output = tmp_path / 'out'
  code, out, err = run_cli('eval', *words, f'--output={output}')
  assert code == 0, err
  for m in (4, WIDTH):
    ndcg, recall = measured(folder, model, m)
    assert values(output, 'retrieval/ndcg@10')[m] == pytest.approx(ndcg, 1e-6)
    assert values(output, 'retrieval/r@10')[m] == pytest.approx(recall, 1e-6)
  assert [field for field, _ in model.asked] == 25 * ['query'] + 60 * [
    'document'
  ]
  assert "such as 'gone'" in notes(output)
  page = (output / 'eval' / '0' / 'report.html').read_text(encoding='utf-8')
  assert '60 rows' in page or '25 queries' in page
  count = len(model.asked)
  code, out, _ = run_cli('eval', *words, f'--output={output}')
  assert code == 0 and 'done before' in out and len(model.asked) == count


@pytest.mark.slow
def test_one_device_gives_what_eight_give(tmp_path, model, monkeypatch):
  folder = set_of(tmp_path / 'tiny', passages=61)
  found = []
  for count in (8, 1):
    mesh = sharding.make_mesh(devices=jax.devices()[:count])
    monkeypatch.setattr(build, 'make_mesh', lambda _, mesh=mesh: mesh)
    report = mrl_jax.evaluate(
      model=model,
      retrieval=folder,
      output=tmp_path / f'{count}',
      only=['retrieval'],
    )
    found.append(report.values)
  assert len(found[0]) > 10 and found[0] == pytest.approx(found[1], abs=1e-6)


def test_vectors_on_disk_give_what_the_model_gives(tmp_path, run_cli, model):
  """In any order, among others, and the two are compared by pairs."""
  folder = set_of(tmp_path / 'tiny')
  base = f'--retrieval={folder}', '--only=retrieval', '--dims=4,16'
  first, second = tmp_path / 'first', tmp_path / 'second'
  code, _, err = run_cli('eval', '--model=m', *base, f'--output={first}')
  assert code == 0, err
  given = judged.read(folder)
  rng = np.random.default_rng(1)
  for name, side, field, words in (
    ('x', given.corpus, 'document', ('ids', 'embeddings')),
    ('q', given.queries, 'query', ('query_ids', 'queries')),
  ):
    made = [(n, model.vector(t, field)) for n, t in zip(side.ids, side)]
    made += [(f'other{i}', rng.normal(size=WIDTH)) for i in range(5)]
    made = [made[i] for i in rng.permutation(len(made))]
    np.save(tmp_path / f'{name}.npy', np.stack([v for _, v in made]))
    lines = '\n'.join(str(n) for n, _ in made)
    (tmp_path / f'{name}.txt').write_text(lines)
    base += (
      f'--{words[0]}={tmp_path / name}.txt',
      f'--{words[1]}={tmp_path / name}.npy',
    )
  code, _, err = run_cli('eval', *base, f'--output={second}')
  assert code == 0, err
  for name in ('retrieval/ndcg@10', 'retrieval/map@10', 'retrieval/top1'):
    assert values(first, name) == pytest.approx(values(second, name), abs=1e-9)
  parts = [
    f / 'eval' / '0' / 'parts' / 'retrieval.npz' for f in (first, second)
  ]
  with np.load(parts[0]) as one, np.load(parts[1]) as other:
    assert one.files == other.files and 'retrieval/ndcg@10/d4' in one.files
    for name in one.files:
      np.testing.assert_allclose(one[name], other[name], atol=1e-6)
  both = tmp_path / 'both'
  code, _, err = run_cli('eval', '--compare', first, second, f'--output={both}')
  assert code == 0, err
  said = [
    json.loads((f / 'eval/0/evaluation.json').read_text())
    for f in (first, second)
  ]
  assert said[0]['data'] == said[1]['data']
  assert 'unpaired' not in (both / 'compare.md').read_text(encoding='utf-8')


def test_pairs_are_scored_as_scipy_does(tmp_path, run_cli, model):
  """By a model, which encodes a text once, and by vectors on disk."""
  known, pairs = pairs_of(tmp_path / 'sts.tsv')
  words = f'--pairs={tmp_path / "sts.tsv"}', '--dims=4,16', '--only=pairs,knn'
  first, second = tmp_path / 'first', tmp_path / 'second'
  code, _, err = run_cli('eval', '--model=m', *words, f'--output={first}')
  assert code == 0, err
  used = {text for one, other, _ in pairs for text in (one, other)}
  assert len(model.asked) == len(used) == len(set(model.asked))
  sides = [
    np.stack([model.vector(p[i], 'text') for p in pairs]) for i in (0, 1)
  ]
  scores = [float(p[2]) for p in pairs]
  for m in (4, 16):
    one, other = (vectors.unit(side, m) for side in sides)
    wanted = scipy.stats.spearmanr((one * other).sum(axis=1), scores)[0]
    found = values(first, 'pairs/spearman')[m]
    assert found == pytest.approx(wanted, abs=1e-6)
  found = results.read(first / 'eval' / '0')
  assert {row['evaluator'] for row in found} == {'pairs'}
  np.save(
    tmp_path / 'x.npy', np.stack([model.vector(t, 'text') for t in known])
  )
  (tmp_path / 'x.txt').write_text('\n'.join(known))
  words += f'--embeddings={tmp_path / "x.npy"}', f'--ids={tmp_path / "x.txt"}'
  code, _, err = run_cli('eval', *words, f'--output={second}')
  assert code == 0, err
  again = values(second, 'pairs/spearman')
  assert values(first, 'pairs/spearman') == pytest.approx(again, abs=1e-9)
  code, _, err = run_cli(
    'eval', '--compare', first, second, f'--output={tmp_path / "both"}'
  )
  assert code == 0, err


def test_texts_without_a_vector_are_counted(tmp_path, run_cli, model):
  folder = set_of(tmp_path / 'tiny')
  given = judged.read(folder)
  for name, side in (('x', given.corpus), ('q', given.queries)):
    rows_of = np.stack([model.vector(t, 'text') for t in side])[3:]
    np.save(tmp_path / f'{name}.npy', rows_of)
    (tmp_path / f'{name}.txt').write_text('\n'.join(side.ids[3:].tolist()))
  report = mrl_jax.evaluate(
    tmp_path / 'x.npy',
    queries=tmp_path / 'q.npy',
    ids=tmp_path / 'x.txt',
    query_ids=tmp_path / 'q.txt',
    retrieval=folder,
    output=tmp_path / 'out',
    only=['retrieval'],
  )
  assert {row['n'] for row in report.rows} == {22}
  assert "6 texts of the set have no vector, such as 'passage d0'" in notes(
    tmp_path / 'out'
  )


def test_an_encoding_that_stops_goes_on(tmp_path, run_cli, monkeypatch):
  monkeypatch.setattr(kept, 'SLAB', 8)
  folder, output = set_of(tmp_path / 'tiny'), tmp_path / 'out'
  words = '--model=m', f'--retrieval={folder}', '--only=retrieval'
  words += (f'--output={output}',)
  made = WordModel(stop_after=60)
  monkeypatch.setattr(door, 'load', lambda path, step=None: made)
  code, _, err = run_cli('eval', *words)
  assert code == 130 and not (output / 'eval').exists()
  again = WordModel()
  monkeypatch.setattr(door, 'load', lambda path, step=None: again)
  code, _, err = run_cli('eval', *words)
  assert code == 0, err
  # 25 queries, and four slabs of passages, were done.
  assert len(again.asked) == 60 - 4 * 8
  stored = np.load(output / 'vectors' / 'corpus.npy')
  corpus = judged.read(folder).corpus
  assert (stored == [again.vector(t, 'document') for t in corpus]).all()


def test_another_model_or_set_is_refused_and_nothing_is_lost(
  tmp_path, run_cli, monkeypatch
):
  folder, output = set_of(tmp_path / 'tiny'), tmp_path / 'out'
  words = '--model=m', '--only=retrieval', f'--output={output}'
  monkeypatch.setattr(door, 'load', lambda path, step=None: WordModel())
  code, _, err = run_cli('eval', *words, f'--retrieval={folder}')
  assert code == 0, err
  before = {p: p.read_bytes() for p in output.rglob('*') if p.is_file()}
  other = set_of(tmp_path / 'other', seed=1)
  for seed, given in ((1, folder), (0, other)):
    made = WordModel(seed)
    monkeypatch.setattr(door, 'load', lambda path, step=None, m=made: m)
    code, _, err = run_cli('eval', *words, f'--retrieval={given}')
    (line,) = err.strip().splitlines()
    assert code == 2 and 'another model or of other texts' in line
    assert '--fresh' in line and not made.asked
  assert before == {p: p.read_bytes() for p in output.rglob('*') if p.is_file()}
  code, _, err = run_cli('eval', *words, f'--retrieval={other}', '--fresh')
  assert code == 0 and len(made.asked) == 85, err


def test_a_model_that_embeds_nan_is_named(tmp_path, run_cli, model):
  folder = set_of(tmp_path / 'tiny')
  model.table[:] = np.nan
  code, _, err = run_cli(
    'eval', '--model=m', f'--retrieval={folder}', f'--output={tmp_path / "o"}'
  )
  assert code == 2 and "embeds 'q0' as NaN" in err


def test_a_full_disk_is_named_before_anything_is_made(
  tmp_path, run_cli, model, monkeypatch
):
  folder = set_of(tmp_path / 'tiny')
  full = types.SimpleNamespace(free=1000)
  monkeypatch.setattr(kept.shutil, 'disk_usage', lambda path: full)
  code, _, err = run_cli(
    'eval', '--model=m', f'--retrieval={folder}', f'--output={tmp_path / "o"}'
  )
  assert code == 2 and 'queries.npy needs 0.0 GB' in err and not model.asked


def test_a_model_of_images_is_refused(tmp_path, run_cli, model):
  model.fields = ('image',)
  model.parts.spec.inputs['image'] = image.Image(channels=1)
  code, _, err = run_cli(
    'eval', '--model=m', f'--retrieval={set_of(tmp_path / "tiny")}'
  )
  (line,) = err.strip().splitlines()
  assert (
    code == 2 and "--model=m embeds the field 'image', which is not" in line
  )


@pytest.mark.slow
def test_a_passage_without_direction_is_ranked_too(tmp_path, run_cli, model):
  """By every evaluator; an empty text may have a vector of zeros."""
  folder = set_of(tmp_path / 'tiny')
  with (folder / 'corpus.jsonl').open('a') as file:
    file.write('{"_id": "nothing", "title": "", "text": ""}')
  vector = model.vector
  model.vector = lambda t, field: vector(t, field) * bool(t)
  words = f'--retrieval={folder}', f'--output={tmp_path / "o"}', '--quick'
  code, out, err = run_cli('eval', '--model=m', *words)
  assert code == 0, err
  found = results.read(tmp_path / 'o' / 'eval' / '0')
  assert {'retrieval', 'baselines', 'stores'} <= {r['evaluator'] for r in found}
  assert all(np.isfinite(row['value']) for row in found)
  assert "such as 'nothing'" in out and '1 of 61 rows searched are zero' in out


def test_texts_of_rows(tmp_path, model):
  """What evaluators show."""
  folder = set_of(tmp_path / 'tiny')
  config = judge.foreign.vector_config(None)
  config = judge.schema.resolve(config, [])
  options = dict.fromkeys(
    'pairs embeddings ids queries query_ids codes step fresh'.split()
  )
  options |= dict(model='m', retrieval=folder, output=tmp_path / 'out')
  found = judge.ready(config, type('Options', (), options)).evidence
  given = judged.read(folder)
  asked = found.functions['texts']
  assert asked('queries', [3, 1]) == [given.queries[3], given.queries[1]]
  assert asked('database', np.array([7])) == [given.corpus[7]]


CASES = {
  'both': (['--model=m', '--retrieval=r', '--pairs=p'], 'one of them'),
  'neither': (['--model=m'], '--model needs --retrieval or --pairs'),
  'a run': (['--workdir=w', '--retrieval=r'], '--retrieval goes with --model'),
  'no queries': (['--embeddings=x', '--retrieval=r'], 'needs .* --queries'),
  'labels': (
    ['--embeddings=x', '--labels=l', '--retrieval=r'],
    'drop --labels',
  ),
  'queries': (['--embeddings=x', '--queries=q', '--pairs=p'], 'drop --queries'),
  'sources': (['--model=m', '--embeddings=x', '--pairs=p'], 'give one of'),
  'no folder': (['--model=m', '--retrieval={}/no'], 'no is not a folder'),
  'no file': (['--model=m', '--pairs={}/no.tsv'], r'no\.tsv is not there'),
  'dims': (
    ['--model=m', '--retrieval={}/tiny', '--dims=8,32'],
    r'--dims=\(8, 32\)',
  ),
  'only': (
    ['--model=m', '--pairs={}/p.tsv', '--only=knn'],
    'nothing to evaluate: of knn none is about pairs',
  ),
  'a workdir': (
    ['--model=m', '--retrieval={}/tiny', '--output={}/run'],
    'is the workdir of a training run',
  ),
  'no ids': (
    ['--embeddings={}/x.npy', '--queries={}/x.npy', '--retrieval={}/tiny'],
    'has no ids; .* --ids',
  ),
  'other ids': (
    [
      '--embeddings={}/x.npy',
      '--queries={}/x.npy',
      '--ids={}/x.txt',
      '--query_ids={}/x.txt',
      '--retrieval={}/tiny',
    ],
    "--query_ids names none of the 25 texts .*it has 'a', the set 'q0'",
  ),
  'ids twice': (
    [
      '--embeddings={}/x.npy',
      '--queries={}/x.npy',
      '--ids={}/x.txt',
      '--query_ids={}/twice.txt',
      '--retrieval={}/tiny',
    ],
    "--query_ids: rows 0 and 2 have one id, 'a'",
  ),
  'pairs of other ids': (
    ['--embeddings={}/x.npy', '--ids={}/x.txt', '--pairs={}/p.tsv'],
    'names both sides of 0 of 3 pairs',
  ),
}


@pytest.mark.parametrize('case', CASES)
def test_what_cannot_be_meant_is_one_line(tmp_path, run_cli, model, case):
  words, said = CASES[case]
  set_of(tmp_path / 'tiny')
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'config.json').write_text('{}')
  np.save(tmp_path / 'x.npy', np.ones((3, 8), np.float32))
  (tmp_path / 'x.txt').write_text('a\nb\nc')
  (tmp_path / 'twice.txt').write_text('a\nb\na')
  pairs = 'sentence1\tsentence2\tscore\nu\tv\t1\nw\tx\t2\ny\tz\t4\n'
  (tmp_path / 'p.tsv').write_text(pairs)
  out = [] if any('--output' in word for word in words) else ['--output={}/out']
  words = [word.format(tmp_path) for word in [*words, *out]]
  code, _, err = run_cli('eval', *words)
  (line,) = err.strip().splitlines()
  assert code == 2 and re.search(said, line), err
  assert not model.asked and not (tmp_path / 'out').exists()
