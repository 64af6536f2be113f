"""How a page looks: light and dark, phone and desk, screen and paper."""

from mrl_jax.report import charts

_SHEET = """
:root{color-scheme:light dark;--ink:#1c1917;--soft:#57534e;--line:#dcd8d4;
--ground:#fff;--panel:#f5f5f4;--good:#00694d;--bad:#b04400;%(light)s}
@media screen and (prefers-color-scheme:dark){:root{--ink:#ece9e6;
--soft:#b0aaa4;--line:#45413d;--ground:#191716;--panel:#262322;--good:#2fc79a;
--bad:#ff8a50;%(dark)s}}
body{font:16px/1.45 system-ui,sans-serif;max-width:80rem;margin:0 auto;
padding:.6rem 1rem;color:var(--ink);background:var(--ground);
overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.2;margin:.2rem 0 .4rem}
h2{font-size:1.25rem;line-height:1.25;margin:0 0 .5rem}
h3{font-size:1rem;margin:0}
section{border-top:1px solid var(--line);padding-top:1rem;margin-top:1.5rem;
scroll-margin-top:2.5rem}
nav{position:sticky;top:0;z-index:1;background:var(--ground);padding:.4rem 0;
display:flex;gap:.2rem 1rem;flex-wrap:wrap;font-size:.9rem}
@media(max-width:40rem){nav{flex-wrap:nowrap;overflow-x:auto;
white-space:nowrap;scrollbar-width:none}}
a{color:var(--ink)}.soft{color:var(--soft);font-size:.9rem;margin:.3rem 0}
.strong{font-size:1.1rem;font-weight:600;border-left:.3rem solid var(--c0);
padding-left:.8rem;margin:.5rem 0;max-width:60rem}
.two{display:grid;gap:0 2.5rem;grid-template-columns:minmax(0,1fr)}
.two .strong{font-size:1.25rem;line-height:1.3}.two .figures{display:block}
@media(min-width:60rem){.two{grid-template:"head curve" auto
"tail tail" auto/minmax(0,35rem) minmax(0,1fr)}.head{grid-area:head}
.curve{grid-area:curve}.tail{grid-area:tail}}
.figures{display:grid;gap:1.5rem 2rem;margin:.8rem 0;
grid-template-columns:repeat(auto-fill,minmax(min(100%%,26rem),1fr))}
.figures>*{min-width:0}figure{margin:0;max-width:38rem}
svg{width:100%%;height:auto;display:block}
figcaption{font-weight:600}.keys{display:flex;flex-wrap:wrap;gap:0 1rem;
font-size:.85rem}.key i{display:inline-block;width:1.4em;vertical-align:middle;
margin-right:.3em;border-top:.2em solid}.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;
font-size:.9rem}th,td{padding:.25rem .7rem;text-align:right;white-space:nowrap;
border-bottom:1px solid var(--line)}th{vertical-align:bottom;line-height:1.2}
td:first-child,th:first-child{text-align:left;padding-left:.3rem}
.chosen{background:var(--panel);font-weight:600}
.chosen td{border-bottom-color:var(--ink);border-top:1px solid var(--ink)}
td.long{white-space:normal;min-width:13rem;text-align:left}
.two th,.two td{white-space:normal;padding:.25rem .4rem;font-size:.85rem}
@media(min-width:40rem){.two td{white-space:nowrap}}
.two td:first-child{white-space:normal;min-width:9rem}
@media(max-width:40rem){.two th,.two td{padding:.2rem .15rem;font-size:.78rem}}
pre{background:var(--panel);padding:1rem;
overflow-x:auto;font-size:.85rem}summary{cursor:pointer;padding:.2rem 0}
.strip{display:flex;gap:.5rem;overflow-x:auto;padding:.3rem 0}
.thumb{margin:0;flex:none;width:4.6rem;font-size:.75rem;text-align:center}
.thumb img{width:100%%;image-rendering:pixelated;display:block;
border:.2rem solid var(--line)}.right img{border-color:var(--good)}
.wrong img{border:.2rem dashed var(--bad)}.thumb figcaption{font-weight:400}
@media print{:root{color-scheme:light}body{max-width:none;padding:0;
font-size:10pt}nav{display:none}details::details-content{display:block;
content-visibility:visible}details>*{display:block}.wide,pre,.strip{
overflow:visible}pre{white-space:pre-wrap}.strip{flex-wrap:wrap}
table{font-size:7.5pt}th,td{white-space:normal;padding:.1rem .3rem;
overflow-wrap:anywhere}figure,tr,.strip{break-inside:avoid}h2,h3,summary{break-after:avoid}}
"""


def sheet() -> str:
  """The style sheet, with the colours of charts as its variables."""
  return _SHEET % {
    'light': _variables(charts.COLOURS),
    'dark': _variables(charts.DARK),
  }


def _variables(colours) -> str:
  return ''.join(f'--c{slot}:{value};' for slot, value in enumerate(colours))
