"""Files, functions and signatures stay small enough to be read at a sitting."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = sorted(
  path
  for folder in ('mrl_jax', 'configs', 'benchmarks', 'tests', 'docs')
  for path in (ROOT / folder).rglob('*.py')
)
PACKAGE = [path for path in FILES if path.is_relative_to(ROOT / 'mrl_jax')]

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 50
MOST_ARGUMENTS = 7

# Longer functions of the package by `file:name`, each with its reason.
LONG_FUNCTIONS = {
  'mrl_jax/encoders/vit.py:ViT.__init__': 'one argument and layer a line',
  'mrl_jax/losses/pairs/tiled.py:gradients': 'one sum that all gradients share',
}

# More arguments, each of which is a key of the config.
CONFIGURED = {
  'mrl_jax/data/pair_files.py:load',
  'mrl_jax/encoders/bert.py:Bert.__init__',
  'mrl_jax/encoders/modernbert.py:ModernBert.__init__',
  'mrl_jax/encoders/qwen3.py:Qwen3.__init__',
  'mrl_jax/encoders/vit.py:ViT.__init__',
  'mrl_jax/evaluators/stores/__init__.py:Stores.__init__',
  'mrl_jax/inputs/image.py:Image.__init__',
  'mrl_jax/tasks/classify.py:Classify.__init__',
}


def functions(path):
  """(qualified name, node) of every function of a file, nested ones too."""

  def walk(node, before):
    for child in ast.iter_child_nodes(node):
      if isinstance(child, ast.FunctionDef | ast.ClassDef):
        name = f'{before}{child.name}'
        if isinstance(child, ast.FunctionDef):
          yield name, child
        yield from walk(child, f'{name}.')
      else:
        yield from walk(child, before)

  return walk(ast.parse(path.read_text()), '')


def arguments(node):
  """The names that a caller may give, without self and cls."""
  given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
  return [a.arg for a in given if a.arg not in ('self', 'cls')]


def where(path):
  return str(path.relative_to(ROOT))


def public(name):
  """Whether no word of a qualified name is private."""
  words = name.removesuffix('.__init__').split('.')
  return not any(word.startswith('_') for word in words)


def test_files_are_short():
  sizes = {where(path): len(path.read_text().splitlines()) for path in FILES}
  assert len(sizes) > 100
  assert {k: n for k, n in sizes.items() if n > MOST_LINES} == {}


def test_functions_are_short():
  sizes = {
    f'{where(path)}:{name}': node.end_lineno - node.lineno + 1
    for path in PACKAGE
    for name, node in functions(path)
  }
  long = {k: n for k, n in sizes.items() if n > MOST_LINES_OF_A_FUNCTION}
  assert long.keys() == LONG_FUNCTIONS.keys(), long


def test_signatures_are_short():
  counts = {
    f'{where(path)}:{name}': len(arguments(node))
    for path in PACKAGE
    for name, node in functions(path)
    if public(name)
  }
  many = {k: n for k, n in counts.items() if n > MOST_ARGUMENTS}
  assert many.keys() == CONFIGURED, many
