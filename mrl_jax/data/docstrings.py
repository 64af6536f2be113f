"""`docstrings`: what the documentation inside Python code says, as pairs.

A pair is the first line of a docstring and the rest of it: a short query and
the passage that answers it. They are those of Python's standard library and of
the packages that this one depends on, about ten thousand. Their files are read
as text and never imported. Nothing is downloaded, nothing is stored: the same
versions give the same pairs.
"""

import ast
import contextlib
import functools
import gc
import hashlib
import json
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from mrl_jax.contracts import Facts
from mrl_jax.data import source, tables

# Distributions that setup.cfg requires, and the folders of their modules. That
# of TFDS has a thousand files and little to say.
PACKAGES = {
  'jax': 'jax',
  'flax': 'flax',
  'optax': 'optax',
  'orbax-checkpoint': 'orbax/checkpoint',
  'grain': 'grain',
  'ml-collections': 'ml_collections',
  'absl-py': 'absl',
  'numpy': 'numpy',
  'pillow': 'PIL',
  'etils': 'etils',
  'scikit-learn': 'sklearn',
  'scipy': 'scipy',
  'pyarrow': 'pyarrow',
  'matplotlib': 'matplotlib',
}
# Folders of tests, of copies of other packages, of old parts of Python.
LEFT_OUT = set(
  'test tests testing extern externals third_party vendored _vendor _vendored '
  'distutils idlelib lib2to3'.split()
)
LARGEST = 2_000_000  # bytes of a file
LEAST = 3, 8  # words of a first line, of the rest
ONE_IN = 10  # pairs is held out
MOST = 1000  # pairs are held out
BYTES = 8  # of a fingerprint


class Docstring(NamedTuple):
  """A docstring in two.

  Attributes:
    id: the qualified name of what it describes, like 'json.JSONEncoder'.
    query: its first line.
    positive: the rest, indented as it stands.
  """

  id: str
  query: str
  positive: str


def load(data_dir: str = '') -> source.Split:
  """Pairs of first lines and the rest, of this Python and these packages.

  About a tenth is held out, by a hash of the qualified name. The fingerprint
  of the facts names the versions.
  """
  del data_dir
  return _loaded()


def facts(data_dir: str = '') -> Facts:
  """The facts of `load`, which are known once everything has been read."""
  return load(data_dir).facts


@functools.cache
def _loaded() -> source.Split:
  roots, versions = _installed()
  pairs = read(roots)
  hasher = hashlib.blake2b(json.dumps(pairs).encode(), digest_size=BYTES)
  names = (f'{name} {version}' for name, version in versions.items())
  fingerprint = f'{hasher.hexdigest()} of {", ".join(names)}'
  train, held = map(_records, split(pairs))
  fields: dict[str, dict] = {'query': {}, 'positive': {}}
  return source.Split(train, held, Facts(fields, fingerprint=fingerprint))


def _records(pairs: Sequence[Docstring]) -> source.Columns:
  import pyarrow

  columns = map(list, zip(*pairs))
  return source.Columns(pyarrow.table(dict(zip(Docstring._fields, columns))))


def _installed() -> tuple[dict[str, Path], dict[str, str]]:
  """(folder by name of the modules in it, version by name of distribution)."""
  roots = {'': Path(sysconfig.get_path('stdlib'))}
  versions = {'python': platform.python_version()}
  for name, folder in PACKAGES.items():
    top, *below = folder.split('/')
    try:
      versions[name] = metadata.version(name)
      spec = util.find_spec(top)  # which does not import it
    except (metadata.PackageNotFoundError, ValueError):
      continue
    for place in (spec and spec.submodule_search_locations) or ():
      if (root := Path(place, *below)).is_dir():
        roots[folder.replace('/', '.')] = root
  return roots, versions


def read(roots: Mapping[str, Path]) -> list[Docstring]:
  """The pairs of folders of Python files, each text once, in order of ids.

  Files that are not Python in UTF-8 are passed over, and so are private names.
  Of pairs that share a first line or a rest, the first stays. Case, white space
  and a last full stop make no difference.

  Args:
    roots: folder by the name of the package that it is, '' for none.
  """
  found: list[Docstring] = []
  with _reading():
    for name, root in roots.items():
      for path in _files(root):
        parts = [*filter(None, [name]), *path.relative_to(root).parts]
        found += _described(path, _module(parts))
  kept, seen = [], set()
  for pair in sorted(found, key=lambda pair: pair.id):
    keys = {pair.id, _plain(pair.query), _plain(pair.positive)}
    if not keys & seen:
      kept.append(pair)
      seen |= keys
  return kept


@contextlib.contextmanager
def _reading() -> Iterator[None]:
  """Trees of code have no cycles: to look for some would double the time."""
  collecting = gc.isenabled()
  gc.disable()
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of escapes in the strings of others
      yield
  finally:
    if collecting:
      gc.enable()


def split(
  pairs: Iterable[Docstring],
) -> tuple[list[Docstring], list[Docstring]]:
  """(train, validation), by a hash of the ids, each in the given order."""
  pairs = list(pairs)
  numbers = {pair.id: _number(pair.id) for pair in pairs}
  chosen = sorted(
    (number, name) for name, number in numbers.items() if not number % ONE_IN
  )
  held = {name for _, name in chosen[:MOST]}
  return (
    [pair for pair in pairs if pair.id not in held],
    [pair for pair in pairs if pair.id in held],
  )


def _number(text: str) -> int:
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _plain(text: str) -> str:
  """A text without what does not make it another one."""
  return ' '.join(text.split()).casefold().rstrip('.')


def _files(root: Path) -> Iterator[Path]:
  """The modules below a folder, without tests."""
  for folder, below, files in os.walk(root):
    below[:] = [n for n in below if n.isidentifier() and n not in LEFT_OUT]
    for name in files:
      stem, kind = os.path.splitext(name)
      tested = stem.startswith('test_') or stem.endswith('_test')
      if kind == '.py' and stem.isidentifier() and not tested:
        yield Path(folder, name)


def _module(parts: Sequence[str]) -> str:
  """The name of a module: ('json', '__init__.py') is 'json'."""
  names = [*parts[:-1], parts[-1].removesuffix('.py')]
  return '.'.join(names[:-1] if names[-1] == '__init__' else names)


def _described(path: Path, module: str) -> Iterator[Docstring]:
  """The docstrings of a file that have two parts."""
  try:
    if not path.is_file() or path.stat().st_size > LARGEST:
      return
    text = path.read_text(encoding='utf-8-sig')
    if '"""' not in text and "'''" not in text:
      return
    tree = ast.parse(text)
  except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
    return  # a null byte is a ValueError
  for name, node in _named(tree, module):
    query, _, positive = (ast.get_docstring(node) or '').partition('\n')
    pair = Docstring(name, ' '.join(query.split()), positive.strip())
    words = len(pair.query.split()), len(pair.positive.split())
    whole = not tables.LONE.search(pair.query + pair.positive)
    if whole and all(n >= least for n, least in zip(words, LEAST)):
      yield pair


def _named(tree: ast.Module, module: str) -> Iterator[tuple[str, ast.AST]]:
  """Qualified names of the module, its public classes and functions."""
  waiting: list[tuple[str, ast.AST]] = [(module, tree)]
  while waiting:
    name, node = waiting.pop()
    yield name, node
    if isinstance(node, ast.Module | ast.ClassDef):
      waiting += [
        (f'{name}.{child.name}', child)
        for child in node.body
        if isinstance(
          child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        and not child.name.startswith('_')
      ]
