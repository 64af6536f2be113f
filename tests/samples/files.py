"""Files of embeddings and labels, and what is said of bad ones."""

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from mrl_jax.embed import files

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def save_npy(path, x):
  np.save(path, x)
  return str(path)


def table(path, **values):
  parquet.write_table(pyarrow.table(values), path)
  return str(path)


def lists(x, fixed):
  kind = pyarrow.from_numpy_dtype(x.dtype)
  kind = pyarrow.list_(kind, x.shape[1]) if fixed else pyarrow.list_(kind)
  return pyarrow.array(list(x), kind)


def fails(match, *arguments, call=files.read, **options):
  with pytest.raises(ValueError, match=match) as error:
    call(*map(str, arguments), **options)
  assert '\n' not in str(error.value) and len(str(error.value)) < 300
