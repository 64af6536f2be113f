"""The Python door for texts, and the tokenizer that goes with a model."""

import json
import shutil

import jax
import numpy as np
import pytest

import mrl_jax
from mrl_jax import build, data, errors, input_files, schema, workdir
from mrl_jax.contracts import Facts
from mrl_jax.data.source import Split
from mrl_jax.embed import windows
from mrl_jax.inputs import texts
from tests.samples import text_models, tokenizer


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  return tokenizer.letters(tmp_path_factory.mktemp('t') / 'tokenizer.json')


@pytest.fixture(scope='module')
def model(file):
  return text_models.made(text_models.settings(file))


@pytest.fixture(scope='module')
def sentences():
  return text_models.sentences(70)


def uncut(model, some, field='text'):
  """Embeddings at the maximal length, one text at a time, by the encoder."""
  an_input = model.parts.spec.inputs[field]
  embed = jax.jit(model.parts.task.functions()['embed'])
  return np.concatenate(
    [
      embed(
        model.variables,
        {'text': jax.tree.map(lambda x: x[None], an_input.evaluate(one))},
      )
      for one in some
    ]
  )


@pytest.mark.slow
def test_sorted_cut_batches_are_texts_one_by_one(model, sentences, monkeypatch):
  expected = uncut(model, sentences)
  assert np.std(expected) > 0.01
  for size, count in ((8, 64), (8, 2), (256, 64)):
    monkeypatch.setattr(windows, 'BATCHES', count)
    ours = model.embed(sentences, normalise=False, batch_size=size)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
  unit = expected[:, :8] / np.linalg.norm(expected[:, :8], axis=1)[:, None]
  np.testing.assert_allclose(model.embed(sentences, 8), unit, atol=1e-5)


@pytest.mark.slow
def test_one_device_is_eight(model, file, sentences):
  alone = text_models.made(text_models.settings(file), jax.devices()[:1])
  assert alone.parts.mesh.size == 1 and model.parts.mesh.size == 8
  ours = alone.embed(sentences, batch_size=8)
  theirs = model.embed(sentences, batch_size=8)
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_fields_are_prompts_before_one_tower(model, sentences):
  assert model.fields == ('text', 'document', 'query')
  for field, prompt in text_models.PROMPTS.items():
    np.testing.assert_array_equal(
      model.embed(sentences[:8], field=field),
      model.embed([prompt + one for one in sentences[:8]]),
    )
  with pytest.raises(errors.UsageError, match="field='label' is not one of te"):
    model.embed(['a'], field='label')


def test_rows_go_where_they_are_asked_for(model, sentences, tmp_path):
  expected = model.embed(sentences, 8)
  mapped = np.lib.format.open_memmap(
    tmp_path / 'x.npy', 'w+', np.float32, (70, 8)
  )
  values = texts.Texts(sentences)
  assert model.embed(values, 8, out=mapped) is mapped
  np.testing.assert_array_equal(np.load(tmp_path / 'x.npy'), expected)
  with pytest.raises(errors.UsageError, match=r'out has the shape \(70, 8\)'):
    model.embed(sentences, 4, out=mapped)
  assert model.embed([]).shape == (0, 32)
  assert model.embed('a wing').shape == (1, 32)


def test_few_programs_are_compiled(model, sentences):
  model.embed(sentences, batch_size=8)
  before = model._embed._cache_size()
  for seed in range(3):
    model.embed(text_models.sentences(60, seed), batch_size=8)
  assert model._embed._cache_size() == before < 12


def test_bad_texts_are_named_before_anything_is_done(model, monkeypatch):
  monkeypatch.setattr(model, '_embed', None)
  for given, message in (
    (['a', ''], 'text 1 is empty'),
    (['a', None], 'text 1 is missing'),
    ('nowhere.txt', r'nowhere\.txt is not there'),
  ):
    with pytest.raises(errors.UsageError, match=message):
      model.embed(given)


def test_a_saved_model_brings_its_tokenizer(model, tmp_path, sentences):
  saved = tmp_path / 'saved'
  model.save(saved)
  names = {'config.json', 'facts.json', 'model.safetensors'}
  assert {p.name for p in saved.iterdir()} == names | {
    'document.tokenizer.json'  # all three fields share it
  }
  moved = saved.rename(tmp_path / 'moved')
  again = mrl_jax.load(moved)
  for field in model.fields:
    np.testing.assert_array_equal(
      again.embed(sentences[:8], field=field),
      model.embed(sentences[:8], field=field),
    )
  again.save(tmp_path / 'twice')
  for path in moved.iterdir():
    assert path.read_bytes() == (tmp_path / 'twice' / path.name).read_bytes()
  (moved / 'document.tokenizer.json').unlink()
  with pytest.raises(
    errors.UsageError, match=r'document\.tokenizer\.json is n'
  ):
    mrl_jax.load(moved)


def test_a_foreign_folder_is_loaded_saved_and_no_more_needed(tmp_path):
  folder = text_models.static_folder(tmp_path / 'theirs')
  model = mrl_jax.load(folder)
  assert model.fields == ('text', 'document', 'query') and model.width == 16
  some = ['the wing', 'pilots hear']
  tokens = model.parts.spec.inputs['text'].evaluate_all(some)
  kept = tokens['mask'] & (tokens['tokens'] > 3)  # not [CLS] and [SEP]
  table = model.variables.params['encoder']['tokens']['embedding']
  expected = np.stack(
    [
      np.asarray(table)[numbers[real]].mean(0)
      for numbers, real in zip(tokens['tokens'], kept)
    ]
  )
  np.testing.assert_allclose(
    model.embed(some, normalise=False), expected, atol=1e-6
  )
  before = {f: model.embed(some, 5, field=f) for f in model.fields}
  assert np.abs(before['text'] - before['query']).max() > 0.01
  model.save(tmp_path / 'ours')
  shutil.rmtree(folder)
  again = mrl_jax.load(tmp_path / 'ours')
  for field, rows in before.items():
    np.testing.assert_array_equal(again.embed(some, 5, field=field), rows)
  with pytest.raises(errors.UsageError, match='step=3: .* of one step'):
    mrl_jax.load(text_models.static_folder(tmp_path / 'b'), step=3)


def test_the_command_embeds_lines(run_cli, tmp_path):
  folder = text_models.static_folder(tmp_path / 'theirs')
  (tmp_path / 'a.txt').write_text('the wing\npilots hear\n')
  (tmp_path / 'b.jsonl').write_text('{"_id": "x\\n", "words": "a wing"}\n')
  output = tmp_path / 'x.npy'
  words = f'--model={folder}', f'--output={output}'
  model = mrl_jax.load(folder)
  for inputs, more, expected, names in (
    ('a.txt', ['--dim=4'], model.embed(['the wing', 'pilots hear'], 4), '1 2'),
    (
      'b.jsonl:words',
      ['--field=query'],
      model.embed(['a wing'], field='query'),
      'x\\n',
    ),
  ):
    code, _, err = run_cli(
      'embed', *words, f'--inputs={tmp_path / inputs}', *more
    )
    assert code == 0, err
    np.testing.assert_array_equal(np.load(output), expected)
    assert output.with_suffix('.txt').read_text().split() == names.split()
  for more, message in (
    (['--inputs=a wing'], 'a wing: texts are read from .txt, .jsonl'),
    ([f'--inputs={tmp_path / "a.txt"}', '--field=x'], "field='x' is not one"),
  ):
    code, _, err = run_cli('embed', *words, *more)
    assert code == 2 and message in err and err.count('\n') == 1


def test_a_run_is_its_tokenizers_content(file, tmp_path, monkeypatch):
  """Another path of the same file is the same run; another file is not."""
  folder, known = tmp_path / 'run', Facts({'text': {}})
  config = text_models.settings(file, ('text', 'query'))
  workdir.claim(folder, config, known, 10)
  kept = folder / 'query.tokenizer.json'
  assert kept.read_bytes() == file.read_bytes()
  saved = workdir.read_config(folder)
  assert {g.tokenizer for g in saved.inputs.values()} == {str(kept)}
  assert schema.essence(saved) == schema.essence(config)
  other = shutil.copy(file, tmp_path / 'other.json')
  monkeypatch.setattr(workdir, 'steps', lambda folder: [3])
  renamed = text_models.settings(other, ('text', 'query'))
  workdir.claim(folder, renamed, known, 10)
  tokenizer.bpe(tmp_path / 'other.json')
  assert schema.essence(renamed) != schema.essence(config)
  with pytest.raises(errors.UsageError, match='run of another config .*inputs'):
    workdir.claim(folder, renamed, known, 10)
  assert kept.read_bytes() == file.read_bytes()
  (tmp_path / 'other.json').unlink()
  with pytest.raises(errors.UsageError, match=r'inputs\.query: tokenizer='):
    input_files.by_content(renamed)


CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=''):
  return ConfigDict(dict(
    dims=(4, 8, 16),
    inputs=dict(text=dict(
      name='text', tokenizer=%r, length=40, lengths=(8, 16, 24))),
    encoder=dict(name='static', width=16),
    task=dict(name='classify'),
    data=dict(source=dict(name='said'), threads=1),
    train=dict(steps=6, batch_size=8, log_every=1, eval_every=6),
    optim=dict(learning_rate=0.02),
    eval=dict(batch_size=16, only=('linear',)),
    checkpoint=dict(every=6),
  ))
"""


def said(data_dir: str = '') -> Split:
  """Texts of many lengths; the class is whether the first word is 'the'."""
  del data_dir
  some = [s[:60] for s in text_models.sentences(20)]
  some += ['the wing', 'a wing'] * 20
  records = [{'text': s, 'label': int(s.split()[0] == 'the')} for s in some]
  return Split(records, records[::2], Facts({'text': {}}, ('no', 'yes')))


@pytest.mark.slow
def test_a_run_trains_on_cut_batches_and_keeps_its_tokenizer(
  run_cli, tmp_path, monkeypatch
):
  monkeypatch.setitem(data.SOURCES, 'said', said)
  file = tokenizer.letters(tmp_path / 'tokenizer.json')
  config, work = tmp_path / 'c.py', tmp_path / 'run'
  config.write_text(CONFIG % str(file))
  words = f'--config={config}', f'--workdir={work}'
  code, out, err = run_cli('train', *words)
  assert code == 0, err
  assert out.count('compiling the training step') > 1
  lines = (work / 'metrics.jsonl').read_text().splitlines()
  losses = [json.loads(line) for line in lines]
  assert [x['step'] for x in losses if 'train/loss' in x] == [*range(1, 7)]
  before = (work / 'eval' / '6' / 'results.jsonl').read_text()
  file.unlink()
  code, out, err = run_cli('eval', f'--workdir={work}')
  assert code == 0, err
  assert (work / 'eval' / '6' / 'results.jsonl').read_text() == before
  model = mrl_jax.load(work)
  some = text_models.sentences(20)
  run = build.run(workdir.read_config(work), work)
  vectors = run.evidence(model.variables).queries.embeddings
  records = run.feed.splits['validation']
  np.testing.assert_allclose(
    model.embed([r['text'] for r in records], normalise=False),
    vectors,
    atol=1e-6,
  )
  assert len(model.classify(some).labels) == 20
