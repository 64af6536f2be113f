"""The Python door: what a run has learned, for inputs of one's own."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import mrl_jax
from mrl_jax import errors, evaluation, rows, workdir
from mrl_jax.data import digits
from tests.samples import runs

pytestmark = pytest.mark.slow  # the fixture trains


@pytest.fixture(scope='module')
def folder(tmp_path_factory, data_dir):
  """A trained run, with a moving average."""
  from mrl_jax import commands

  work = tmp_path_factory.mktemp('door') / 'run'
  average = '--config.optim.average=0.5'
  assert commands.run_train([runs.SMOKE, average, f'--workdir={work}']) == 0
  return work


@pytest.fixture(scope='module')
def model(folder):
  return mrl_jax.load(folder)


@pytest.fixture(scope='module')
def images():
  source = digits.load()
  records = (source.validation[i] for i in range(len(source.validation)))
  return np.stack([record['image'] for record in records])


def evaluated(folder):
  """Embeddings of the validation split by the evaluation."""
  run = runs.built(workdir.read_config(folder), folder)
  state, _ = evaluation.saved_state(run, None)
  return run.evidence(state.best).queries.embeddings


def test_embeddings_are_those_of_the_evaluation(folder, model, images):
  ours = model.embed(images, normalise=False, batch_size=100)
  assert ours.dtype == np.float32
  np.testing.assert_allclose(ours, evaluated(folder), rtol=0, atol=1e-6)


def test_a_prefix_is_cut_before_it_is_normalised(model, images):
  whole = model.embed(images[:9], normalise=False)
  for dim in (1, 8, 12, 32):
    cut = whole[:, :dim]
    unit = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(model.embed(images[:9], dim), unit, atol=1e-6)
    raw = model.embed(images[:9], dim, normalise=False)
    np.testing.assert_allclose(raw, cut, atol=1e-6)


@pytest.mark.parametrize('size', [1, 7, 8, 64, 1000])
def test_rows_do_not_depend_on_the_batch(model, images, size):
  some = images[:23]
  expected = model.embed(some, normalise=False)
  got = model.embed(some, normalise=False, batch_size=size)
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_nothing_is_an_empty_matrix(model):
  assert model.embed([]).shape == (0, 32)
  assert model.classify([], 8).probabilities.shape == (0, 10)


def test_one_compilation_serves_a_size_of_batch(model, images):
  model.embed(images[:60], batch_size=16)
  before = model._embed._cache_size()
  for count in (33, 47, 64):
    model.embed(images[:count], batch_size=16)
  assert model._embed._cache_size() == before


def test_every_kind_of_input_is_the_same_image(model, images, tmp_path):
  grey = images[3][..., 0]
  path = tmp_path / 'three.png'
  Image.fromarray(grey).save(path)
  expected = model.embed(images[3:4])
  for given in (
    grey,
    images[3],
    images[3:4],
    grey[None],
    np.stack([grey] * 3, -1),
    Image.fromarray(grey),
    Image.fromarray(grey).convert('RGB'),
    path,
    str(path),
    tmp_path,
    [path],
    [grey],
    [images[3]],
  ):
    np.testing.assert_allclose(model.embed(given), expected, atol=1e-6)
  assert model.embed([path, grey, Image.fromarray(grey)]).shape == (3, 32)


def test_a_folder_is_embedded_in_the_order_of_its_paths(
  model, images, tmp_path, capsys
):
  (tmp_path / 'b').mkdir()
  Image.fromarray(images[0][..., 0]).save(tmp_path / 'z.png')
  Image.fromarray(images[1][..., 0]).save(tmp_path / 'b' / 'é.png')
  (tmp_path / 'a.png').write_bytes(b'nothing')
  values = model.open(tmp_path)
  assert list(values.names) == [
    str(tmp_path / name) for name in ('b/é.png', 'z.png')
  ]
  np.testing.assert_allclose(
    model.embed(values), model.embed(images[[1, 0]]), atol=1e-6
  )
  assert 'a.png' in capsys.readouterr().out


def test_classes_are_those_of_the_logits(model, folder, images):
  run = runs.built(workdir.read_config(folder), folder)
  state, _ = evaluation.saved_state(run, None)
  logits = run.evidence(state.best).functions['logits']
  for dim in (8, 12, 32):
    got = model.classify(images, dim, batch_size=100)
    expected = np.asarray(logits(evaluated(folder), dims=(dim,)))[0]
    np.testing.assert_allclose(
      got.probabilities, jax.nn.softmax(expected), atol=1e-5
    )
    assert got.names == [str(label) for label in got.labels]
    np.testing.assert_array_equal(got.labels, expected.argmax(1))


def test_a_saved_model_is_the_same_without_the_run(
  model, images, tmp_path, monkeypatch
):
  saved = tmp_path / 'saved'
  model.save(saved)
  monkeypatch.chdir(tmp_path)
  again = mrl_jax.load('saved')
  assert (again.dims, again.step, again.classes) == (
    model.dims,
    model.step,
    model.classes,
  )
  for dim in (8, 32):
    np.testing.assert_array_equal(
      again.embed(images, dim), model.embed(images, dim)
    )
  again.save(tmp_path / 'twice')
  for name in ('model.safetensors', 'facts.json'):
    first, second = (tmp_path / f / name for f in ('saved', 'twice'))
    assert first.read_bytes() == second.read_bytes()


def test_the_data_is_not_needed(folder, monkeypatch):
  monkeypatch.setattr(digits, 'read', None)
  monkeypatch.setenv('TFDS_DATA_DIR', '/nowhere')
  assert mrl_jax.load(folder).dims == (8, 16, 32)


@pytest.mark.parametrize(
  'call, message',
  [
    (lambda m, x: m.embed(x, 0), r'dim=0 is not in 1 to 32; trained are 8, 16'),
    (lambda m, x: m.embed(x, 33), 'dim=33 is not in'),
    (lambda m, x: m.embed(x, 8.0), r'dim=8\.0 must be a whole number'),
    (lambda m, x: m.classify(x, -1), 'dim=-1 is not in'),
    (lambda m, x: m.embed(x, batch_size=0), 'batch_size=0'),
    (lambda m, x: m.embed(x / 255), r'float64 \[360, 8, 8, 1\] is not images'),
    (lambda m, x: m.embed('nowhere.png'), r'nowhere\.png is not there'),
    (lambda m, x: m.embed(x[..., [0, 0]]), 'have 2 channels'),
    (lambda m, x: m.save('.'), 'exists'),
  ],
)
def test_what_cannot_be_is_one_line(model, images, call, message):
  with pytest.raises(errors.UsageError, match=message) as caught:
    call(model, images)
  assert '\n' not in str(caught.value)


def test_a_file_that_is_not_an_image_is_named(model, tmp_path):
  path = tmp_path / 'x.png'
  path.write_bytes(b'%!PS')
  with pytest.raises(errors.UsageError, match=r'x\.png: not a file of JPEG'):
    model.embed(path)
  with pytest.raises(errors.UsageError, match='has no images'):
    model.embed(tmp_path)


def test_what_is_not_a_model_is_said(folder, model, tmp_path):
  with pytest.raises(errors.UsageError, match=r'no config\.json'):
    mrl_jax.load(tmp_path)
  with pytest.raises(errors.UsageError, match='has no step 4; it has 3, 6'):
    mrl_jax.load(folder, step=4)
  model.save(tmp_path / 'm')
  with pytest.raises(errors.UsageError, match='saved model of one step'):
    mrl_jax.load(tmp_path / 'm', step=6)
  file = tmp_path / 'm' / 'model.safetensors'
  file.write_bytes(file.read_bytes()[:-9])
  with pytest.raises(errors.UsageError, match='cannot be read'):
    mrl_jax.load(tmp_path / 'm')


def test_a_model_that_does_not_fit_its_config_is_refused(model, tmp_path):
  model.save(tmp_path / 'm')
  path = tmp_path / 'm' / 'config.json'
  config = json.loads(path.read_text())
  config['encoder']['depth'] += 1
  path.write_text(json.dumps(config))
  with pytest.raises(errors.UsageError, match='does not fit its config'):
    mrl_jax.load(tmp_path / 'm')


def test_the_command_writes_rows_and_names(run_cli, model, images, tmp_path):
  photos, saved = tmp_path / 'photos', tmp_path / 'm'
  photos.mkdir()
  for i in range(3):
    Image.fromarray(images[i][..., 0]).save(photos / f'é{i}\n.png')
  model.save(saved)
  output = tmp_path / 'out' / 'x.npy'
  words = f'--model={saved}', f'--inputs={photos}', f'--output={output}'
  code, out, err = run_cli('embed', *words, '--dim=16')
  assert code == 0, err
  assert '3 rows of 16' in out
  np.testing.assert_allclose(
    np.load(output), model.embed(images[:3], 16), atol=1e-6
  )
  lines = output.with_suffix('.txt').read_text().splitlines()
  assert lines == [f'{photos}/é{i}\\n.png' for i in range(3)]
  code, _, err = run_cli('embed', *words, '--dim=99')
  assert code == 2 and 'dim=99' in err
  code, _, err = run_cli('embed', *words[:2], '--output=x.csv')
  assert code == 2 and 'must end in .npy' in err
  code, _, err = run_cli('embed', *words, '--config.dims=8')
  assert code == 2


def test_vectors_of_any_model_are_evaluated(tmp_path):
  """Arrays and files give the same values, queries given or held out."""
  from sklearn.datasets import load_digits

  bundle = load_digits()
  x, y = bundle.data.astype(np.float32)[:600], bundle.target[:600]
  only = {'only': ('knn', 'retrieval')}
  report = mrl_jax.evaluate(
    x, y, output=tmp_path / 'a', dims=(16, 32, 64), **only
  )
  assert {row['evaluator'] for row in report.rows} == {'knn', 'retrieval'}
  assert {rows.flat_name(row): row['value'] for row in report.rows} == (
    report.values
  )
  assert report.decision == {}
  assert report.page.exists()
  assert report.values['knn/top1/d64'] > 0.9
  assert {name.rpartition('/')[2] for name in report.values} == {
    'd16',
    'd32',
    'd64',
  }
  np.save(tmp_path / 'x.npy', x)
  again = mrl_jax.evaluate(
    tmp_path / 'x.npy', y, output=tmp_path / 'b', dims=(16, 32, 64), **only
  )
  assert again.values == report.values
  split = mrl_jax.evaluate(
    x[100:], y[100:], x[:100], y[:100], tmp_path / 'c', dims=(64,), **only
  )
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  nearest = (unit[:100] @ unit[100:].T).argmax(1)
  expected = np.mean(y[100:][nearest] == y[:100])
  assert split.values['knn/top1/d64'] == pytest.approx(expected)
  with pytest.raises(errors.UsageError, match='labels for the 600 rows'):
    mrl_jax.evaluate(x, y[:-1], output=tmp_path / 'd')
