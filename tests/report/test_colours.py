"""Colours for all eyes: words that can be read, lines that are told apart."""

import itertools
import re

import numpy as np
import pytest

from mrl_jax.report import charts, style
from tests.samples.report import all_details, all_rows, made

# What cones without green see of linear RGB (Machado et al., 2009, severity 1).
DEUTERANOPIA = np.array(
  [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
  ]
)
XYZ = np.array(
  [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
  ]
)
WHITE = np.array([0.95047, 1, 1.08883])  # D65
APART = 15  # of CIELAB; about 2 can just be told apart side by side
WORDS, SHAPES = 4.5, 3  # contrasts that WCAG 2 asks for


def linear(colour):
  """Linear RGB of `#rgb` or `#rrggbb`."""
  digits = colour[1:]
  digits = ''.join(2 * d for d in digits) if len(digits) == 3 else digits
  c = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
  return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
  x = XYZ @ rgb / WHITE
  f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
  return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, two):
  """The distance of two colours for eyes without green cones."""
  a, b = (
    lab(np.clip(DEUTERANOPIA @ linear(c), 0, 1)) for c in (one, two)
  )  # fmt: skip
  return np.linalg.norm(a - b)


def contrast(one, two):
  low, high = sorted(float(XYZ[1] @ linear(c)) for c in (one, two))
  return (high + 0.05) / (low + 0.05)


def variables():
  """{'light': {'--ink': '#1c1917', ...}, 'dark': ...} of the style sheet."""
  light, dark = re.findall(r':root\{([^}]*--ink[^}]*)\}', style.sheet())
  return {
    name: dict(re.findall(r'(--\w+):(#\w+)', text.replace('\n', '')))
    for name, text in (('light', light), ('dark', dark))
  }


def test_the_measures_by_hand():
  assert contrast('#000', '#ffffff') == pytest.approx(21)
  assert contrast('#777777', '#fff') == pytest.approx(4.48, abs=0.01)
  assert lab(linear('#fff')) == pytest.approx([100, 0, 0], abs=0.02)
  assert lab(linear('#ff0000')) == pytest.approx([53.24, 80.09, 67.2], abs=0.02)
  # A red and a green of one lightness, which these eyes take for another.
  assert apart('#b4602a', '#7d7a20') < 8
  assert np.linalg.norm(lab(linear('#b4602a')) - lab(linear('#7d7a20'))) > 40


@pytest.mark.parametrize('mode', ['light', 'dark'])
def test_words_can_be_read(mode):
  colours = variables()[mode]
  for ink in ('--ink', '--soft', '--good', '--bad'):
    for ground in ('--ground', '--panel'):
      assert contrast(colours[ink], colours[ground]) >= WORDS, (ink, ground)


@pytest.mark.parametrize('mode', ['light', 'dark'])
def test_any_two_colours_of_charts_are_told_apart(mode):
  colours = variables()[mode]
  slots = [colours[f'--c{slot}'] for slot in range(len(charts.COLOURS))]
  assert slots == list(charts.COLOURS if mode == 'light' else charts.DARK)
  for one, two in itertools.combinations(slots, 2):
    assert apart(one, two) >= APART, (one, two)
  for colour in slots:
    assert contrast(colour, colours['--ground']) >= SHAPES, colour


def test_words_wear_no_colour_of_a_chart(tmp_path):
  """Letters in the page's ink only: some colours are too pale for them."""
  _, text = made(tmp_path, all_rows(), all_details())
  letters = re.findall(r'<text[^>]*?style="([^"]*)"', text)
  assert len(letters) > 100
  for css in letters:
    assert re.findall(r'fill: ([^;"]*)', css) in ([], ['var(--ink)']), css
  rules = style.sheet().replace('\n', '')
  assert re.findall(r'[{;]color:var\((--c\d)\)', rules) == []


def test_no_two_lines_of_a_chart_look_alike(tmp_path, monkeypatch):
  """In one chart, lines differ in colour, else in marker or dashes."""
  drawn = []
  draw = charts.draw
  monkeypatch.setattr(
    charts, 'draw', lambda *given: drawn.append(given[:3]) or draw(*given)
  )
  config = {'data': {'source': {'dataset': 'imagenet2012:5.1.0'}}}
  made(tmp_path, all_rows(), all_details(), config)
  assert len(drawn) > 20
  for title, _, lines in drawn:
    looks = [
      (line.colour % len(charts.COLOURS), line.style, line.marker)
      for line in lines
    ]
    assert len(set(looks)) == len(looks), title
