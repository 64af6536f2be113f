"""Text that we write is UTF-8 in every locale, and names are what they are."""

import ast
import html
import io
import json
import sys
from pathlib import Path

import pytest

from mrl_jax import cli, config, errors
from mrl_jax.evaluators.classes import superclasses
from mrl_jax.report import blocks, charts, markdown, markup, pictures, tables
from tests.samples import processes
from tests.samples.report import row

ROOT = Path(__file__).parent.parent
NAMES = [
  'é',
  '$a$ b$',
  'one\ntwo',
  'a|b',
  '<b>',
  '雪',
  '\\|',
  '*_`',
  'z\u2028',
  '&',
]
# Trains on digits whose classes have these names.
TRAIN = f"""
import sys
from mrl_jax.data import digits
digits.MrlDigits.CLASSES = {ascii(NAMES)}
from mrl_jax import commands
sys.path.insert(0, '')
sys.exit(commands.run_train())
"""
TEXT_MODES = ('r', 'w', 'a', 'x')


def without_encoding(path):
  """The lines on which a file opens text and does not say its encoding."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if not isinstance(node, ast.Call):
      continue
    called = node.func
    name = getattr(called, 'attr', getattr(called, 'id', ''))
    owner = getattr(getattr(called, 'value', None), 'id', '')
    owner = owner or getattr(getattr(called, 'value', None), 'attr', '')
    constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
    binary = any(isinstance(c, str) and 'b' in c for c in constants)
    if (
      name in ('open', 'read_text', 'write_text')
      and owner
      not in (
        'Image',
        'tarfile',
        'zipfile',
        'self',
        'input',
        'an_input',
        'model',
      )
      and not binary
      and not any(keyword.arg == 'encoding' for keyword in node.keywords)
    ):
      yield f'{path.relative_to(ROOT)}:{node.lineno}'


def test_all_code_says_the_encoding_of_text():
  folders = ('mrl_jax', 'benchmarks', 'configs', 'docs')
  files = [path for name in folders for path in (ROOT / name).rglob('*.py')]
  assert len(files) > 100
  wrong = [w for f in [*files, *ROOT.glob('*.py')] for w in without_encoding(f)]
  assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize('encoding', ['latin-1', 'ascii'])
def test_a_run_in_a_plain_locale_loses_nothing(tmp_path, monkeypatch, encoding):
  monkeypatch.setenv('LC_ALL', 'C')
  monkeypatch.setenv('PYTHONUTF8', '0')
  monkeypatch.setenv('PYTHONIOENCODING', encoding)
  only = 'linear,classes,examples,cascade'
  processes.python(
    '-c', TRAIN, '--config=configs/vit_mrl.py:digits,smoke',
    f'--workdir={tmp_path}/run', f'--config.eval.only={only}',
  )  # fmt: skip
  (folder,) = tmp_path.glob('run/eval/6')
  for path in folder.parent.parent.rglob('*.*'):
    if path.suffix in ('.json', '.jsonl', '.csv', '.html', '.md'):
      path.read_text(encoding='utf-8')
  page = (folder / 'report.html').read_text(encoding='utf-8')
  for name in NAMES:
    assert html.escape(blocks.visible(name)) in page
  assert '<b>' not in page.replace('<b style', '')
  words = json.loads((folder / 'classes.json').read_text(encoding='utf-8'))
  assert {entry['name'] for entry in words['classes']} == set(NAMES)


def test_a_workdir_that_the_locale_cannot_read_is_refused():
  name = 'é'.encode().decode('ascii', 'surrogateescape')
  with pytest.raises(errors.UsageError, match='PYTHONUTF8=1'):
    config.check_local('--workdir', name)


def test_a_name_stays_in_its_cell():
  lines = [[name, '1'] for name in NAMES]
  grid = tables.grid(['x', 'y'], [[markdown.plain(n), v] for n, v in lines])
  assert len(grid.splitlines()) == 2 + len(NAMES)
  assert tables.grid(['a\nb'], []).splitlines()[0] == '| a\\nb |'
  for line in grid.splitlines():
    bars = line.replace('\\\\', '').replace('\\|', '')
    assert bars.count('|') == 3, line
  assert '\\$a\\$ b\\$' in grid and 'one\\\\ntwo' in grid
  table = markup.page(
    't', 's', [blocks.Section('a', [blocks.Table('ab', lines)])]
  )
  assert '<td>&lt;b&gt;</td>' in table and '<td>one\\ntwo</td>' in table
  curves = [row('knn', 'top1', 8, 0.5, variant='a\nb\x1b[31m')]
  assert len(tables.text(curves).splitlines()) == 3
  assert '\x1b' not in tables.text(curves)


@pytest.mark.parametrize('name', ['$a$', '$\\frac$', 'a$b', '$', '<b>&', 'é\n'])
def test_charts_draw_names_as_they_are(tmp_path, name):
  lines = [charts.Line(n, [1, 2], [3, 4]) for n in (name, 'other')]
  svg = charts.draw(name, charts.Axes(name, 'y'), lines).svg
  assert f'>{html.escape(blocks.visible(name), quote=False)}</text>' in svg
  points = [row(name, 'top1', d, 0.5) for d in (8, 16)]
  pictures.accuracy_vs_dimension(tmp_path / 'x.svg', points)


def test_bytes_that_are_no_text_are_shown():
  name = b'caf\xe9'.decode('utf-8', 'surrogateescape')
  page = markup.page(name, name, [blocks.Section(name, [blocks.Text(name)])])
  assert 'caf\\udce9' in page
  page.encode('utf-8')


@pytest.mark.parametrize('mark', ['', '\ufeff'])
def test_superclasses_are_utf8_with_or_without_a_mark(tmp_path, mark):
  path = tmp_path / 'x.csv'
  path.write_text(mark + 'é,ü\r\n"b\nc",ü\r\n', encoding='utf-8', newline='')
  assert superclasses.read_superclasses(path) == {'é': 'ü', 'b\nc': 'ü'}
  path.write_bytes('é,ü'.encode('latin-1'))
  with pytest.raises(ValueError, match='is not UTF-8 text'):
    superclasses.read_superclasses(path)


def test_a_command_prints_any_name_in_any_encoding(monkeypatch):
  stream = io.TextIOWrapper(io.BytesIO(), encoding='latin-1')
  monkeypatch.setattr(sys, 'stdout', stream)
  cli.parse(['--config=x.py'], 'train')
  print('é 雪', flush=True)
  assert stream.buffer.getvalue().endswith(b'\n\xe9 \\u96ea\n')
