"""The command that prepares a dataset: one line for what is wrong."""

import re

import pytest

from mrl_jax import prepare


def test_preparing_without_tensorflow_says_so(monkeypatch, capsys):
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: False)
  assert prepare.main(['cifar10']) == 2
  assert "pip install -e '.[prepare]'" in capsys.readouterr().err


@pytest.mark.parametrize(
  ('dataset', 'words'),
  [
    ('no_such_set', "'no_such_set' is not in the catalogue"),
    ('imagenet2012:0.0.1', "'imagenet2012:0.0.1': .*0.0.1.*"),
    ('imagenet2012', 'downloads/manual .* ILSVRC2012_img_train.tar'),
  ],
)
def test_sets_that_cannot_be_prepared(
  dataset, words, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(prepare, 'has_tensorflow', lambda: True)
  assert prepare.main([dataset, f'--data_dir={tmp_path}']) == 2
  said = capsys.readouterr().err.splitlines()[-1]
  assert re.match(f'error: .*{words}', said), said
