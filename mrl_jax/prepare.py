"""Prepares a TFDS set once, so that training reads it without TensorFlow.

pip install -e '.[prepare]'
python -m mrl_jax.prepare imagenet2012 --data_dir=DIR
"""

import importlib.util
import sys
from pathlib import Path

import tensorflow_datasets as tfds

from mrl_jax import cli, errors
from mrl_jax.data import source


def main(argv: list[str]) -> int:
  """Prepares the named dataset; returns the exit code."""
  parser = cli.OneLine(
    prog='python -m mrl_jax.prepare',
    description='Prepare a TFDS set once, so that training reads it without '
    'TensorFlow.',
    epilog='example: python -m mrl_jax.prepare cifar10 '
    '--data_dir=~/tensorflow_datasets',
  )
  parser.add_argument('dataset', help='a name of the TFDS catalogue')
  parser.add_argument(
    '--data_dir',
    default=source.default_data_dir(),
    help='default: $TFDS_DATA_DIR, or ~/tensorflow_datasets',
  )
  options = parser.parse_args(argv)
  try:
    prepare(options.dataset, Path(options.data_dir).expanduser())
    return 0
  except errors.EXPECTED as error:
    return errors.tell(error)


def prepare(dataset: str, folder: Path) -> None:
  """Downloads a set and writes it as array_record.

  Raises:
    UsageError: without TensorFlow, for a set that is not in the catalogue, and
      for one that has to be downloaded by hand, with TFDS's instructions.
  """
  if not has_tensorflow():
    raise errors.UsageError(
      "TensorFlow is missing: pip install -e '.[prepare]'"
    )
  try:
    builder = tfds.builder(
      dataset, data_dir=str(folder), file_format='array_record'
    )
  except tfds.core.registered.DatasetNotFoundError:
    raise errors.UsageError(
      f'{dataset!r} is not in the catalogue of TFDS, '
      'https://www.tensorflow.org/datasets/catalog/overview'
    ) from None
  except (ValueError, AssertionError) as error:
    # Of a name that cannot be read, an unknown version or config.
    raise errors.UsageError(f'{dataset!r}: {_first_line(error)}') from None
  try:
    builder.download_and_prepare()
  except AssertionError as error:
    by_hand = getattr(builder, 'MANUAL_DOWNLOAD_INSTRUCTIONS', None)
    if not by_hand:
      raise
    words = ' '.join(by_hand.split())
    raise errors.UsageError(f'{_first_line(error)} {words}') from None
  print(f'prepared {builder.info.full_name} in {builder.data_path}')


def has_tensorflow() -> bool:
  """Whether TensorFlow is installed, without importing it."""
  return importlib.util.find_spec('tensorflow') is not None


def _first_line(error: Exception) -> str:
  """The first line of TFDS's many, without the arguments it repeats."""
  return str(error).strip().partition('\n')[0].rpartition('}": ')[2]


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
