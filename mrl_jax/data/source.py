"""Sources that are arrays, and TFDS builders that need no TensorFlow."""

import dataclasses
import fcntl
import functools
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mrl_jax.contracts import Facts, Record


@dataclasses.dataclass(frozen=True)
class Split:
  """A source: records to train on, records to evaluate on, and their facts.

  Attributes:
    train, validation: records.
    facts: what is known of the records without reading them.
  """

  train: Sequence[Record]
  validation: Sequence[Record]
  facts: Facts


def image_facts(channels: int, classes: Sequence[str], **more) -> Facts:
  """The facts of images with class labels; `more` is known of the images."""
  return Facts({'image': {'channels': channels} | more}, tuple(classes))


class InMemory(Sequence):
  """Records of decoded images of one size: [n h w c] uint8 and [n] labels."""

  def __init__(self, images: np.ndarray, labels: np.ndarray):
    self.images, self.labels = images, labels

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, index: int) -> dict:
    return {'image': self.images[index], 'label': int(self.labels[index])}


class Columns(Sequence):
  """Records that are rows of a pyarrow table, fields its columns.

  They take the memory of their bytes. `ids` is the column 'id'.
  """

  def __init__(self, table: Any):
    self.table = table.combine_chunks()

  def __len__(self) -> int:
    return self.table.num_rows

  @functools.cached_property
  def ids(self) -> np.ndarray:
    return np.array(self.table.column('id').to_pylist(), str)

  def __getitem__(self, index: int) -> dict:
    return {
      name: column[int(index)].as_py()
      for name, column in zip(self.table.column_names, self.table.columns)
    }


def default_data_dir() -> str:
  """The folder of prepared datasets: $TFDS_DATA_DIR, or the default of TFDS."""
  return os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'


def png(image: np.ndarray) -> io.BytesIO:
  """A uint8 image [h w c] as PNG bytes, which TFDS can store as they are."""
  data = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
    data, 'PNG'
  )
  data.seek(0)
  return data


class ArrayBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A TFDS builder over arrays that `read()` returns, stored as array_record.

  Subclasses set `name`, `SHAPE`, `CLASSES`, `HOMEPAGE` and define `read()`,
  which returns {'train': (images, labels), 'test': (images, labels)}.
  """

  VERSION = tfds.core.Version('1.0.0')
  pkg_dir_path = Path(__file__).parent  # where TFDS looks for descriptions

  def __init__(self, *, read, **arguments):
    self.read = read
    super().__init__(file_format='array_record', **arguments)

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=self.SHAPE),
          'label': tfds.features.ClassLabel(names=self.CLASSES),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage=self.HOMEPAGE,
      description=self.__doc__,
    )

  @classmethod
  def facts(cls, **arguments) -> Facts:
    """The facts of the dataset; no argument changes them."""
    return image_facts(cls.SHAPE[-1], cls.CLASSES)

  def _split_generators(self, dl_manager):
    return {
      split: self._generate_examples(images, labels)
      for split, (images, labels) in self.read().items()
    }

  def _generate_examples(self, images, labels) -> Iterable:
    for index, (image, label) in enumerate(zip(images, labels)):
      yield index, {'image': png(image), 'label': int(label)}


def load_built(builder_class: type, data_dir: str, read) -> Split:
  """The dataset, decoded into memory; prepared first if it is not there.

  `read` is called only if the dataset must be prepared. A lock lets several
  processes of one machine share `data_dir`.
  """
  root = Path(data_dir or default_data_dir()).expanduser()
  builder = builder_class(read=read, data_dir=str(root))
  if not Path(builder.data_path, 'dataset_info.json').exists():
    root.mkdir(parents=True, exist_ok=True)
    with open(root / f'.{builder.name}.lock', 'w', encoding='utf-8') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      builder = builder_class(read=read, data_dir=str(root))
      print(f'preparing {builder.name} in {root} (once)', flush=True)
      builder.download_and_prepare()
  return Split(
    train=_decode_all(builder.as_data_source(split='train')),
    validation=_decode_all(builder.as_data_source(split='test')),
    facts=builder_class.facts(),
  )


def _decode_all(examples: Sequence[dict]) -> InMemory:
  images, labels = [], []
  for example in examples:
    images.append(example['image'])
    labels.append(example['label'])
  return InMemory(np.stack(images), np.asarray(labels, np.int32))
