"""Files of results, written and read."""

from mrl_jax.report import results
from tests.samples.report import DIMS, few_rows


def test_results_round_trip_and_curves(tmp_path):
  results.write(tmp_path, few_rows(), {'probe': {'a': 1}})
  assert results.read(tmp_path) == few_rows()
  assert results.details(tmp_path) == {'probe': {'a': 1}}
  lines = (tmp_path / 'curves.csv').read_text().splitlines()
  assert lines[0].split(',')[:3] == ['dim', 'linear/top1', 'linear/top1/ci_low']
  assert lines[1].split(',')[:2] == ['8', repr(few_rows()[0]['value'])]
  assert len(lines) == 1 + len(DIMS)
  results.write(tmp_path, few_rows())  # a second time, without a probe
  assert results.details(tmp_path) == {}
