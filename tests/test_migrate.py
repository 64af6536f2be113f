"""Configs of older runs say the same in today's keys."""

import json
import tarfile

import pytest

from mrl_jax import migrate, schema
from mrl_jax.losses.softmax import api
from tests.test_old_runs import FOLDER, STEPS


def test_forms_are_those_that_there_are():
  assert set(migrate.FORMS.values()) <= set(api.FORMS)


@pytest.mark.parametrize('name', STEPS)
def test_old_configs_are_complete_in_todays_keys(name):
  with tarfile.open(FOLDER / f'{name}.tar.xz') as archive:
    old = json.load(archive.extractfile(f'{name}/config.json'))
  new = schema.complete(migrate.migrated(old))
  assert new.task.head.name == old['head']['name']
  assert new.inputs.image.size == old['encoder']['image_size']
  assert new.inputs.image.crop == old['data']['augment']['crop']
  assert tuple(new.inputs.image.std) == tuple(old['data']['std'])
  assert new.task.loss.label_smoothing == old['task']['label_smoothing']
  assert new.train.to_dict() == old['train']
  # Images of the encoder's size were not cropped; now one rule holds for all.
  assert new.inputs.image.eval_crop == 1
  assert 'channels' not in new.encoder
  # Today's configs are left alone.
  assert migrate.migrated(new.to_dict()) == new.to_dict()


def test_other_forms_are_renamed():
  old = {'data': {'mean': (0.5,)}, 'task': {'form': 'columns'}, 'eval': {}}
  new = migrate.migrated(old)
  assert new['task'] == {'loss': {'form': 'tiled'}}
  assert new['inputs'] == {'image': {'mean': (0.5,)}}
  assert migrate.moved('head.dim') == 'task.head.dim'
  assert migrate.moved('headline') == migrate.moved('seed') == ''


@pytest.mark.parametrize(
  ('source', 'size', 'share'),
  [('cifar10', 32, 1.0), ('cifar10', 24, 0.875), ('folder', 32, 0.875)],
)
def test_old_runs_crop_what_they_cropped(source, size, share):
  old = {
    'data': {'source': {'name': source}, 'eval_crop': 0.875},
    'encoder': {'image_size': size},
  }
  image = migrate.migrated(old)['inputs']['image']
  assert image == {'size': size, 'eval_crop': share}
