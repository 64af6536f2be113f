"""Docstrings as pairs: what is taken from files; splits do not leak."""

import configparser
import re
import sys
import warnings
from pathlib import Path

import pytest

from mrl_jax.data import docstrings, source

REST = 'The rest has as many words as it needs to be kept here'
NEVER = 'raise SystemExit("this file was imported")\n'


def described(first, rest=REST, quotes='"""'):
  return f'{quotes}{first}\n\n  {rest}.\n  {quotes}\n'


def package(folder):
  """A folder of Python files, most of them odd."""
  (folder / 'below' / 'tests').mkdir(parents=True)
  (folder / 'not-a-name').mkdir()
  files = {
    '__init__.py': described('The package as a whole.', f'{REST} 0')
    + NEVER
    + 'import nowhere\nreveal_type(x)\n',
    'below/b.py': f"""
class Deep:
  {described('A class that is  deep.', f'{REST} 1')}
  def method(self):
    {described('Its method does much.', f'{REST} 2', "'''")}
    def inner():
      {described('Inner things are not seen.', f'{REST} 3')}
  async def later(self):
    {described('It does it later.', f'{REST} 4')}
  def _own(self):
    {described('Private things are not seen.', f'{REST} 5')}
  def short(self):
    {described('Too short.', f'{REST} 6')}
  def without(self):
    '''A line that stands alone and says enough'''
  def nearly(self):
    '''Its rest is nearly empty.

    As seen here.'''
""",
    'twins.py': f"""
def a_first():
  {described('A class THAT is deep', f'{REST} 7')}
def a_rest():
  {described('Only the rest is equal.', f'  {REST}  1')}
def chained():
  {described('Of a pair that is out.', f'{REST} 7')}
""",
    'below/tests/x.py': described('A test of the package.', f'{REST} 8'),
    'test_x.py': described('A test of another kind.', f'{REST} 9'),
    'x_test.py': described('A test of that kind.', f'{REST} 10'),
    'not-a-name/x.py': described('A folder of no module.', f'{REST} 11'),
    'broken.py': described('A file that is broken.', f'{REST} 12') + 'def (:',
    'zero.py': described('A file with a zero.', f'{REST} 13') + '\0',
    'two.py': described('It is in Python two.', f'{REST} 14') + 'print 1',
    'half.py': described('Half a letter \\ud800 is in.', f'{REST} 15'),
    'escape.py': described('An escape \\d is odd.', f'{REST} 16'),
    'mark.py': '\ufeff' + described('It begins with a mark.', f'{REST} 17'),
    'deep.py': described('So many brackets are deep.') + '(' * 9999,
    'huge.py': described('It is too large.', f'{REST} 18')
    + '#' * docstrings.LARGEST,
    'notes.txt': described('It is not a module.', f'{REST} 19'),
  }
  for name, text in files.items():
    (folder / name).write_text(text, encoding='utf-8')
  latin = described('Its letters are latin é.', f'{REST} 20')
  (folder / 'latin.py').write_bytes(latin.encode('latin-1'))
  return folder


def test_what_is_taken_from_a_package(tmp_path):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    pairs = docstrings.read({'made': package(tmp_path / 'made')})
  assert {pair.id: pair.query for pair in pairs} == {
    'made': 'The package as a whole.',
    'made.below.b.Deep': 'A class that is deep.',
    'made.below.b.Deep.later': 'It does it later.',
    'made.below.b.Deep.method': 'Its method does much.',
    'made.escape': 'An escape \\d is odd.',
    'made.mark': 'It begins with a mark.',
    'made.twins.chained': 'Of a pair that is out.',
  }
  assert [pair.id for pair in pairs] == sorted(pair.id for pair in pairs)
  assert pairs[0].positive == f'{REST} 0.'


def test_the_order_of_files_and_roots_makes_no_difference(
  tmp_path, monkeypatch
):
  roots = {'one': package(tmp_path / 'a'), 'two': package(tmp_path / 'b')}
  pairs = docstrings.read(roots)
  assert {pair.id.split('.')[0] for pair in pairs} == {'one'}
  walk = docstrings.os.walk

  def backwards(root):
    for folder, below, files in walk(root):
      yield folder, below, files[::-1]
      below.reverse()

  monkeypatch.setattr(docstrings.os, 'walk', backwards)
  assert docstrings.read(dict(reversed(roots.items()))) == pairs


def test_a_pair_keeps_its_split_when_others_come_and_go():
  pairs = [
    docstrings.Docstring(f'a.b{i}', f'q{i}', f'p{i}') for i in range(500)
  ]
  train, held = docstrings.split(pairs)
  assert sorted(train + held) == sorted(pairs) and 25 < len(held) < 80
  assert [pair.id for pair in held[:3]] == [
    'a.b18',
    'a.b24',
    'a.b28',
  ]  # on every machine
  less, still = docstrings.split(pairs[::-3])
  assert set(less) <= set(train) and set(still) <= set(held)


def test_so_many_are_held_out_at_most(monkeypatch):
  monkeypatch.setattr(docstrings, 'MOST', 7)
  pairs = [
    docstrings.Docstring(f'a.b{i}', f'q{i}', f'p{i}') for i in range(500)
  ]
  train, held = docstrings.split(pairs)
  assert (len(train), len(held)) == (493, 7)


def test_only_what_the_package_requires_is_read():
  known = configparser.ConfigParser()
  known.read(Path(__file__).parents[2] / 'setup.cfg', encoding='utf-8')
  required = known['options']['install_requires'].split()
  names = {re.split('[<>=]', word)[0] for word in required}
  assert set(docstrings.PACKAGES) <= names


def words(text):
  return ' '.join(text.lower().split())


@pytest.mark.slow
def test_this_environment_has_thousands_of_pairs_that_do_not_leak():
  data = docstrings.load()
  assert 5_000 < len(data.train) < 20_000
  assert 400 < len(data.validation) <= docstrings.MOST
  assert isinstance(data.train, source.Columns)
  for field, plain in (('query', words), ('positive', words), ('id', str)):
    sides = [
      [plain(record[field]) for record in records]
      for records in (data.train, data.validation)
    ]
    assert not set(sides[0]) & set(sides[1])
    assert len(set(sum(sides, []))) == len(sum(sides, []))
  assert data.train.ids[5] == data.train[5]['id']
  assert data.facts == docstrings.facts() and not data.facts.classes
  assert f'python {sys.version.split()[0]}, jax ' in data.facts.fingerprint
  known = [r for side in (data.train, data.validation) for r in side]
  (record,) = (r for r in known if r['id'] == 'json.encoder.JSONEncoder')
  assert record['query'].startswith('Extensible JSON')
