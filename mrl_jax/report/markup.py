"""Blocks as HTML that stands alone: light and dark, phone and desk."""

import html
import itertools
import re

from mrl_jax.report import blocks, charts

DARK = (
  '#56b4e9 #ff8a50 #2fc79a #e58bc4 #f0b840 #9ad4f5 #a0a0a0 #e6e6e6 '
  '#c9996b'.split()
)
# What matplotlib calls its markers.
GLYPHS = dict(zip(charts.MARKERS, '●■◆▲▼✚✖★⬟'))
STYLE = """
:root{color-scheme:light dark;--ink:#1c1917;--soft:#57534e;--line:#dcd8d4;
--ground:#fff;--panel:#f5f5f4;--good:#00694d;--bad:#b04400;%s}
@media(prefers-color-scheme:dark){:root{--ink:#ece9e6;--soft:#b0aaa4;
--line:#45413d;--ground:#191716;--panel:#262322;--good:#2fc79a;
--bad:#ff8a50;%s}}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;
padding:1rem;color:var(--ink);background:var(--ground)}
h1{font-size:1.5rem;margin:.5rem 0 0}h2{font-size:1.2rem;margin:0 0 .5rem}
section{border-top:1px solid var(--line);padding-top:1rem;margin-top:1.5rem}
nav{position:sticky;top:0;background:var(--ground);padding:.4rem 0;
display:flex;gap:.2rem 1rem;flex-wrap:wrap;font-size:.9rem}
@media(max-width:40rem){nav{flex-wrap:nowrap;overflow-x:auto;
white-space:nowrap;scrollbar-width:none}}
a{color:var(--c0)}.soft{color:var(--soft);font-size:.9rem;margin:.3rem 0}
.strong{font-size:1.15rem;font-weight:600;border-left:.3rem solid var(--c0);
padding-left:.8rem;max-width:46rem}
.figures{display:grid;gap:1.5rem 2rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%%,24rem),1fr))}
figure{margin:0;max-width:36rem}svg{width:100%%;height:auto;display:block}
figcaption{font-weight:600}.keys{display:flex;flex-wrap:wrap;gap:0 1rem;
font-size:.85rem}.key i{display:inline-block;width:1.4em;vertical-align:middle;
margin-right:.3em;border-top:.2em solid}.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;
font-size:.9rem}th,td{padding:.25rem .7rem;text-align:right;white-space:nowrap;
border-bottom:1px solid var(--line)}td:first-child,th:first-child{
text-align:left;padding-left:0}pre{background:var(--panel);padding:1rem;
overflow-x:auto;font-size:.85rem}summary{cursor:pointer;padding:.2rem 0}
h3{font-size:1rem;margin:0}.figures>*{min-width:0}
.strip{display:flex;gap:.5rem;overflow-x:auto;padding:.3rem 0}
.thumb{margin:0;flex:none;width:4.6rem;font-size:.75rem;text-align:center}
.thumb img{width:100%%;image-rendering:pixelated;display:block;
border:.2rem solid var(--line)}.right img{border-color:var(--good)}
.wrong img{border:.2rem dashed var(--bad)}.thumb figcaption{font-weight:400}
"""


def page(title: str, sub: str, sections: list[blocks.Section]) -> str:
  """A whole document; the first section stands above the navigation."""
  first, *rest = sections
  links = ''.join(
    f'<a href="#{_anchor(section.title)}">{_escape(section.title)}</a>'
    for section in rest
  )
  return '\n'.join(
    [
      '<!doctype html><html lang="en"><head><meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width,initial-scale=1">',
      f'<title>{_escape(title)}</title>',
      f'<style>{STYLE % (_colours(charts.COLOURS), _colours(DARK))}</style>',
      f'</head><body><h1>{_escape(title)}</h1>',
      f'<p class="soft">{_escape(sub)}</p>',
      _contents(first),
      f'<nav aria-label="sections">{links}</nav>',
      *(
        f'<section id="{_anchor(section.title)}">'
        f'<h2>{_escape(section.title)}</h2>{_contents(section)}</section>'
        for section in rest
      ),
      '</body></html>\n',
    ]
  )


def _colours(values) -> str:
  return ''.join(f'--c{slot}:{value};' for slot, value in enumerate(values))


def _escape(words: str) -> str:
  return html.escape(blocks.visible(words))


def _anchor(title: str) -> str:
  return re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')


def _contents(section: blocks.Section) -> str:
  """Blocks in order; pictures that follow each other share a grid."""
  out = []
  for kind, group in itertools.groupby(section.blocks, type):
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
  lines = ''.join(
    '<tr>' + ''.join(f'<td>{_escape(c)}</td>' for c in line) + '</tr>\n'
    for line in block.lines
  )
  note = f'<p class="soft">{_escape(block.note)}</p>' if block.note else ''
  cells = (
    f'<div class="wide"><table><tr>{head}</tr>\n{lines}</table></div>{note}'
  )
  if not block.fold:
    return cells
  title = _escape(block.fold)
  return f'<details><summary>{title}</summary>{cells}</details>'


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
