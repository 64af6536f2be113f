"""Folders as their owners have them are understood, or refused by name."""

import collections
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mrl_jax.data import class_folders, folder

RNG = np.random.default_rng(0)


def fill(root, classes=('cat', 'dog'), count=4, suffix='png'):
  for name in classes:
    (root / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
      pixels = RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(root / name / f'{i}.{suffix}')
  return root


def counts(data):
  return len(data.train), len(data.validation)


@pytest.mark.parametrize('train', ['train', 'Train', 'training', 'TRAINING'])
@pytest.mark.parametrize(
  'held', ['val', 'valid', 'Validation', 'dev', 'test', 'Testing']
)
def test_names_of_splits(tmp_path, train, held):
  fill(tmp_path / train)
  fill(tmp_path / held, count=3)
  data = folder.load(path=str(tmp_path))
  assert data.facts.classes == ('cat', 'dog') and counts(data) == (8, 6)
  assert folder.facts(path=str(tmp_path)) == data.facts


def test_validation_before_test_and_the_rest_is_said(tmp_path, capsys):
  fill(tmp_path / 'train')
  fill(tmp_path / 'test', count=1)
  fill(tmp_path / 'valid', count=3)
  fill(tmp_path / 'extra', count=1)
  assert counts(folder.load(path=str(tmp_path))) == (8, 6)
  assert 'not read, beside train: extra, test' in capsys.readouterr().out


def test_a_flat_test_folder_is_said_and_not_a_class(tmp_path, capsys):
  fill(tmp_path / 'train', count=10)
  fill(tmp_path, ('test',))
  data = folder.load(path=str(tmp_path))
  assert data.facts.classes == ('cat', 'dog') and counts(data) == (18, 2)
  assert 'not read, beside train: test' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('classes', 'said'),
  [
    (['train/cat', 'training/cat'], 'has train, training; leave one'),
    (['train/cat', 'val/cat', 'valid/cat'], 'has val, valid; set .*_path'),
    (['train', 'val'], 'train/ has no class sub-folders'),
    (['train/cat', 'train/dog', 'val'], 'val has no class sub-folders'),
    (['val/cat', 'val/dog'], 'no train/ beside it'),
    (['cat', 'dog', 'val/cat', 'val/dog'], 'no train/ beside it'),
    (['train/cat', 'train/dog', 'extra'], 'if train is a split, set'),
    (['photos/cat', 'photos/dog'], 'one folder, photos, .*cat, dog.*; set'),
    (['photos/train/cat', 'photos/val/cat'], 'photos has splits in it'),
    (['cat/train', 'cat/val', 'dog/train'], 'cat has splits in it'),
    (['train/photos/cat', 'train/photos/dog'], 'one folder, photos'),
    (['train/cat', 'val/Cat'], 'lacks: Cat'),
  ],
)
def test_what_could_be_read_wrongly_is_refused(tmp_path, classes, said):
  fill(tmp_path, classes)
  for read in (folder.load, folder.facts):
    with pytest.raises(ValueError, match=said):
      read(path=str(tmp_path))


def test_a_class_may_be_named_train(tmp_path, capsys):
  fill(tmp_path, ('boat', 'car', 'train'))
  data = folder.load(path=str(tmp_path))
  assert data.facts.classes == ('boat', 'car', 'train')
  (tmp_path / 'later').mkdir()
  fill(tmp_path / 'later', ('boat', 'car', 'train/2019', 'train/2020'))
  data = folder.load(path=str(tmp_path / 'later'))
  assert data.facts.classes == ('boat', 'car', 'train')
  assert data.train.labels.count(2) == 7
  assert 'is taken as a class' in capsys.readouterr().out


def test_a_validation_folder_inside_is_no_class(tmp_path):
  fill(tmp_path, ('cat', 'dog', 'val/cat', 'val/dog'))
  data = folder.load(path=str(tmp_path), validation_path=str(tmp_path / 'val'))
  assert data.facts.classes == ('cat', 'dog') and counts(data) == (8, 8)


def test_left_overs_are_no_classes(tmp_path, capsys):
  fill(tmp_path, ('cat', 'dog', '.ipynb_checkpoints', '__MACOSX/cat'))
  (tmp_path / 'cat' / '._0.png').write_bytes(b'\0\5\x16\7' + bytes(80))
  (tmp_path / 'cat' / 'notes.txt').write_text('a cat')
  (tmp_path / 'bird').mkdir()
  fill(tmp_path / 'dog', ('.',), suffix='webp')
  Image.new('L', (8, 8)).save(tmp_path / 'loose.png')
  data = folder.load(path=str(tmp_path))
  assert data.facts.classes == ('cat', 'dog') and sum(counts(data)) == 12
  out = capsys.readouterr().out
  for said in (
    '3 left out, left by another program',
    '1 left out, not an image',
    '1 left out, a folder without images',
    '1 left out, not in a class sub-folder',
  ):
    assert said in out


def test_all_files_of_a_class_are_broken(tmp_path):
  fill(tmp_path)
  for path in (tmp_path / 'dog').iterdir():
    path.write_bytes(b'')
  with pytest.raises(ValueError, match="no image of the class 'dog' can be"):
    folder.load(path=str(tmp_path))


def test_linked_folders_are_read(tmp_path):
  fill(tmp_path / 'elsewhere', ('a', 'b'))
  fill(tmp_path / 'photos', ('cat', 'dog'))
  (tmp_path / 'photos' / 'eel').symlink_to(tmp_path / 'elsewhere' / 'a')
  (tmp_path / 'photos' / 'cat' / 'more').symlink_to(tmp_path / 'elsewhere/b')
  files = class_folders.class_files(tmp_path / 'photos')
  assert {k: len(v) for k, v in files.items()} == {'cat': 8, 'dog': 4, 'eel': 4}


def test_composed_and_decomposed_names(tmp_path):
  composed, apart = (
    unicodedata.normalize(form, 'café') for form in ('NFC', 'NFD')
  )
  fill(tmp_path / 'train', (apart, 'tea'))
  fill(tmp_path / 'val', (composed, 'tea'), count=2)
  data = folder.load(path=str(tmp_path))
  assert data.facts.classes == (apart, 'tea')
  assert collections.Counter(data.validation.labels) == {0: 2, 1: 2}
  fill(tmp_path / 'train', (composed,))
  with pytest.raises(ValueError, match='one name in Unicode'):
    folder.load(path=str(tmp_path))


def test_names_that_are_not_utf8(tmp_path, capsys):
  fill(tmp_path)
  (tmp_path / 'cat' / os.fsdecode(b'\xe9.png')).write_bytes(b'')
  assert sum(counts(folder.load(path=str(tmp_path)))) == 8
  assert r'\udce9.png' in capsys.readouterr().out
  fill(tmp_path, (os.fsdecode(b'caf\xe9'),))
  with pytest.raises(ValueError, match=r'caf\\udce9 is not UTF-8; rename'):
    folder.load(path=str(tmp_path))


def test_one_file_on_both_sides_is_noted(tmp_path, capsys):
  fill(tmp_path / 'train')
  fill(tmp_path / 'val', count=2)
  folder.load(path=str(tmp_path))
  assert 'training images too' not in capsys.readouterr().out
  twin = tmp_path / 'val' / 'dog' / 'twin.png'
  twin.write_bytes((tmp_path / 'train' / 'cat' / '1.png').read_bytes())
  folder.load(path=str(tmp_path))
  assert '1 held-out images are training images too' in capsys.readouterr().out


def test_one_class_and_moving_pictures_are_said(tmp_path, capsys):
  fill(tmp_path, ('cat',))
  frames = [Image.new('L', (8, 8), level) for level in (0, 99)]
  frames[0].save(
    tmp_path / 'cat' / 'a.gif', save_all=True, append_images=frames[1:]
  )
  folder.load(path=str(tmp_path))
  out = capsys.readouterr().out
  assert 'one class only (cat)' in out
  assert '1 with several frames or pages' in out


def test_the_ground_of_transparent_pixels(tmp_path):
  for name in ('cat', 'dog'):
    (tmp_path / name).mkdir()
    for i in range(2):
      Image.new('RGBA', (4 + i, 4)).save(tmp_path / name / f'{i}.png')
  path = str(tmp_path)
  assert (folder.load(path=path).train[0]['image'] == 255).all()
  black = folder.load(path=path, ground='black')
  assert (black.train[0]['image'] == 0).all()
  with pytest.raises(ValueError, match="ground='pale' must be a colour"):
    folder.load(path=path, ground='pale')


def test_a_file_that_breaks_later_is_named(tmp_path):
  fill(tmp_path)
  data = folder.load(path=str(tmp_path), check_files=False)
  data.train.paths[0].write_bytes(b'')
  with pytest.raises(ValueError, match=r'png: empty'):
    data.train[0]


def test_ids_are_paths_below_the_folder_of_all(tmp_path):
  for name in ('ant/x.png', 'ant/deep/y\n.png', 'bee/x.png', 'bee/z.png'):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (8, 8), 30 * len(name)).save(path)
  split = folder.load(path=str(tmp_path), validation_fraction=0.5)
  both = [*split.train.ids, *split.validation.ids]
  assert sorted(both) == sorted(
    ['ant/x.png', 'ant/deep/y\\n.png', 'bee/x.png', 'bee/z.png']
  )
  for records in (split.train, split.validation):
    for path, name in zip(records.paths, records.ids):
      assert str(path).replace('\n', '\\n').endswith(name)
