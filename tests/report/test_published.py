"""Published curves beside ours."""

import re

from mrl_jax.report import published
from tests.samples.report import all_details, all_rows, few_rows, made


def test_published_curves_beside_imagenet_only(tmp_path):
  _, text = made(tmp_path / 'a', few_rows())
  assert 'beside the published' not in text
  assert 'ublished' not in text and 'ImageNet' not in text
  config = {'data': {'source': {'dataset': 'imagenet2012:5.1.0'}}}
  _, text = made(tmp_path / 'b', all_rows(), all_details(), config)
  assert 'linear head beside the published curves' in text
  assert 'cascade, published' in text
  figure = re.search(r'(?s)<figcaption>Kept of what.*?</figure>', text)[0]
  assert 'MRL, published' in figure and 'Dotted: ResNet-50' in figure


def test_published_values():
  """The ends of tables 1 and 2 as the paper's text and tables have them."""
  for name, beside, low, high in (
    ('MRL', 'linear/top1', 66.63, 76.80),
    ('FF', 'linear/top1', 65.29, 76.87),
    ('MRL', 'knn/top1', 62.19, 70.97),
    ('FF', 'knn/top1', 58.93, 71.19),
  ):
    _, values = published.points(beside, name)
    assert (values[0], values[-1]) == (low, high)
  for beside, curves in published.PUBLISHED.items():
    assert published.source(beside).startswith('arXiv:2205.13147, ')
    for name, text in curves.values.items():
      dims, values = published.points(beside, name)
      missing = int((beside, name) == ('linear/top1', 'SVD'))
      assert len(dims) == len(values) == len(text.split())
      assert len(dims) == len(curves.dims) - missing
      assert all(0 < value < 100 for value in values)
