"""`tfds`: any TFDS dataset that `mrl_jax.prepare` stored as array_record."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from mrl_jax.contracts import Facts
from mrl_jax.data import source


class Records(Sequence):
  """Records {'image', 'label'} of a TFDS data source."""

  def __init__(self, examples):
    self.examples = examples

  def __len__(self) -> int:
    return len(self.examples)

  def __getitem__(self, index: int) -> dict:
    example = self.examples[index]
    image = np.asarray(example['image'])
    return {'image': image, 'label': int(example['label'])}


def load(
  data_dir: str = '',
  dataset: str = '',
  train: str = 'train',
  validation: str = 'validation',
) -> source.Split:
  """The dataset prepared under `data_dir`, read without TensorFlow.

  Args:
    dataset: `name`, `name/config` or `name:version`, for example
      `imagenet2012`.
    train, validation: TFDS split expressions, like `train[:90%]`.

  Raises:
    ValueError: if it is not prepared as array_record, or a split is unknown.
  """
  root = Path(data_dir or source.default_data_dir()).expanduser()
  name, _, version = dataset.partition(':')
  folders = [f.parent for f in (root / name).rglob('dataset_info.json')]
  folders = [f for f in folders if not version or f.name == version]
  folders.sort(key=lambda f: [int(n) for n in f.name.split('.') if n.isdigit()])
  if len({f.parent for f in folders}) > 1:
    found = ', '.join(sorted(str(f.relative_to(root)) for f in folders))
    raise ValueError(f'dataset={dataset!r} fits {found}; name one of them')
  advice = (
    f"prepare it once with pip install -e '.[prepare]' && python -m "
    f'mrl_jax.prepare {dataset or "NAME"} --data_dir={root}'
  )
  if not dataset or not folders:
    raise ValueError(f'{root} holds no prepared dataset {dataset!r}; {advice}')
  builder = tfds.builder_from_directory(str(folders[-1]))
  if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
    raise ValueError(
      f'{folders[-1]} is stored as {builder.info.file_format.value}, which '
      f'needs TensorFlow; {advice}'
    )
  features = _labelled_features(builder)
  try:
    splits = [
      Records(builder.as_data_source(split=split))
      for split in (train, validation)
    ]
  except (ValueError, KeyError) as error:
    known = ', '.join(builder.info.splits)
    raise ValueError(
      f'data.source.train={train!r}, validation={validation!r}: {dataset} '
      f'has the splits {known} ({error})'
    ) from error
  return source.Split(*splits, facts=_facts(features))


def _labelled_features(builder: tfds.core.DatasetBuilder):
  """The builder's features.

  Raises:
    ValueError: unless an image and a class label are among them.
  """
  features = builder.info.features
  labelled = 'label' in features and hasattr(features['label'], 'names')
  if 'image' not in features or not labelled:
    raise ValueError(
      f'{builder.name} has features {", ".join(features)}; an image and a '
      'class label are needed'
    )
  return features


def facts(data_dir: str = '', dataset: str = '', **splits) -> Facts:
  """Classes and channels, of the prepared dataset or by the TFDS catalogue.

  Raises:
    ValueError: if `dataset` is neither prepared nor in the catalogue.
  """
  name, _, variant = dataset.partition(':')[0].partition('/')
  try:
    return load(data_dir, dataset, **splits).facts
  except ValueError as unprepared:
    try:
      builder_class = tfds.builder_cls(name)
      with tempfile.TemporaryDirectory() as nothing:
        builder = builder_class(data_dir=nothing, config=variant or None)
        features = _labelled_features(builder)
    except (tfds.core.registered.DatasetNotFoundError, ImportError):
      raise unprepared from None
  return _facts(features)


def _facts(features) -> Facts:
  return source.image_facts(
    features['image'].shape[-1], features['label'].names
  )
