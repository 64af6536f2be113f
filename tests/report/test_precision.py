"""The chapter of bytes."""

from mrl_jax import rows
from tests.samples.report import precision_rows


def test_the_front_against_all_pairs():
  points = precision_rows()
  pairs = [(point['bytes'], point['value']) for point in points]
  best = [points[index] for index in rows.front(pairs)]
  for point in points:
    beaten = any(
      (q['bytes'] <= point['bytes'] and q['value'] > point['value'])
      or (q['bytes'] < point['bytes'] and q['value'] >= point['value'])
      for q in points
    )
    if point in best:
      assert not beaten
    else:
      twins = [(b['bytes'], b['value']) for b in best]
      assert beaten or (point['bytes'], point['value']) in twins
