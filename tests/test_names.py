"""A public name means one thing, and somebody outside its file uses it."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'mrl_jax'

# Names that several files have and that mean the same in each of them.
TWINS = {
  'the two losses have the same parts': (
    'Gradients Problem Rows Setting Targets gradients hits loss suits'
  ),
  'a source of data': 'facts load read',
  'a command': 'main',
  'config.json of a family of models': 'encoder_options',
  'a chart or a table of the report': (
    'against_dimension lines page text write'
  ),
  'the mesh, of a config or of sizes': 'make_mesh',
  'a mean in [0, 1]: its interval, its row': 'mean',
  'embeddings from files: their evidence, their evaluation': 'of_vectors',
}

# Names that mean different things in different files: rename, then delete here.
AMBIGUOUS = set(
  'Examples Image Text at choose mflops moved parse plain run tell '
  'translate'.split()
)

# Functions that nothing outside their file names: rows of the file's table.
ROWS = {'adafactor', 'solarise_add'}


def public_names(kinds=ast.FunctionDef | ast.ClassDef):
  """The files that define each public function or class."""
  places = defaultdict(list)
  for path in sorted(PACKAGE.rglob('*.py')):
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, kinds) and not node.name.startswith('_'):
        places[node.name].append(path)
  return places


def test_a_name_means_one_thing():
  several = {n for n, paths in public_names().items() if len(paths) > 1}
  twins = set(' '.join(TWINS.values()).split())
  assert several == twins | AMBIGUOUS


def test_functions_of_one_file_wear_an_underscore():
  """Uses are looked for as words, so a common word can hide one.

  Classes may stay public: functions return them.
  """
  readers = [
    path
    for pattern in ('*.py', 'README.md', 'docs/*.md', 'colabs/*.ipynb')
    for path in ROOT.glob(pattern)
    if path.name != 'api.md'
  ]
  for folder in ('mrl_jax', 'tests', 'benchmarks', 'configs', 'docs'):
    readers += (ROOT / folder).rglob('*.py')
  words = {path: set(re.findall(r'\w+', path.read_text())) for path in readers}
  here = Path(__file__)
  alone = {
    name
    for name, paths in public_names(ast.FunctionDef).items()
    for own in paths
    if not any(name in words[p] for p in readers if p not in (own, here))
  }
  assert alone == ROWS
