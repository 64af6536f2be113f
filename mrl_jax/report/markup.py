"""Blocks as HTML that stands alone: light and dark, phone and desk."""

import html
import itertools
import re
from collections.abc import Sequence

from mrl_jax.report import blocks, charts, style

LONG = 90  # letters of a cell; columns with longer ones break into lines
# What matplotlib calls its markers.
GLYPHS = dict(zip(charts.MARKERS, '●■◆▲▼✚✖★⬟'))


def page(
  title: str, sub: str, sections: list[blocks.Section], name: str = ''
) -> str:
  """A whole document; the first section stands above the navigation.

  `name` stands before the title in the tab of a browser.
  """
  first, *rest = sections
  links = ''.join(
    f'<a href="#{_anchor(section.title)}">'
    f'{_escape(section.link or section.title)}</a>'
    for section in rest
  )
  return '\n'.join(
    [
      '<!doctype html><html lang="en"><head><meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width,initial-scale=1">',
      f'<title>{_escape(f"{name}: {title}" if name else title)}</title>',
      f'<style>{style.sheet()}</style></head><body>',
      _first(f'<h1>{_escape(title)}</h1>', _escape(sub), first),
      f'<nav aria-label="sections">{links}</nav>',
      *(
        f'<section id="{_anchor(section.title)}">'
        f'<h2>{_escape(section.title)}</h2>{_contents(section.blocks)}'
        '</section>'
        for section in rest
      ),
      '</body></html>\n',
    ]
  )


def _first(heading: str, sub: str, section: blocks.Section) -> str:
  """The first screen: its pictures, if it has any, beside all else."""
  heading += f'<p class="soft">{sub}</p>'
  kinds = [isinstance(block, blocks.Picture) for block in section.blocks]
  if not any(kinds):
    return heading + _contents(section.blocks)
  start = kinds.index(True)
  end = len(kinds) - kinds[::-1].index(True)
  parts = {
    'head': heading + _contents(section.blocks[:start]),
    'curve': _contents(section.blocks[start:end]),
    'tail': _contents(section.blocks[end:]),
  }
  divs = [f'<div class="{kind}">{part}</div>' for kind, part in parts.items()]
  return '\n'.join(['<header class="two">', *divs, '</header>'])


def _escape(words: str) -> str:
  return html.escape(blocks.visible(words))


def _anchor(title: str) -> str:
  return re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')


def _contents(contents: Sequence) -> str:
  """Blocks in order; pictures that follow each other share a grid."""
  out = []
  for kind, group in itertools.groupby(contents, type):
    drawn = [DRAWN[kind](block) for block in group]
    if kind in (blocks.Picture, blocks.Card):
      drawn = ['<div class="figures">', *drawn, '</div>']
    out += drawn
  return '\n'.join(out)


def _text(block: blocks.Text) -> str:
  kind = 'strong' if block.strong else 'soft'
  return f'<p class="{kind}">{_escape(block.words)}</p>'


def _picture(block: blocks.Picture) -> str:
  keys = ''.join(map(_key, block.keys))
  note = f'<p class="soft">{_escape(block.note)}</p>' if block.note else ''
  return (
    f'<figure><figcaption>{_escape(block.title)}</figcaption>'
    f'<div class="keys">{keys}</div>{block.svg}'
    f'{note}</figure>'
  )


def _key(entry: blocks.Key) -> str:
  """The line and the marker of a curve, in its colour, and its label."""
  colour = f'var(--c{entry.colour % len(charts.COLOURS)})'
  line = {'-': 'solid', '--': 'dashed', ':': 'dotted'}.get(entry.style)
  mark = f'<i style="border-top:.2em {line} {colour}"></i>' if line else ''
  glyph = GLYPHS.get(entry.marker, '')
  return (
    f'<span class="key">{mark}<b style="color:{colour}">{glyph}</b> '
    f'{_escape(entry.label)}</span>'
  )


def _table(block: blocks.Table) -> str:
  head = ''.join(f'<th scope="col">{_escape(c)}</th>' for c in block.header)
  wraps = [max(map(len, column)) > LONG for column in zip(*block.lines)]
  lines = ''.join(
    ('<tr class="chosen">' if index == block.chosen else '<tr>')
    + ''.join(map(_cell, line, wraps))
    + '</tr>\n'
    for index, line in enumerate(block.lines)
  )
  note = f'<p class="soft">{_escape(block.note)}</p>' if block.note else ''
  cells = (
    f'<div class="wide"><table><tr>{head}</tr>\n{lines}</table></div>{note}'
  )
  if not block.fold:
    return cells
  title = _escape(block.fold)
  return f'<details><summary>{title}</summary>{cells}</details>'


def _cell(words: str, wraps: bool) -> str:
  """A cell; `wraps` breaks it into lines."""
  kind = ' class="long"' if wraps else ''
  return f'<td{kind}>{_escape(words)}</td>'


def _card(block: blocks.Card) -> str:
  rows = ''.join(
    f'<p class="soft">{_escape(words)}</p>'
    f'<div class="strip">{"".join(map(_thumb, images))}</div>'
    for words, images in block.rows
  )
  return f'<div><h3>{_escape(block.title)}</h3>{rows}</div>'


def _thumb(image: blocks.Image) -> str:
  kind = {True: ' right', False: ' wrong', None: ''}[image.right]
  words = _escape(image.words)
  return (
    f'<figure class="thumb{kind}"><img alt="{words}" '
    f'src="data:image/png;base64,{image.png}">'
    f'<figcaption>{words}</figcaption></figure>'
  )


def _code(block: blocks.Code) -> str:
  title, content = _escape(block.title), html.escape(block.text)
  return f'<details><summary>{title}</summary><pre>{content}</pre></details>'


DRAWN = {
  blocks.Text: _text,
  blocks.Table: _table,
  blocks.Card: _card,
  blocks.Picture: _picture,
  blocks.Code: _code,
}
