"""Text beside sentence-transformers: the same weights, texts and machine.

  pip install -e '.[bench]'
  python benchmarks/text.py --model=FOLDER --retrieval=FOLDER
  python benchmarks/text.py --model=FOLDER --retrieval=FOLDER --profile

Three comparisons in one process, their order shuffled every round:

  encode   the passages of the set, from strings to vectors
  forward  the encoder alone, on one batch of each length
  judge    the set at every dim of DIMS, from strings to nDCG@10: ours encodes
           once, the InformationRetrievalEvaluator once per truncation

`judge` fails unless nDCG@10 is equal to 1e-6 at every dim. Theirs has no
grades, so for it whatever is judged above 0 is relevant with grade 1.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault('HF_HUB_OFFLINE', '1')
sys.path.insert(0, str(Path(__file__).parent.parent))

import measure  # noqa: E402
import numpy as np  # noqa: E402

import mrl_jax  # noqa: E402
from mrl_jax import progress  # noqa: E402
from mrl_jax.data import judged  # noqa: E402
from mrl_jax.embed import evidence, relevance  # noqa: E402
from mrl_jax.embed.vectors import Vectors  # noqa: E402
from mrl_jax.evaluators.retrieval import Retrieval  # noqa: E402

DIMS = (8, 16, 32, 64, 128, 256, 384)
SHAPES = ((64, 32), (32, 128), (16, 256))
BATCH = 64


def main(argv=None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  add = parser.add_argument
  add('--model', required=True, metavar='FOLDER')
  add('--retrieval', required=True, metavar='FOLDER')
  add('--rounds', type=int, default=5)
  add('--texts', type=int, default=0, help='passages encoded, 0 for all')
  add('--only', default='forward,encode,judge')
  add('--json', metavar='FILE')
  options = parser.parse_args(argv)
  progress.quiet()
  sides = Sides(options.model, options.retrieval, options.texts)
  names = options.only.split(',')
  found = {'conditions': measure.conditions()}
  if 'forward' in names:
    for rows, length in SHAPES:
      name = f'forward {rows} x {length}'
      found[name] = measure.race(sides.forward(rows, length), options.rounds)
  if 'encode' in names:
    found['encode'] = measure.race(sides.encode(), options.rounds)
  if 'judge' in names:
    sides.check()
    found['judge'] = measure.race(sides.judge(), options.rounds)
  print(table(found))
  measure.write(options.json, found)


class Sides:
  """Our model and theirs, and the texts of a judged set."""

  def __init__(self, model: str, folder: str, texts: int):
    from sentence_transformers import SentenceTransformer

    self.ours = mrl_jax.load(model)
    self.theirs = SentenceTransformer(model, device='cpu')
    self.set = judged.read(folder)
    self.encoded = [text for text in self.set.corpus if text][: texts or None]

  def encode(self) -> dict:
    """From strings to vectors."""
    return {
      'sentence-transformers': lambda: self.theirs.encode(
        self.encoded, batch_size=BATCH
      ),
      'mrl_jax': lambda: self.ours.embed(self.encoded, batch_size=BATCH),
    }

  def forward(self, rows: int, length: int) -> dict:
    """One batch through both encoders, no padding."""
    import jax
    import torch

    numbers = np.random.default_rng(0).integers(1000, 20_000, (rows, length))
    mask = torch.ones((rows, length), dtype=torch.long)
    theirs = {'input_ids': torch.tensor(numbers), 'attention_mask': mask}
    arrays = {
      'tokens': numbers.astype(np.int32),
      'mask': np.ones((rows, length), bool),
    }
    task, variables = self.ours.parts.task, self.ours.variables
    batch = {task.field: arrays, 'mask': np.ones(rows, np.float32)}
    embed = jax.jit(task.embed)

    def run_theirs():
      with torch.inference_mode():
        self.theirs(dict(theirs))

    return {
      'sentence-transformers': run_theirs,
      'mrl_jax': lambda: embed(variables, batch),
    }

  def judge(self) -> dict:
    """From strings to all measures at every dim."""
    return {
      'sentence-transformers': self.their_ndcg,
      'mrl_jax': self.our_ndcg,
    }

  def our_ndcg(self) -> list[float]:
    """nDCG@10 at every dim."""
    sides = [
      Vectors(
        self.ours.embed(texts, normalise=False, batch_size=BATCH), ids=texts.ids
      )
      for texts in (self.set.queries, self.set.corpus)
    ]
    binary = {
      query: {row: 1.0 for row, grade in rows.items() if grade > 0}
      for query, rows in self.set.qrels.items()
    }
    queries, database = sides
    seen = evidence.of_vectors(
      database,
      queries,
      DIMS,
      relate=lambda q, r: relevance.by_judgement(binary, q, r),
    )
    rows, _ = Retrieval().run(seen)
    return [
      row['value']
      for row in rows
      if (row['metric'], row.get('k')) == ('ndcg', 10) and 'variant' not in row
    ]

  def their_ndcg(self) -> list[float]:
    """The same by an evaluator per truncation."""
    from sentence_transformers.sentence_transformer import evaluation

    relevant = {
      query: {row for row, grade in rows.items() if grade > 0}
      for query, rows in self.set.qrels.items()
    }
    sides = [
      dict(zip(texts.ids.tolist(), texts))
      for texts in (self.set.queries, self.set.corpus)
    ]
    found = []
    for dim in DIMS:
      evaluator = evaluation.InformationRetrievalEvaluator(
        *sides, relevant, truncate_dim=dim, batch_size=BATCH, write_csv=False
      )
      found.append(evaluator(self.theirs)['cosine_ndcg@10'])
    return found

  def check(self) -> None:
    """Raises AssertionError unless both say the same at every dim."""
    ours, theirs = self.our_ndcg(), self.their_ndcg()
    for m, a, b in zip(DIMS, ours, theirs, strict=True):
      print(f'nDCG@10 at {m}: {a:.6f} and {b:.6f}')
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def table(found: dict) -> str:
  """Our seconds over theirs, with quartiles."""
  lines = []
  for name, race in found.items():
    if name != 'conditions':
      middle, low, high = race['mrl_jax']['ratio']
      theirs, ours = (
        race[side]['seconds'] for side in ('sentence-transformers', 'mrl_jax')
      )
      ratio = f'{middle:.2f} ({low:.2f} to {high:.2f})'
      lines.append([name, f'{theirs:.2f}', f'{ours:.2f}', ratio])
  columns = ['', 'sentence-transformers, s', 'mrl_jax, s', 'ratio']
  return measure.table(columns, lines)


if __name__ == '__main__':
  main()
