"""Blocks as Markdown: words, tables, and pictures that have a file."""

import re

from mrl_jax.report import blocks, tables


def page(title: str, sub: str, sections: list[blocks.Section]) -> str:
  """A document with the same words and tables as the page."""
  first, *rest = sections
  parts = [f'# {plain(title)}', plain(sub), *_contents(first)]
  for section in rest:
    contents = _contents(section)
    if contents:
      parts += [f'## {plain(section.title)}', *contents]
  return '\n\n'.join(part for part in parts if part) + '\n'


def _contents(section: blocks.Section) -> list[str]:
  out = []
  for block in section.blocks:
    if isinstance(block, blocks.Text):
      words = plain(block.words)
      out.append(f'**{words}**' if block.strong else words)
    elif isinstance(block, blocks.Table):
      lines = [[plain(cell) for cell in line] for line in block.lines]
      out += [f'### {plain(block.fold)}'] * bool(block.fold)
      out += [tables.grid(list(map(plain, block.header)), lines)]
      out += [plain(block.note)] * bool(block.note)
    elif isinstance(block, blocks.Picture) and block.file:
      out += [f'![{plain(block.alt or block.title)}]({block.file})']
    elif isinstance(block, blocks.Code):
      out += [f'### {plain(block.title)}', fenced(block.text)]
  return out


def plain(words: str) -> str:
  """Text that Markdown shows as it is."""
  words = blocks.visible(words).replace('&', '&amp;').replace('<', '&lt;')
  return re.sub(r'([\\*_`$\[\]])', r'\\\1', words)


def fenced(content: str) -> str:
  """Text as it is, within a fence longer than any in it."""
  longest = max(map(len, re.findall(r'`+', content)), default=0)
  fence = '`' * max(3, longest + 1)
  return f'{fence}json\n{content}\n{fence}'
