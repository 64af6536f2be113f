"""Names, colours and lines of curves."""

from mrl_jax.report import curves
from tests.samples.report import all_rows, few_rows


def test_labels():
  names = {
    'linear/top1': 'linear head, top-1',
    'knn/weighted@20': 'weighted k-NN (k=20)',
    'retrieval/map@10': 'retrieval mAP@10',
    'search/recall@10.ar': 'search/recall@10.ar',
  }
  for name, label in names.items():
    assert curves.label(name) == label


def test_a_curve_has_one_colour_in_all_charts():
  alone = curves.main_lines([r for r in few_rows() if r['evaluator'] == 'knn'])
  among = curves.main_lines(all_rows())
  colours = {line.label: line.colour for line in among}
  assert all(line.colour == colours[line.label] for line in alone)
  here = set(curves.MAIN) - {curves.JUDGED}  # not beside classes
  assert len(set(colours.values())) == len(colours) == len(here)
