"""A model in a folder of its own: its variables, its config, its files."""

import shutil
from pathlib import Path

import jax
from ml_collections import ConfigDict

from mrl_jax import facts, input_files, stored
from mrl_jax.config import to_json
from mrl_jax.contracts import Facts
from mrl_jax.errors import UsageError
from mrl_jax.variables import Variables

FILE = 'model.safetensors'


def write_model(
  folder: Path,
  config: ConfigDict,
  known: Facts,
  variables: Variables,
  step: int,
) -> None:
  """Writes a new folder, whole or not at all.

  Raises:
    UsageError: if something is there already, or it cannot be written.
  """
  from safetensors.numpy import save

  if folder.exists():
    raise UsageError(f'{folder} exists; name a new folder')
  partial = folder.with_name(f'.{folder.name}.partial')
  try:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    text = to_json(input_files.keep(partial, config))
    (partial / 'config.json').write_text(text, encoding='utf-8')
    facts.write(partial, known)
    arrays = jax.device_get(_flat(variables))
    metadata = {'step': str(step)}  # two keys would have no order
    (partial / FILE).write_bytes(save(arrays, metadata))
    partial.rename(folder)
  except OSError as error:
    raise UsageError(f'{folder} cannot be written: {error}') from error


def _flat(variables: Variables) -> dict:
  """{'params/encoder/...': array}, as checkpoints name them."""
  tree = stored.to_text(variables._asdict())
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def read_variables(path: Path, placed: Variables) -> tuple[Variables, int]:
  """(variables laid out as `placed`, their step) of a saved model."""
  from safetensors import SafetensorError, safe_open

  try:
    with safe_open(path, 'numpy') as file:
      step = int(file.metadata()['step'])
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
  except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  expected = _flat(placed)
  wrong = [
    f'{name}: {arrays[name].shape if name in arrays else "nothing"} where '
    f'{expected[name].shape if name in expected else "nothing"} is expected'
    for name in sorted(arrays.keys() | expected.keys())
    if name not in arrays
    or name not in expected
    or arrays[name].shape != expected[name].shape
  ]
  if wrong:
    raise UsageError(
      f'{path} does not fit its config, {len(wrong)} arrays differ: '
      + '; '.join(wrong[:5])
    )
  leaves, tree = jax.tree.flatten(stored.to_text(placed._asdict()))
  names = list(expected)
  filled = [
    jax.device_put(arrays[name], leaf.sharding)
    for name, leaf in zip(names, leaves)
  ]
  return Variables(**stored.from_text(jax.tree.unflatten(tree, filled))), step
