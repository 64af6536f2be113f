"""Class names belong to the run: mapped by name, or refused."""

import json

import numpy as np
import pytest
from PIL import Image

from mrl_jax import contracts, errors, facts
from mrl_jax.data import source
from tests.samples import runs


def records(labels, classes, fingerprint=''):
  images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
  known = contracts.Facts(
    {'image': {'channels': 1}}, tuple(classes), fingerprint
  )
  part = source.InMemory(images, np.asarray(labels))
  return source.Split(part, part, known)


def test_facts_come_back(tmp_path):
  known = contracts.Facts(
    {'image': {'channels': 3}}, ('café', 'a\nb', '\udcff', '$x$'), 'abc'
  )
  facts.write(tmp_path, known)
  assert facts.read(tmp_path) == known
  assert not list(tmp_path.glob('*.partial'))


def test_without_facts_there_are_none(tmp_path):
  assert facts.read(tmp_path) is None


@pytest.mark.parametrize('text', ['', '{', '[]', '{"fields": {}}'])
def test_damaged_facts_are_said(tmp_path, text):
  (tmp_path / facts.NAME).write_text(text)
  with pytest.raises(errors.UsageError, match=r'facts\.json is damaged'):
    facts.read(tmp_path)


def test_equal_classes_change_nothing():
  given = records([0, 1], 'ab')
  assert facts.matched(given, given.facts) is given


def test_another_order_is_mapped_by_name():
  learned = records([], 'abc').facts
  got = facts.matched(records([0, 1, 2, 2], ['c', 'a', 'b']), learned)
  assert got.facts.classes == ('a', 'b', 'c')
  for part in (got.train, got.validation):
    assert [record['label'] for record in part] == [2, 0, 1, 1]
    assert [int(record['image'].item()) for record in part] == [0, 1, 2, 3]


def test_fewer_classes_keep_their_numbers():
  learned = records([], 'abc').facts
  got = facts.matched(records([0, 1], ['b', 'c']), learned)
  assert [record['label'] for record in got.train] == [1, 2]


def test_a_renamed_class_is_refused():
  learned = records([], ['cat', 'dog']).facts
  with pytest.raises(errors.UsageError, match="'kitten'.*'cat'"):
    facts.matched(records([0], ['dog', 'kitten']), learned)


def test_other_records_are_said(capsys):
  learned = records([], 'ab', 'one').facts
  facts.matched(records([0], 'ab', 'two'), learned)
  assert 'fingerprint one, now two' in capsys.readouterr().out


def draw(root, names):
  for name in names:
    (root / name).mkdir(parents=True)
    for i in range(8):
      grey = np.full((8, 8), 20 * i + 100 * (name > 'm'), np.uint8)
      Image.fromarray(grey).save(root / name / f'{i}.png')


@pytest.mark.slow
def test_a_renamed_folder_is_refused_and_a_new_order_is_not(run_cli, tmp_path):
  """An added name that sorts first would shift every label by one."""
  photos, work = tmp_path / 'photos', tmp_path / 'work'
  draw(photos, ('cat', 'dog'))
  words = (
    '--config=configs/vit_folder.py:smoke',
    f'--config.data.source.path={photos}',
    f'--workdir={work}',
  )
  code, _, err = run_cli('train', *words)
  assert code == 0, err
  saved = json.loads((work / facts.NAME).read_text())
  assert saved['classes'] == ['cat', 'dog']
  before = runs.rows(work, runs.facts(work)[0])

  (photos / 'dog').rename(photos / 'a dog')
  for command in (('train', *words), ('eval', f'--workdir={work}')):
    code, _, err = run_cli(*command)
    assert code == 2
    assert "'a dog'" in err and "'dog'" in err and err.count('\n') == 1
  (photos / 'a dog').rename(photos / 'dog')
  code, _, err = run_cli('eval', f'--workdir={work}')
  assert code == 0, err
  after = runs.rows(work, runs.facts(work)[0])
  assert linear(before) == linear(after)


def linear(rows):
  return {
    row['dim']: row['value']
    for row in rows
    if (row['evaluator'], row['metric']) == ('linear', 'top1')
  }
