"""Small models of texts, untrained: as a run has them, as others write them."""

import json
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from mrl_jax import build, model, schema
from mrl_jax.contracts import Facts
from tests.samples import tokenizer

PROMPTS = {'text': '', 'query': 'the wind ', 'document': 'a plane: '}


def settings(file: Path, fields=tuple(PROMPTS), **options):
  """The config of a small BERT that embeds these fields."""
  inputs = {
    field: {
      'name': 'text',
      'tokenizer': str(file),
      'prompt': PROMPTS[field],
      'length': 40,
      'lengths': (8, 16, 24),
    }
    | options
    for field in fields
  }
  encoder = {'name': 'bert', 'width': 32, 'depth': 1, 'heads': 2, 'hidden': 32}
  return schema.complete(
    {
      'inputs': inputs,
      'encoder': encoder,
      'task': {'name': 'embed', 'field': 'text'},
      'dims': (4, 8, 32),
    }
  )


def made(config, devices=None) -> model.Model:
  """A model of a config with fresh variables, on all devices or on some."""
  known = Facts({field: {} for field in config.inputs})
  parts = build.model(config, known, devices)
  variables = parts.task.init(jax.random.key(0))
  return model.Model(config, known, parts, variables, 0)


def static_folder(folder: Path, width: int = 16) -> Path:
  """A token table and a tokenizer, as sentence-transformers keeps them."""
  folder.mkdir()
  file = tokenizer.letters(folder / 'tokenizer.json', length=12)
  rows = len(json.loads(file.read_text())['model']['vocab'])
  table = np.random.default_rng(0).normal(size=(rows, width))
  save_file(
    {'embedding.weight': table.astype(np.float32)},
    folder / 'model.safetensors',
  )
  module = 'sentence_transformers.models.StaticEmbedding'
  modules = [{'idx': 0, 'name': '0', 'path': '', 'type': module}]
  (folder / 'modules.json').write_text(json.dumps(modules))
  prompts = {'prompts': {'query': 'the ', 'passage': 'a wing: '}}
  path = folder / 'config_sentence_transformers.json'
  path.write_text(json.dumps(prompts))
  return folder


def sentences(count: int, seed: int = 0) -> list[str]:
  """Texts of 1 to 40 words, and so of many lengths."""
  rng = np.random.default_rng(seed)
  words = ' '.join(tokenizer.SENTENCES).split()
  sizes = rng.integers(1, 41, count)
  return [' '.join(rng.choice(words, size)) for size in sizes]
