"""The options of the four commands: train, eval, embed, plan."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from mrl_jax.config import nearest

PROGRAMS = {
  'train': 'python train.py',
  'eval': 'python eval.py',
  'embed': 'python -m mrl_jax.embed',
  'plan': 'python -m mrl_jax.plan',
}
PURPOSES = {
  'train': 'Train an encoder whose every prefix is an embedding.',
  'eval': "Evaluate a run's checkpoint, any embeddings, or a model on texts, "
  'at every dimension.',
  'embed': 'Write the embeddings of your files by a trained model.',
  'plan': 'What a training step costs on a TPU slice: memory, FLOPs, messages, '
  'compiled here.',
}
EXAMPLES = {
  'train': """examples:
  python train.py --config=configs/vit_mrl.py
  python train.py --config=configs/vit_mrl.py:fashion_mnist --workdir=runs/a
  python train.py --config=configs/vit_mrl.py --config.optim.learning_rate=3e-4
  python train.py --config=configs/vit_mrl.py --config.task.head.name=mrl_e
  python train.py --config=configs/vit_mrl.py:imagenet --config.mesh.fsdp=8
A run resumes from its workdir; a workdir of another config is refused.""",
  'eval': """examples:
  python eval.py --workdir=runs/vit_mrl
  python eval.py --workdir=runs/vit_mrl --step=1000
  python eval.py --workdir=runs/vit_mrl --config.eval.dims=12,24,48
  python eval.py --workdir=runs/vit_mrl --only=knn,retrieval
  python eval.py --workdir=runs/vit_mrl --export=vectors
  python eval.py --embeddings=x.npy --labels=y.npy --output=report --quick
  python eval.py --embeddings=x.parquet:vector --labels=x.parquet:class
  python eval.py --compare runs/mrl runs/mrl_e runs/ff8
  python eval.py --model=FOLDER --retrieval=beir/scifact
  python eval.py --model=FOLDER --pairs=sts13.tsv
A run knows its own config; its results go to WORKDIR/eval/STEP/.
The same command again skips what is done; another --only adds to it.""",
  'embed': """examples:
  python -m mrl_jax.embed --model=runs/vit_mrl --inputs=photos --output=x.npy
  python -m mrl_jax.embed --model=runs/vit_mrl --inputs=a.png --output=a.npy \\
    --dim=16
  python -m mrl_jax.embed --model=FOLDER --inputs=texts.txt --output=t.npy
Rows stand in x.npy, the name of each in x.txt, a line a row.""",
  'plan': """examples:
  P='python -m mrl_jax.plan --config=configs/vit_mrl.py:imagenet,B/16'
  $P --topology=v5e:4x4
  $P --topology=v6e:16x16 --config.train.batch_size=4096 --largest-batch
  $P --topology=v5p:2x2x2 --config.mesh.fsdp=8 --config.mesh.data=1 --json
Needs no TPU, only its compiler: pip install -e '.[tpu]'. See docs/scaling.md.
""",
}
CONFIG = '\n--config.KEY=VALUE sets any key of the config.'
FILES = '.npy, .npz:KEY, .parquet:COLUMN'


class OneLine(argparse.ArgumentParser):
  """A parser whose complaints are one line, as all of ours are."""

  def error(self, message: str):
    self.exit(2, f'error: {message} (see --help)\n')


def parse(argv: Sequence[str], entry: str) -> tuple[argparse.Namespace, list]:
  """(options, override words) of a command, --help included.

  Exits with code 2 on a wrong option, 0 after --help.
  """
  _forgive(sys.stdout)
  parser = OneLine(
    prog=_program(entry),
    description=PURPOSES[entry],
    epilog=EXAMPLES[entry] + (CONFIG if entry != 'embed' else ''),
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  ADD[entry](parser)
  options, words = parser.parse_known_args(argv)
  for word in words:
    name = word.removeprefix('--').partition('=')[0]
    if entry == 'embed' or (
      word.startswith('--') and not name.startswith('config')
    ):
      hint = nearest(name, vars(options), '--')
      parser.error(f'--{name} is unknown; {hint}')
  if entry == 'eval':
    _check_evaluation(parser, options)
  _announce(options, entry)
  return options, words


def _program(entry: str) -> str:
  """How the command was called: installed, or as a script."""
  called = Path(sys.argv[0]).name
  return called if called == f'mrl-{entry}' else PROGRAMS[entry]


def _forgive(stream) -> None:
  """Lets a stream of any encoding take any text, by escapes where it must."""
  if isinstance(stream, io.TextIOWrapper):  # a notebook's is none
    stream.reconfigure(errors='backslashreplace')


def _announce(options: argparse.Namespace, entry: str) -> None:
  """Says at once what has begun; the imports that follow take seconds."""
  if entry == 'train' and not options.print_config:
    print(f'{options.config}: loading JAX and the data ...', flush=True)
  if entry == 'eval' and not options.compare:
    what = options.workdir or options.model or options.embeddings
    print(f'{what}: loading JAX and the data ...', flush=True)


def _config(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('--config', required=True, metavar='FILE.py[:VARIANT]')


def _distributed(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--distributed',
    default='',
    metavar='auto|HOST:PORT,COUNT,INDEX',
    help='join the other processes of a launch',
  )


def _train(parser: argparse.ArgumentParser) -> None:
  _config(parser)
  parser.add_argument('--workdir', help='default: runs/<config name>')
  parser.add_argument(
    '--print_config', action='store_true', help='show the config and stop'
  )
  _distributed(parser)


def _evaluation(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add('--workdir', help="a training run's")
  add('--step', type=int, help='default: the newest')
  add(
    '--export', metavar='DIR', help="write the run's embeddings there instead"
  )
  add(
    '--dtype',
    choices=('float32', 'float16'),
    default='float32',
    help='of exported embeddings',
  )
  _material(parser)
  add('--dims', help='prefixes, like 8,16,32; default: the width, halved to 8')
  _choice(parser)
  add(
    '--compare',
    nargs='+',
    metavar='RUN',
    help='workdirs of evaluated runs, side by side',
  )
  add(
    '--group_seeds',
    action='store_true',
    help='compare means of runs that differ in their seed only',
  )
  add(
    '--output',
    metavar='DIR',
    help='of --embeddings (default: runs/<file name>), of --model (default: '
    'runs/<model>-<set>) and of --compare (default: runs/compare)',
  )
  _distributed(parser)


def _material(parser: argparse.ArgumentParser) -> None:
  """Vectors or a model, and what they are judged by."""
  add = parser.add_argument
  add(
    '--model',
    metavar='DIR',
    help='a run, a saved or an imported model, on texts',
  )
  add('--retrieval', metavar='DIR', help='a judged set, as BEIR lays it out')
  add(
    '--pairs', metavar='FILE', help='scored pairs: .tsv, .csv, .jsonl, .parquet'
  )
  add('--embeddings', metavar='FILE', help=f'the vectors searched: {FILES}')
  add('--labels', metavar='FILE', help=f'their classes: {FILES}, .txt, .csv')
  add(
    '--queries',
    metavar='FILE',
    help='vectors that search; by default some rows are held out for it',
  )
  add('--query_labels', metavar='FILE', help='the classes of --queries')
  add('--ids', metavar='FILE', help=f'a name per row: {FILES}, .txt, .csv')
  add('--query_ids', metavar='FILE', help='likewise of --queries')
  add(
    '--codes',
    choices=('numbers', 'offset', 'bits'),
    help='what whole numbers in --embeddings and --queries are: as they stand, '
    'uint8 with 128 for zero, or packed bits',
  )


def _choice(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add('--only', metavar='NAMES', help='evaluators that run, like knn,linear')
  add('--quick', action='store_true', help='those that most people ask for')
  add(
    '--fresh',
    action='store_true',
    help='do anew what is done; clears an evaluation of other vectors',
  )


def _check_evaluation(parser, options: argparse.Namespace) -> None:
  """Exits with code 2 unless the options say one thing to do."""
  for name, value in vars(options).items():
    if value == '' and name != 'distributed':
      parser.error(f'--{name} is empty; give a value or leave it out')
  sources = ('workdir', 'embeddings', 'model', 'compare')
  given = [name for name in sources if getattr(options, name)]
  if len(given) != 1:
    parser.error('give one of --workdir, --embeddings, --model, --compare')
  for name in ('only', 'quick', 'fresh'):
    if getattr(options, name) and (options.compare or options.export):
      parser.error(f'--{name} goes with an evaluation')
  if options.only and options.quick:
    parser.error('--quick names its evaluators; give it or --only')
  for name, sides in NEEDS.items():
    there = any(getattr(options, side) for side in sides)
    if getattr(options, name) is not None and not there:
      words = ' or '.join(f'--{side}' for side in sides)
      parser.error(f'--{name} goes with {words}')
  _check_sides(parser, options)
  if options.output and options.workdir:
    parser.error('--output goes with --embeddings, --model or --compare')


NEEDS = {
  'step': ('workdir', 'model'),
  'export': ('workdir',),
  'labels': ('embeddings',),
  'queries': ('embeddings',),
  'query_labels': ('queries',),
  'ids': ('embeddings',),
  'query_ids': ('queries',),
  'codes': ('embeddings',),
  'dims': ('embeddings', 'model'),
  'retrieval': ('model', 'embeddings'),
  'pairs': ('model', 'embeddings'),
}


def _check_sides(parser, options: argparse.Namespace) -> None:
  """Likewise of what vectors and texts are compared with."""
  judged = [name for name in ('retrieval', 'pairs') if getattr(options, name)]
  if len(judged) == 2 or (options.model and not judged):
    parser.error('--model needs --retrieval or --pairs, one of them')
  if judged and (options.labels or options.query_labels):
    parser.error(f'--{judged[0]} says what is right; drop --labels')
  if options.embeddings and options.retrieval and not options.queries:
    parser.error('--retrieval needs the vectors of its queries: --queries')
  if options.pairs and options.queries:
    parser.error('--pairs has both sides in --embeddings; drop --queries')
  if options.queries and options.labels and not options.query_labels:
    parser.error('--queries with --labels needs --query_labels too')


def _plan(parser: argparse.ArgumentParser) -> None:
  _config(parser)
  parser.add_argument(
    '--topology', required=True, metavar='CHIP:SIZES', help='like v5e:4x4'
  )
  parser.add_argument(
    '--classes', type=int, help='where the data is not here to tell'
  )
  parser.add_argument(
    '--examples',
    type=int,
    help='of the training data, for the hours of a run that is given in epochs',
  )
  parser.add_argument(
    '--largest-batch',
    action=argparse.BooleanOptionalAction,
    default=False,
    help='search the largest batch that fits, two or three more compilations',
  )
  parser.add_argument(
    '--json', action='store_true', help='one JSON object on stdout instead'
  )


def _embed(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add(
    '--model',
    required=True,
    metavar='DIR',
    help="a run's, a saved one or a Hugging Face one",
  )
  add('--step', type=int, help='of a run; default: the newest')
  add(
    '--inputs',
    required=True,
    metavar='PATH',
    help='an image, or a folder of them; texts: .txt, .jsonl:KEY, '
    '.parquet:COLUMN, .csv:COLUMN or .tsv:COLUMN',
  )
  add('--field', metavar='NAME', help='of the texts, like query; it prompts')
  add('--output', required=True, metavar='FILE.npy')
  add('--dim', type=int, help='of the prefix; default: the whole embedding')
  add(
    '--normalise',
    action=argparse.BooleanOptionalAction,
    default=True,
    help='rows of length 1',
  )


ADD = {'train': _train, 'eval': _evaluation, 'embed': _embed, 'plan': _plan}
