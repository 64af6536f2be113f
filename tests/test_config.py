"""Bad input gets one clear line that names it, exit code 2, nothing lost."""

import json

import pytest
from ml_collections import ConfigDict

from mrl_jax import config, errors, schema, workdir
from mrl_jax.data.digits import MrlDigits
from tests.samples import processes

DIGITS = MrlDigits.facts()
SMOKE = 'configs/vit_mrl.py:digits,smoke'


def complete(*words, name=SMOKE):
  """The complete config of a file, words applied."""
  return schema.resolve(config.load(name)[0], words)


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    (['--config.optim.learning_rat=1'], 'did you mean optim.learning_rate'),
    (['--config.optin.learning_rate=1'], 'did you mean optim'),
    (['--config.zzz=1'], 'known: seed, dims|known: .*seed'),
    (['config.seed=3'], 'did you mean --config.seed=3'),
    (['lr', '3'], "'lr' is not understood"),
    (['--sede=3'], '--sede is unknown; known: --config, --workdir'),
    (['--config.seed'], 'write --config.seed=VALUE'),
    (['--config.seed=abc'], 'must be a int, like 0'),
    (['--config.seed=1.5'], 'must be a int'),
    (['--config.encoder.remat=3'], 'must be a bool'),
    (['--config.optim=3'], 'is a group; set one of its keys'),
    (['--config.seed.deep=3'], 'seed has no keys'),
    (['--config.dims=32,16'], r'dims=\(32, 16\) must increase'),
    (['--config.dims=16,16,32'], 'repeats a width'),
    (['--config.dims=16,64'], 'end at the width 32'),
    (['--config.weights=1,2'], r'weights=\(1, 2\) has 2 entries for 3 dims'),
    (
      ['--config.weights=9boost'],
      "'9boost' is not a preset; choose one of uniform",
    ),
    (['--config.train.batch_size=12'], 'does not divide by 8.* use 8 or 16'),
    (['--config.eval.batch_size=12'], 'eval.batch_size=12 does not divide'),
    (['--config.train.accumulate=0'], 'train.accumulate=0 must be at least 1'),
    (['--config.encoder.patch_size=3'], 'not a multiple of patch_size'),
    (['--config.encoder.heads=5'], 'heads=5 does not divide width=32'),
    (['--config.encoder.channels=3'], 'encoder.channels is unknown'),
    (['--config.encoder.image_size=9'], 'is now --config.inputs.image.size'),
    (['--config.encoder.size=XXL'], "size='XXL' is not one of tiny, Ti"),
    (['--config.encoder.dtype=float16'], "'float16' is not one of float32, bf"),
    (['--config.encoder.dtype=float64'], "'float64' is not one of float32, bf"),
    (['--config.encoder.dtype=bf16'], "dtype='bf16' is not one of float32"),
    (['--config.optim.warmup_steps=6'], "below the run's 6 steps"),
    (['--config.optim.schedule=step'], "'step' is not one of cosine"),
    (['--config.optim.name=adam'], "'adam' is not one of adamw, sgd"),
    (['--config.optim.average=1.0'], 'optim.average=1.0 must be in'),
    (['--config.encoder.name=vitt'], "'vitt' is not one of vit"),
    (['--config.task.head.name=mlr'], "'mlr' is not one of mrl, mrl_e, ff"),
    (['--config.head.name=mrl_e'], 'config.head is now --config.task.head'),
    (['--config.task.loss.form=rows'], "form='rows'"),
    (['--config.task.head.classes=5'], 'task.head.classes is unknown'),
    (['--config.task.head={"name": "mrl", "classes": 5}'], 'the program gives'),
    (['--config.encoder={"name": "vit", "rngs": 5}'], 'encoder.rngs is'),
    (
      ['--config.optim.options.b3=1'],
      'known: optim.options.b1, optim.options.b2',
    ),
    (['--config.inputs.text.name=image'], 'inputs.text is unknown'),
    (['--config.inputs={"picture": {}}'], 'digits has no such field'),
    (['--config.task.name=regress'], "'regress' is not one of classify"),
    (['--config.task.dims_per_step=1'], 'dims_per_step=1 must be 0'),
    (['--config.data.source.name=mnist'], "'mnist' is not one of glyphs, di"),
    (
      ['--config.inputs.image.crop=centre'],
      "inputs.image: crop='centre' is not one of",
    ),
    (['--config.inputs.image.mean=1,2'], r'mean=\(1, 2\) must be 1 numbers'),
    (['--config.data.mean=1,2'], 'is now --config.inputs.image.mean'),
    (['--config.mesh.data=3'], 'does not fit 8 devices'),
    (['--config.eval.dims=40'], '40 is not in 1 to 32'),
    (['--config.train.epochs=2'], 'set exactly one above 0'),
    (['--config.train.log_every=0'], 'train.log_every=0 must be at least 1'),
    (
      ['--config.checkpoint.best=mrr/d8'],
      'is not a result of every evaluation',
    ),
    pytest.param(
      ['--config.init_from=nowhere'],
      'has no whole checkpoint',
      marks=pytest.mark.slow,
    ),
    (['--config.init_from=gs://bucket/run'], 'mount the bucket'),
    (['--config.train.batch_size=1,000'], 'must be a int'),
    (['--config.inputs.image.size=True'], 'must be a int'),
    (['--config.inputs.image.scale=0.5'], r'scale=\(0.5,\) must be two'),
    (['--config.train={"stebs": 5}'], 'train.stebs is unknown; did you mean'),
    (['--config.data.dir=/proc/none'], 'data.source: .*/proc/none'),
    (['--config.eval.only=kn'], "eval.only='kn' is not one of"),
    (['--config.eval.often=kn'], "eval.often='kn' is not one of"),
    (['--config.checkpoint.best=linear/top1/d33'], 'did you mean linear/top1'),
    (['--config.optim.clip_norm=-1'], 'optim.clip_norm=-1.0 must be at least'),
    (['--distributed=here'], '--distributed=here must be'),
  ],
)
def test_what_is_wrong_is_one_line(run_cli, tmp_path, words, said):
  import re

  code, _, err = run_cli(
    'train', f'--config={SMOKE}', f'--workdir={tmp_path / "w"}', *words
  )
  assert code == 2, err
  lines = [line for line in err.splitlines() if line.startswith('error: ')]
  assert len(lines) == 1 and re.search(said, lines[0]), err
  assert 'Traceback' not in err
  assert not (tmp_path / 'w' / 'checkpoints' / '0').exists()


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('configs/vit_mlr.py', 'no such .py file; did you mean configs/vit_mrl.py'),
    ('setup.cfg', 'no such .py file'),
    ('configs/vit_mrl.py:cifar11', "'cifar11' is not a variant; choose from"),
    ('configs/vit_mrl.py:cifar10,B/16', 'goes with imagenet only'),
    ('configs/vit_mrl.py:cifar10,cifar100', 'one dataset'),
  ],
)
def test_wrong_configs(run_cli, flag, said):
  code, _, err = run_cli('train', f'--config={flag}')
  assert code == 2 and said in err and err.count('\n') == 1


def test_a_config_that_fails_is_named(run_cli, tmp_path):
  path = tmp_path / 'broken.py'
  path.write_text('def get_config(arg):\n  return 1 / 0\n')
  code, _, err = run_cli('train', f'--config={path}')
  assert code == 2 and 'ZeroDivisionError' in err
  path.write_text(
    'from ml_collections import ConfigDict\n'
    'get_config = lambda arg: ConfigDict({"seed": 0})\n'
  )
  code, _, err = run_cli('train', f'--config={path}', '--workdir=unused')
  assert code == 2 and 'dims=() is empty' in err


def test_unwritable_workdir(run_cli, tmp_path):
  (tmp_path / 'file').write_text('')
  code, _, err = run_cli(
    'train', f'--config={SMOKE}', f'--workdir={tmp_path / "file" / "w"}'
  )
  assert code == 2 and 'cannot be written' in err and err.count('\n') == 1


def test_a_workdir_of_another_config_is_refused(run_cli, tmp_path):
  workdir.claim(tmp_path, complete(), DIGITS, 6)
  step = tmp_path / 'checkpoints' / '3'
  step.mkdir(parents=True)
  (step / '_CHECKPOINT_METADATA').write_text('')
  before = (tmp_path / 'config.json').read_bytes()
  code, _, err = run_cli(
    'train',
    f'--config={SMOKE}',
    f'--workdir={tmp_path}',
    '--config.optim.learning_rate=0.5',
  )
  assert code == 2
  assert 'optim.learning_rate: saved 0.002, now 0.5' in err
  assert (tmp_path / 'config.json').read_bytes() == before


@pytest.mark.slow
def test_a_run_that_saved_nothing_may_be_corrected(run_cli, tmp_path):
  argv = ['train', f'--config={SMOKE}', f'--workdir={tmp_path}']
  code, _, err = run_cli(*argv, '--config.init_from=nowhere')
  assert code == 2 and 'has no whole checkpoint' in err
  workdir.claim(tmp_path, complete(), DIGITS, 6)
  assert workdir.read_config(tmp_path).init_from == ''


def test_keys_that_do_not_change_learning_may_differ():
  saved = complete()
  new = complete('--config.mesh.fsdp=2', '--config.eval.dims=20')
  assert config.differences(saved, new) == []
  new = complete('--config.seed=1')
  assert config.differences(saved, new) == ['seed: saved 0, now 1']


@pytest.mark.parametrize('entry', ['train', 'eval'])
def test_help_teaches_by_example(run_cli, entry):
  code, out, _ = run_cli(entry, '--help')
  assert code == 0
  assert out.count(f'python {entry}.py --') >= 3


def test_print_config(run_cli):
  code, out, _ = run_cli(
    'train', f'--config={SMOKE}', '--print_config', '--config.seed=7'
  )
  assert code == 0 and json.loads(out)['seed'] == 7


@pytest.mark.parametrize(
  ('argv', 'said'),
  [
    (['--workdir=nowhere'], 'nowhere is not a run: it has no config.json'),
    (['--workdir=train.py'], 'train.py is not a run'),
    ([], '--workdir'),
    (['--workdir=x', '--step=abc'], '--step'),
  ],
)
def test_eval_refuses(run_cli, argv, said):
  code, _, err = run_cli('eval', *argv)
  assert code == 2 and said in err


def test_a_group_of_a_config_is_closed(run_cli, tmp_path):
  path = tmp_path / 'own.py'
  path.write_text(
    'import sys\nsys.path.insert(0, "configs")\nimport vit_mrl\n'
    'def get_config(arg):\n  config = vit_mrl.get_config("smoke")\n'
    '  config.optim.unlock()\n  config.optim.clip_nrom = 1.0\n'
    '  return config\n'
  )
  code, _, err = run_cli('train', f'--config={path}', f'--workdir={tmp_path}/w')
  assert (
    code == 2 and 'optim.clip_nrom is unknown; did you mean clip_norm' in err
  )


def test_eval_without_a_checkpoint(run_cli, tmp_path):
  workdir.claim(tmp_path, complete(), DIGITS, 6)
  code, _, err = run_cli('eval', f'--workdir={tmp_path}')
  assert code == 2 and 'has no checkpoint yet' in err
  (tmp_path / 'config.json').write_text('{"se')
  code, _, err = run_cli('eval', f'--workdir={tmp_path}')
  assert code == 2 and 'cannot be read' in err


@pytest.mark.parametrize(
  ('text', 'key', 'expected'),
  [
    ('3e-4', 'optim.learning_rate', 3e-4),
    ('1', 'optim.learning_rate', 1.0),
    ('8,32', 'dims', (8, 32)),
    ('(8,32)', 'dims', (8, 32)),
    ('32', 'dims', (32,)),
    ('8boost', 'weights', '8boost'),
    ('1,2,1', 'weights', (1, 2, 1)),
    ('true', 'encoder.remat', True),
    ('4,8', 'inputs.image.size', (4, 8)),
    ('123', 'data.dir', '123'),
    ("{'b1': 0.8}", 'optim.options.b1', 0.8),
  ],
)
def test_overrides_keep_types(text, key, expected):
  group = key.removesuffix('.b1')
  value = config.flatten(complete(f'--config.{group}={text}'))[key]
  assert value == expected and type(value) is type(expected)


def test_saved_configs_come_back_equal(tmp_path):
  loaded, name = config.load('configs/vit_mrl.py:imagenet,B/16')
  assert name == 'vit_mrl-imagenet-B16'
  loaded = schema.complete(loaded)
  workdir.claim(tmp_path, loaded, DIGITS, 6)
  back = workdir.read_config(tmp_path)
  assert config.flatten(back) == config.flatten(loaded)
  assert isinstance(back, ConfigDict)


@pytest.mark.slow
def test_training_and_evaluation_never_import_tensorflow():
  code = (
    'import sys, train, eval\n'
    'from mrl_jax import build, loop\n'
    'assert not {"tensorflow", "torch"} & set(sys.modules)\n'
  )
  processes.python('-c', code)


def test_every_key_that_is_shown_can_be_set():
  """What --print_config prints is accepted back, key by key."""
  whole = complete()
  for key, value in config.flatten(whole).items():
    if not key.endswith('name') and not isinstance(value, dict):
      text = ','.join(map(str, value)) if isinstance(value, tuple) else value
      assert complete(f'--config.{key}={text}') == whole, key


@pytest.mark.parametrize(
  ('words', 'key', 'expected'),
  [
    (['--config.encoder.width=48'], 'encoder.width', 48),
    (['--config.optim.options.b2=0.95'], 'optim.options.b2', 0.95),
    (['--config.optim.name=sgd'], 'optim.options', {'momentum', 'nesterov'}),
    (['--config.task.head.name=ff'], 'task.head', {'name', 'dim'}),
    (
      ['--config.task.head.dim=8', '--config.task.head.name=ff'],
      'task.head.dim',
      8,
    ),
    (
      ['--config.data.source.name=folder'],
      'data.source.validation_fraction',
      0.1,
    ),
  ],
)
def test_defaults_of_every_group_are_those_of_what_it_builds(
  words, key, expected
):
  """Keys that no file names can be set; another name brings its own keys."""
  value = complete(*words)
  for part in key.split('.'):
    value = value[part]
  assert (set(value) if isinstance(expected, set) else value) == expected


def test_another_name_drops_the_keys_of_the_old_one():
  words = ['--config.task.head.name=mrl_e', '--config.task.head.per_prefix=1']
  with pytest.raises(errors.UsageError, match='per_prefix=1 must be a bool'):
    complete(*words)
  words[1] = '--config.task.head.per_prefix=true'
  assert complete(*words).task.head == ConfigDict(
    {'name': 'mrl_e', 'per_prefix': True}
  )
  words.append('--config.task.head.name=ff')
  with pytest.raises(errors.UsageError, match='per_prefix is unknown'):
    complete(*words)


def test_the_same_name_keeps_its_keys():
  words = ['--config.encoder.name=vit', '--config.encoder.width=32']
  assert complete(*words) == complete()


def test_the_essence_of_a_config_is_what_resuming_holds_on_to():
  words = [
    '--config.train.steps=99',
    '--config.eval.only=knn',
    '--config.mesh.fsdp=2',
    '--config.data.workers=1',
  ]
  plain = complete()
  assert schema.essence(complete(*words)) == (schema.essence(plain))
  for word in ('seed=3', 'encoder.dtype=bfloat16', 'inputs.image.mean=0.4'):
    other = complete(f'--config.{word}')
    (key,) = [
      key
      for key, value in schema.essence(other).items()
      if schema.essence(plain)[key] != value
    ]
    assert key == word.partition('=')[0]
