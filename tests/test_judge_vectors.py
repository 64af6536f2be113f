"""Vectors of texts: of which text each is, and which of them are done."""

import numpy as np
import pytest

import mrl_jax
from mrl_jax.data import judged
from mrl_jax.embed.kept import KeptVectors
from mrl_jax.errors import UsageError
from mrl_jax.report import results
from tests.samples.judging import WordModel
from tests.samples.texts import write_set


def test_a_query_and_a_passage_of_one_id_are_two_texts(tmp_path):
  folder, model = tmp_path / 'tiny', WordModel()
  ids = [f'{i}' for i in range(12)]
  sides = [
    [{'_id': name, 'text': f'{word} {name}'} for name in ids]
    for word in ('sea', 'sky')
  ]
  write_set(folder, *sides, {name: {name: 1} for name in ids})
  given, data = judged.read(folder), []

  def judge(output):
    mrl_jax.evaluate(
      tmp_path / 'x.npy',
      queries=tmp_path / 'q.npy',
      ids=tmp_path / 'x.txt',
      query_ids=tmp_path / 'q.txt',
      retrieval=folder,
      output=output,
      only=['retrieval'],
    )

  for passages, queries in (((0, 1), (0, 2)), ((0, 2), (0, 1))):
    lacking = {'x': (given.corpus, passages), 'q': (given.queries, queries)}
    for name, (side, without) in lacking.items():
      rows = [i for i in range(12) if i not in without]
      embeddings = [model.vector(side[i], 'text') for i in rows]
      np.save(tmp_path / f'{name}.npy', np.stack(embeddings))
      (tmp_path / f'{name}.txt').write_text('\n'.join(side.ids[rows]))
    output = tmp_path / f'out{len(data)}'
    judge(output)
    about = results.details(output / 'eval' / '0')['evaluation']
    assert '4 texts of the set have no vector' in ' '.join(about['notes'])
    data.append(about['data'])
  assert data[0] != data[1]  # queries 0, 1, 3 are not queries 0, 2, 3
  words = 'of other vectors, texts or judgements; name another'
  with pytest.raises(UsageError, match=words):
    judge(tmp_path / 'out0')


def test_a_file_that_is_gone_leaves_no_row_called_done(tmp_path):
  texts, rng = list('abcdef'), np.random.default_rng(0)
  values = {text: rng.normal(size=4).astype(np.float32) for text in texts}
  store = KeptVectors(tmp_path / 'x.npy', 'about', (6, 4))

  def embed(some, rows):
    rows[:] = [values[text] for text in some]

  def stopped(some, rows):
    raise KeyboardInterrupt

  store.fill(texts, embed, texts)
  store.path.unlink()
  with pytest.raises(KeyboardInterrupt):
    store.fill(texts, stopped, texts)
  stored = store.fill(texts, embed, texts)
  assert (stored == np.stack([values[text] for text in texts])).all()
