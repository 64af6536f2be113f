"""The names of nested variables in checkpoints, of today and of before.

On disk every key is text. In memory the entries of a list have whole numbers
as keys, so that they keep their order.

Format 1 (checkpoints without a format) had text keys in memory too. Lists
then came back in the order of their keys as text, 0, 1, 10, 11, 2, ...: the
third block of such a run computes with what is named '10'. Reading it in
that order gives the function that was trained.
"""

from collections.abc import Callable, Mapping

from mrl_jax.shapes import PyTree

FORMAT = 2


def to_text(tree: PyTree, format: int = FORMAT) -> PyTree:
  """The tree with the names it has in a checkpoint of `format`."""

  def rename(keys):
    names = [str(key) for key in keys]
    if format == 1 and _is_list(keys):
      names = sorted(names)
    return dict(zip(keys, names))

  return _renamed(tree, rename)


def from_text(tree: PyTree, format: int = FORMAT) -> PyTree:
  """The tree of a checkpoint with the keys it has in memory."""

  def rename(keys):
    if not keys or not all(str(key).isdecimal() for key in keys):
      return {key: key for key in keys}
    order = sorted(keys, key=str if format == 1 else int)
    return {key: index for index, key in enumerate(order)}

  return _renamed(tree, rename)


def target(placed: PyTree, format: int) -> PyTree:
  """What a checkpoint of `format` holds of a state of this shape."""
  tree = to_text(placed, format)
  if format == 1:
    tree.pop('average_stats', None)
  return tree


def restored(tree: PyTree, format: int) -> PyTree:
  """A state's tree from what a checkpoint of `format` held.

  Format 1 had no average of the statistics: the average of the parameters was
  evaluated with the statistics themselves.
  """
  tree = from_text(tree, format)
  if format == 1 and 'average' in tree:
    tree['average_stats'] = tree['stats'] if tree['average'] else {}
  return tree


def _is_list(keys) -> bool:
  return bool(keys) and all(isinstance(key, int) for key in keys)


def _renamed(tree: PyTree, rename: Callable) -> PyTree:
  """Dicts renamed at every depth; tuples, named ones too, are walked."""
  if isinstance(tree, Mapping):
    names = rename(sorted(tree))
    return {names[key]: _renamed(value, rename) for key, value in tree.items()}
  if isinstance(tree, tuple):
    parts = [_renamed(value, rename) for value in tree]
    return type(tree)(*parts) if hasattr(tree, '_fields') else tuple(parts)
  return tree
