"""Encoders that others trained: read into our configs and variables.

`read` says what a folder holds, as groups of a config. `Imported.variables`
then reads its tensors, one at a time, to where they belong.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mrl_jax.pretrained import folders, hub, tables
from mrl_jax.shapes import PyTree
from mrl_jax.variables import Variables


@dataclasses.dataclass(frozen=True)
class Imported:
  """A model of others.

  Attributes:
    where: what was asked for.
    config: the groups `inputs`, `encoder`, `task` and `dims` of a config.
    tensors: of the encoder, by their names there.
  """

  where: str
  config: Mapping[str, Any]
  tensors: Mapping[str, Any]

  def variables(self, placed: Variables) -> Variables:
    """The part 'encoder' of a model's variables, laid out as `placed`.

    Raises:
      UsageError: in one line, for all tensors that do not fit.
    """
    target = placed.part('encoder')
    leaves, tree = jax.tree_util.tree_flatten_with_path(target.params)
    ours = {
      jax.tree_util.keystr(path, simple=True, separator='/'): leaf
      for path, leaf in leaves
    }
    family = self.config['encoder']['name']
    plan = tables.match_tensors(self.where, family, self.tensors, ours)
    filled = [_placed(*plan[name], leaf) for name, leaf in ours.items()]
    params = jax.tree.unflatten(tree, filled)
    return Variables({'encoder': params}, {'encoder': target.stats})


def read(where: str | Path) -> Imported:
  """The model in a folder, a .safetensors file, or at 'hf:OWNER/NAME'.

  A folder is as transformers, sentence-transformers or model2vec write it, or
  has one token table and a tokenizer.json. Only headers of the tensors are
  read.

  Raises:
    UsageError: in one line, for what cannot be read or is not supported.
  """
  name = str(where)
  place = hub.fetched(name) if hub.is_name(name) else Path(where).expanduser()
  config, tensors = folders.config_and_tensors(place)
  return Imported(name, config, tensors)


def is_foreign(where: str | Path) -> bool:
  """Whether `read` should try it: it is not a run of ours, nor saved by us."""
  path = Path(where).expanduser()
  if hub.is_name(str(where)) or path.is_file():
    return True
  if not path.is_dir() or (path / 'checkpoints').exists():
    return False
  try:
    config = json.loads((path / 'config.json').read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return any(path.glob('*.safetensors*')) or any(path.glob('modules.json'))
  if not isinstance(config, dict):
    return False
  return 'encoder' not in config or 'model_type' in config


def _placed(tensor, kind: tables.Conversion, leaf: PyTree) -> jax.Array:
  """A tensor as the parameter `leaf`, each device getting its share."""
  array = kind.convert(np.asarray(tensor.read(), leaf.dtype), leaf.shape)
  where = leaf.sharding
  return jax.make_array_from_callback(leaf.shape, where, lambda i: array[i])
