"""Writes docs/api.md from the docstrings of the package.

  python docs/make_api.py           # writes it
  python docs/make_api.py --check   # exits with 1 if it is not up to date

Public are the functions and classes of a module without a leading underscore.
Nothing is imported: the sources are read.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'api.md'
HEAD = """# The package, name by name

Made from the docstrings by `python docs/make_api.py`; do not edit it here.
"""


def first_paragraph(node) -> str:
  text = (ast.get_docstring(node) or '').split('\n\n')[0]
  return ' '.join(text.split())


def signature(node) -> str:
  """`name(arguments)` without annotations."""
  if isinstance(node, ast.ClassDef):
    body = [n for n in node.body if isinstance(n, ast.FunctionDef)]
    made = next((n for n in body if n.name == '__init__'), None)
    if made is None:
      return node.name
    arguments = made.args
  else:
    arguments = node.args
  for argument in (
    *arguments.posonlyargs,
    *arguments.args,
    *arguments.kwonlyargs,
    *filter(None, (arguments.vararg, arguments.kwarg)),
  ):
    argument.annotation = None
  text = ast.unparse(arguments).removeprefix('self, ').removeprefix('self')
  return f'{node.name}({text})'


def entries(path: Path) -> Iterator[str]:
  """The lines of one module."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  kinds = ast.FunctionDef | ast.ClassDef
  public = [
    node
    for node in tree.body
    if isinstance(node, kinds) and not node.name.startswith('_')
  ]
  if not public and path.name == '__init__.py':
    return
  name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
  yield f'### {name.removesuffix(".__init__")}\n\n{first_paragraph(tree)}\n'
  for node in public:
    text = first_paragraph(node)
    yield f'- `{signature(node)}`' + (f': {text}' if text else '')
  yield ''


def page() -> str:
  lines = [HEAD]
  folder = None
  files = (ROOT / 'mrl_jax').rglob('*.py')
  for path in sorted(files, key=lambda p: (p.parts[:-1], p.name)):
    module = list(entries(path))
    if module and path.parent != folder:
      folder = path.parent
      lines.append(f'## {".".join(folder.relative_to(ROOT).parts)}\n')
    lines += module
  return '\n'.join(lines).rstrip() + '\n'


def main(argv: list[str]) -> int:
  if argv == ['--check']:
    same = PAGE.exists() and PAGE.read_text(encoding='utf-8') == page()
    if not same:
      print('docs/api.md is out of date; run python docs/make_api.py')
    return int(not same)
  PAGE.write_text(page(), encoding='utf-8')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
