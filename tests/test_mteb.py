"""The adapter of docs/mteb.md, run as it stands there by mteb itself."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import mrl_jax
from tests.samples import text_models

PAGE = Path(__file__).parent.parent / 'docs' / 'mteb.md'
DIM = 4


def adapter() -> type:
  code = re.search(
    r'<!-- the adapter -->\n```python\n(.*?)```', PAGE.read_text(), re.S
  )
  names: dict = {}
  exec(code[1], names)
  return names['Prefix']


def a_task(pairs: dict):
  """A task of mteb about these pairs, without files of its own."""
  from datasets import Dataset
  from mteb.abstasks import AbsTaskSTS
  from mteb.abstasks.task_metadata import TaskMetadata

  class Local(AbsTaskSTS):
    metadata = TaskMetadata(
      name='Local',
      description='Pairs of this test.',
      dataset={'path': 'local', 'revision': '1'},
      type='STS',
      category='t2t',
      eval_splits=['test'],
      eval_langs=['eng-Latn'],
      main_score='cosine_spearman',
    )
    min_score, max_score = 0, 5

    def load_data(self, **more):
      self.dataset, self.data_loaded = {'test': Dataset.from_dict(pairs)}, True

  return Local()


@pytest.mark.oracle
@pytest.mark.filterwarnings('ignore')
def test_mteb_finds_our_correlation_at_a_dim(tmp_path):
  mteb = pytest.importorskip('mteb')
  first, second = text_models.sentences(20), text_models.sentences(20, seed=1)
  scores = np.random.default_rng(0).uniform(0, 5, 20)
  pairs = {'score': scores, 'sentence1': first, 'sentence2': second}
  folder = text_models.static_folder(tmp_path / 'model')
  found = mteb.evaluate(adapter()(folder, DIM), a_task(pairs), cache=None)
  ours = mrl_jax.load(folder)
  cosines = np.sum(ours.embed(first, DIM) * ours.embed(second, DIM), axis=1)
  np.testing.assert_allclose(
    found.task_results[0].get_score(),
    stats.spearmanr(cosines, scores)[0],
    atol=1e-6,
  )
