"""docs/api.md says what the docstrings say, and every public name has one."""

import ast
from pathlib import Path

from docs import make_api

PACKAGE = Path(__file__).parent.parent / 'mrl_jax'


def test_the_page_is_up_to_date(capsys):
  assert make_api.main(['--check']) == 0, capsys.readouterr().out


def test_every_public_name_says_what_it_is():
  silent = []
  for path in sorted(PACKAGE.rglob('*.py')):
    tree = ast.parse(path.read_text())
    nodes = [(path.stem, tree)] if tree.body else []
    for node in tree.body:
      if isinstance(node, ast.FunctionDef | ast.ClassDef):
        nodes.append((node.name, node))
    for name, node in nodes:
      if (not name.startswith('_') or node is tree) and not ast.get_docstring(
        node
      ):
        silent.append(f'{path.relative_to(PACKAGE)}:{name}')
  assert silent == []
