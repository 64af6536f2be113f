"""Charts against the values they are drawn from."""

import math
import re

from mrl_jax.report import charts


def ticks(svg):
  """Texts of an axis with their places, left to right."""
  found = re.findall(
    r'<text[^>]*?text-anchor: middle[^>]*?(?:x="([\d.]+)"|translate\(([\d.]+))'
    r'[^>]*>([^<]+)<',
    svg,
  )
  return [(float(a or b), word) for a, b, word in found]


def value(word):
  top, _, below = word.partition('/')
  return float(top) / float(below or 1)


def test_ticks_increase_and_do_not_touch():
  dims = [8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048]
  line = charts.Line('a', dims, range(len(dims)))
  for axes in (
    charts.Axes('x', 'y', dims=dims),
    charts.Axes('x', 'y', log_x=True),
    charts.Axes('x', 'y', shares=True),
  ):
    if axes.shares:
      line = charts.Line('a', [d / 2048 for d in dims], range(len(dims)))
    svg = charts.draw('t', axes, [line]).svg
    found = [
      (x, value(word)) for x, word in ticks(svg) if re.match('[0-9]', word)
    ]
    assert len(found) >= 3
    assert found == sorted(found)
    places = [x for x, _ in found]
    assert min(b - a for a, b in zip(places, places[1:])) > 18
  assert charts.thin(dims)[-1] == 2048 and charts.thin([7]) == [7]


def test_a_chart_places_its_points_by_their_values():
  """Markers of a line y = x on equal axes: equal steps, upward."""
  line = charts.Line('a', [8, 16, 32], [10, 20, 30], marker='o')
  svg = charts.draw('t', charts.Axes('x', 'y', dims=[8, 16, 32]), [line]).svg
  points = [
    (float(x), float(y))
    for x, y in re.findall(r'<use href="#\w+" x="([\d.]+)" y="([\d.]+)"', svg)
  ]
  assert any(
    math.isclose(b[0] - a[0], c[0] - b[0], abs_tol=0.1)
    and math.isclose(a[1] - b[1], b[1] - c[1], abs_tol=0.1)
    and c[0] > b[0] > a[0] and a[1] > b[1] > c[1]
    for a, b, c in zip(points, points[1:], points[2:])
  )  # fmt: skip


def test_charts_repeat_exactly_and_keep_text_as_text():
  lines = [charts.Line('<a>', [1, 2], [3, 4], [2, 3], [4, 5])]
  one, two = (charts.draw('t', charts.Axes('ax & b', 'y'), lines) for _ in 'ab')
  assert one == two
  assert 'ax &amp; b</text>' in one.svg and one.keys[0].label == '<a>'
  assert not re.search('abcd|fefe|font-family|<metadata', one.svg)


def test_few_short_names_stand_at_the_ends_apart():
  lines = [
    charts.Line(name, [1, 2], [50, 50 + i / 10])
    for i, name in enumerate(('one', 'two', 'three'))
  ]
  picture = charts.draw('t', charts.Axes('x', 'y'), lines)
  assert not picture.keys
  heights = sorted(
    float(re.search(rf'y="([\d.]+)"[^>]*>{n}<', picture.svg)[1])
    for n in ('one', 'two', 'three')
  )
  assert min(b - a for a, b in zip(heights, heights[1:])) > 9


def test_small_numbers_are_not_cut():
  line = charts.Line('a', [0.001, 0.002, 0.005], [1, 2, 3])
  drawn = charts.draw('t', charts.Axes('ms', '%', log_x=True), [line]).svg
  assert {'0.001', '0.002', '0.005'} <= set(re.findall(r'>([\d.]+)<', drawn))
  assert not re.search(r'="[^"]*\d\.\d{3}', drawn)
