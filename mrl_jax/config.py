"""Configs: loaded, overridden, checked with advice, saved, compared.

A config is a ConfigDict of plain data from `configs/*.py`. What its values
may be is known where they are used; build.py turns their ValueErrors into a
UsageError here, which the command line prints as one line with exit code 2.
"""

import argparse
import ast
import contextlib
import difflib
import importlib.util
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mrl_jax.errors import UsageError

# Keys that may differ when a run resumes: they do not change what is learned.
FREE = (
  'mesh',
  'task.form',
  'eval',
  'checkpoint',
  'train.log_every',
  'train.eval_every',
  'data.dir',
  'data.threads',
  'data.workers',
)


@contextlib.contextmanager
def blame(part: str):
  """Turns a ValueError inside into a UsageError that names the config part."""
  try:
    yield
  except UsageError:
    raise
  except (ValueError, TypeError) as error:
    text = str(error)
    named = text if text.startswith(part) else f'{part}: {text}'
    raise UsageError(named) from error


def nearest(word: str, known: Iterable[str], before: str = '') -> str:
  """A question that names close words, else the list of what is known.

  `before` stands before each of them.
  """
  known = [str(k) for k in known]
  close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
  if close:
    return f'did you mean {" or ".join(before + k for k in close)}?'
  return f'known: {", ".join(before + k for k in known) or "nothing"}'


def look_up(table: Mapping, name: str, key: str):
  """table[name], or a UsageError that lists the table."""
  if name not in table:
    raise UsageError(f'{key}={name!r} is not one of {", ".join(table)}')
  return table[name]


def arguments(part: ConfigDict | Mapping, function: Callable, key: str) -> dict:
  """The keys of a config part besides `name`, as arguments of `function`.

  Raises:
    UsageError: for a key that `function` does not take.
  """
  given = {k: plain(v) for k, v in part.items() if k != 'name'}
  called = function.__init__ if inspect.isclass(function) else function
  known = [k for k in inspect.signature(called).parameters if k != 'self']
  for argument in given:
    if argument not in known:
      raise UsageError(
        f'{key}.{argument} is unknown; {nearest(argument, known)}'
      )
  return given


def defaults(function: Callable) -> dict:
  """The arguments of a function or class that have a default, with it."""
  parameters = inspect.signature(function).parameters.items()
  empty = inspect.Parameter.empty
  return {k: p.default for k, p in parameters if p.default is not empty}


def fill(part: ConfigDict, more: Mapping) -> None:
  """Gives a config part the keys of `more` that it lacks."""
  for key, value in more.items():
    if key not in part:
      part[key] = value


def plain(value):
  """ConfigDicts as dicts, and lists as tuples, all the way down."""
  if isinstance(value, ConfigDict):
    return {k: plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return tuple(plain(v) for v in value)
  return value


def load(flag: str) -> tuple[ConfigDict, str]:
  """(config, run name) of `FILE.py[:ARG]`.

  Raises:
    UsageError: for a missing file, one that fails, or an unknown variant.
  """
  file, _, argument = flag.partition(':')
  path = Path(file)
  if not path.is_file() or path.suffix != '.py':
    there = sorted(str(p) for p in path.parent.glob('*.py'))
    raise UsageError(
      f'--config={file}: no such .py file; {nearest(file, there)}'
    )
  spec = importlib.util.spec_from_file_location('mrl_jax_config', path)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    config = module.get_config(argument)
  except ValueError as error:
    raise UsageError(f'--config={flag}: {error}') from error
  except Exception as error:
    raise UsageError(
      f'--config={flag} fails: {type(error).__name__}: {error}'
    ) from error
  run = path.stem + (f'-{argument}' if argument else '')
  return config, run.replace('/', '').replace(',', '-')


def override(config: ConfigDict, words: Sequence[str]) -> None:
  """Applies `--config.a.b=value` words, each to a key that is there.

  Values are Python literals, or plain text for text keys; whole numbers serve
  as floats, `a,b` as a tuple, and a dict replaces a whole group.

  Raises:
    UsageError: for stray words, unknown keys and values of another type.
  """
  for word in words:
    if not word.startswith('--config.'):
      hint = f'; did you mean --{word}?' if word.startswith('config.') else ''
      raise UsageError(f'{word!r} is not understood{hint} (see --help)')
    dotted, equals, text = word.removeprefix('--config.').partition('=')
    if not equals:
      raise UsageError(f'{word} has no value; write {word}=VALUE')
    *parents, last = dotted.split('.')
    part, where = config, ''
    for key in parents:
      part = descend(part, key, where)
      where += f'{key}.'
    old = descend(part, last, where)
    value = convert(text, old, dotted)
    with part.ignore_type():  # checked by convert
      part[last] = value


def descend(part, key: str, where: str):
  if not isinstance(part, ConfigDict):
    raise UsageError(f'--config.{where}{key}: {where[:-1]} has no keys')
  if key not in part:
    raise UsageError(
      f'--config.{where}{key} is unknown; {nearest(key, part, where)}'
    )
  return part[key]


def convert(text: str, old, key: str):
  """`text` as a value of the type of `old`."""
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = {'true': True, 'false': False}.get(text.lower(), text)
  if isinstance(old, ConfigDict):
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
      return ConfigDict(value)
    raise UsageError(
      f'--config.{key} is a group; set one of its keys '
      f'({", ".join(old) or "none yet"}), or all at once as {{"key": value}}'
    )
  many = isinstance(old, (tuple, list))
  if many and not isinstance(value, (tuple, list, str)):
    value = (value,)
  if many and isinstance(value, str) and key != 'weights':  # or a preset
    value = tuple(text.split(',')) if text else ()
  if isinstance(old, str) and not isinstance(value, (str, tuple, list)):
    value = text
  kinds = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str, tuple, list),
    tuple: (tuple, list, str),
    list: (tuple, list, str),
  }
  allowed = kinds.get(type(old), (object,))
  # image_size and its like take one number or a pair.
  flexible = (
    key.endswith(('image_size', 'patch_size'))
    and isinstance(value, (int, tuple, list))
    and not isinstance(value, bool)
  )
  wrong = not isinstance(value, allowed) or (
    isinstance(value, bool) and type(old) is not bool
  )
  if wrong and not flexible:
    raise UsageError(
      f'--config.{key}={text} must be a {type(old).__name__}, like {old!r}'
    )
  if type(old) is float:
    return float(value)
  return tuple(value) if isinstance(value, list) else value


class OneLine(argparse.ArgumentParser):
  """A parser whose complaints are one line, as all of ours are."""

  def error(self, message: str):
    self.exit(2, f'error: {message} (see --help)\n')


def parse(argv: Sequence[str], entry: str) -> tuple[argparse.Namespace, list]:
  """(options, override words) of `train`, `eval` or `plan`, --help included.

  Exits with code 2 on a wrong option, 0 after --help.
  """
  examples = {
    'train': """examples:
  python train.py --config=configs/vit_mrl.py
  python train.py --config=configs/vit_mrl.py:fashion_mnist --workdir=runs/a
  python train.py --config=configs/vit_mrl.py --config.optim.learning_rate=3e-4
  python train.py --config=configs/vit_mrl.py:imagenet --config.mesh.fsdp=8
A run resumes from its workdir; a workdir of another config is refused.""",
    'eval': """examples:
  python eval.py --workdir=runs/vit_mrl
  python eval.py --workdir=runs/vit_mrl --step=1000
  python eval.py --workdir=runs/vit_mrl --config.eval.dims=12,24,48
  python eval.py --workdir=runs/vit_mrl --config.eval.only=knn,retrieval
  python eval.py --workdir=runs/vit_mrl --export=vectors
  python eval.py --embeddings=x.npy --labels=y.npy --output=report
  python eval.py --embeddings=x.parquet:vector --labels=x.parquet:class
  python eval.py --compare runs/mrl runs/mrl_e runs/ff8
A run knows its own config; its results go to WORKDIR/eval/STEP/.""",
    'plan': """examples:
  P='python -m mrl_jax.plan --config=configs/vit_mrl.py:imagenet,B/16'
  $P --topology=v5e:4x4
  $P --topology=v6e:16x16 --config.train.batch_size=4096 --no-largest-batch
  $P --topology=v5p:2x2x2 --config.mesh.fsdp=8 --config.mesh.data=1 --json
Needs no TPU, only its compiler: pip install -e '.[tpu]'. See docs/scaling.md.
""",
  }[entry]
  parser = OneLine(
    prog='python -m mrl_jax.plan' if entry == 'plan' else f'python {entry}.py',
    description={
      'train': 'Train an encoder whose every prefix is an embedding.',
      'eval': "Evaluate a run's checkpoint, or any embeddings, at every "
      'dimension.',
      'plan': 'What a training step costs on a TPU slice: memory, FLOPs, '
      'messages, compiled here.',
    }[entry],
    epilog=examples + '\n--config.KEY=VALUE sets any key of the config.',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  if entry in ('train', 'plan'):
    parser.add_argument('--config', required=True, metavar='FILE.py[:VARIANT]')
  if entry == 'plan':
    add_plan_options(parser)
  elif entry == 'train':
    parser.add_argument('--workdir', help='default: runs/<config name>')
    parser.add_argument(
      '--print_config', action='store_true', help='show the config and stop'
    )
  else:
    add_evaluation_options(parser)
  if entry != 'plan':
    parser.add_argument(
      '--distributed',
      default='',
      metavar='auto|HOST:PORT,COUNT,INDEX',
      help='join the other processes of a launch',
    )
  options, words = parser.parse_known_args(argv)
  for word in words:
    name = word.removeprefix('--').partition('=')[0]
    if word.startswith('--') and not name.startswith('config'):
      hint = nearest(name, vars(options), '--')
      parser.error(f'--{name} is unknown; {hint}')
  if entry == 'eval':
    check_evaluation(parser, options)
  return options, words


def add_evaluation_options(parser: argparse.ArgumentParser) -> None:
  files = '.npy, .npz:KEY, .parquet:COLUMN'
  parser.add_argument('--workdir', help="a training run's")
  parser.add_argument('--step', type=int, help='default: the newest')
  parser.add_argument(
    '--export', metavar='DIR', help="write the run's embeddings there instead"
  )
  parser.add_argument(
    '--dtype',
    choices=('float32', 'float16'),
    default='float32',
    help='of exported embeddings',
  )
  parser.add_argument(
    '--embeddings', metavar='FILE', help=f'the vectors searched: {files}'
  )
  parser.add_argument(
    '--labels', metavar='FILE', help=f'their classes: {files}, .txt, .csv'
  )
  parser.add_argument(
    '--queries',
    metavar='FILE',
    help='vectors that search; by default some rows are held out for it',
  )
  parser.add_argument(
    '--query_labels', metavar='FILE', help='the classes of --queries'
  )
  parser.add_argument(
    '--dims', help='prefixes, like 8,16,32; default: the width, halved to 8'
  )
  parser.add_argument(
    '--compare',
    nargs='+',
    metavar='RUN',
    help='workdirs of evaluated runs, side by side',
  )
  parser.add_argument(
    '--group_seeds',
    action='store_true',
    help='compare means of runs that differ in their seed only',
  )
  parser.add_argument(
    '--output',
    metavar='DIR',
    help='of --embeddings (default: runs/<file name>) and of --compare '
    '(default: runs/compare)',
  )


def check_evaluation(parser, options: argparse.Namespace) -> None:
  """Exits with code 2 unless the options say one thing to do."""
  for name, value in vars(options).items():
    if value == '' and name != 'distributed':
      parser.error(f'--{name} is empty; give a value or leave it out')
  sources = ('workdir', 'embeddings', 'compare')
  given = [name for name in sources if getattr(options, name)]
  if len(given) != 1:
    parser.error('give one of --workdir, --embeddings, --compare')
  needs = {
    'step': 'workdir',
    'export': 'workdir',
    'labels': 'embeddings',
    'queries': 'embeddings',
    'query_labels': 'queries',
    'dims': 'embeddings',
  }
  for name, needed in needs.items():
    if getattr(options, name) is not None and not getattr(options, needed):
      parser.error(f'--{name} goes with --{needed}')
  if options.queries and options.labels and not options.query_labels:
    parser.error('--queries with --labels needs --query_labels too')
  if options.output and options.workdir:
    parser.error('--output goes with --embeddings or --compare')


def add_plan_options(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--topology', required=True, metavar='CHIP:SIZES', help='like v5e:4x4'
  )
  parser.add_argument(
    '--classes', type=int, help='where the data is not here to tell'
  )
  parser.add_argument(
    '--largest-batch',
    action=argparse.BooleanOptionalAction,
    default=True,
    help='search the largest batch that fits, two or three more compilations',
  )
  parser.add_argument(
    '--json', action='store_true', help='one JSON object on stdout instead'
  )


def to_json(config: ConfigDict) -> str:
  return json.dumps(plain(config), indent=2)


def read_saved(workdir: str | Path) -> ConfigDict:
  """The config of a run, from its workdir.

  Raises:
    UsageError: if it has none, or it cannot be read.
  """
  path = Path(workdir) / 'config.json'
  try:
    saved = json.loads(path.read_text())
  except OSError:
    raise UsageError(f'{workdir} is no run: it has no config.json') from None
  except ValueError as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  return ConfigDict(plain(saved))


def flatten(config: Mapping, prefix: str = '') -> dict:
  flat = {}
  for key, value in plain(ConfigDict(config)).items():
    if isinstance(value, dict):
      flat.update(flatten(value, f'{prefix}{key}.'))
    else:
      flat[prefix + key] = value
  return flat


def differences(saved: ConfigDict, new: ConfigDict) -> list[str]:
  """One line per key whose value differs, free keys left out."""
  old, now = flatten(saved), flatten(new)
  missing = '(absent)'
  return [
    f'{key}: saved {old.get(key, missing)!r}, now {now.get(key, missing)!r}'
    for key in sorted(old.keys() | now.keys())
    if old.get(key, missing) != now.get(key, missing)
    and not any(key == free or key.startswith(f'{free}.') for free in FREE)
  ]


def check_local(key: str, path: str) -> None:
  """Raises UsageError for a URL, which would become a folder of that name."""
  if '://' in path:
    raise UsageError(
      f'{key}={path} must be a folder; mount the bucket and name its folder'
    )


def claim_workdir(workdir: str | Path, config: ConfigDict) -> None:
  """Makes the workdir this config's own, or refuses.

  Raises:
    UsageError: if it cannot be written, or holds a run of another config.
  """
  path = Path(workdir)
  check_local('--workdir', str(workdir))
  try:
    path.mkdir(parents=True, exist_ok=True)
    # A run that never saved a step has nothing to protect.
    saved = (path / 'checkpoints').is_dir() and any(
      child.name.isdigit() for child in (path / 'checkpoints').iterdir()
    )
    if saved and (path / 'config.json').exists():
      changed = differences(read_saved(path), config)
      if changed:
        raise UsageError(
          f'{path} holds a run of another config ('
          + '; '.join(changed)
          + '); choose another --workdir, or delete it'
        )
    partial = path / f'.config.{os.getpid()}.json'
    partial.write_text(to_json(config))
    partial.rename(path / 'config.json')
  except OSError as error:
    raise UsageError(f'--workdir={path} cannot be written: {error}') from error
