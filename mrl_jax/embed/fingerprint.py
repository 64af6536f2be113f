"""Short texts that differ where data, variables or options differ."""

import dataclasses
import hashlib
import json
from typing import Any

import jax
import numpy as np

from mrl_jax.shapes import PyTree

BYTES = 8  # of a fingerprint
ROWS_AT_ONCE = 65_536


def of_words(value: Any) -> str:
  """The fingerprint of plain data."""
  text = json.dumps(value, sort_keys=True).encode()
  return hashlib.blake2b(text, digest_size=BYTES).hexdigest()


def of_sides(evidence) -> str:
  """The fingerprint of queries, database, labels, and what is relevant.

  Of the values as float32: the type in their file does not matter.
  """
  hasher = hashlib.blake2b(digest_size=BYTES)
  for side in (evidence.queries, evidence.database):
    known = side.embeddings.shape, side.labels is not None
    hasher.update(repr(known).encode())
    for start in range(0, len(side), ROWS_AT_ONCE):
      chunk = side.embeddings[start : start + ROWS_AT_ONCE]
      hasher.update(np.ascontiguousarray(chunk, np.float32).data)
    if side.labels is not None:
      hasher.update(np.ascontiguousarray(side.labels, np.int64).data)
  hasher.update(json.dumps(evidence.names).encode())
  if evidence.relate is not None:
    relevance = evidence.relevance  # its fields, not what it has cached
    fields = [getattr(relevance, f.name) for f in dataclasses.fields(relevance)]
    for array in jax.tree.leaves(fields):
      hasher.update(np.ascontiguousarray(array).data)
  return hasher.hexdigest()


def of_ids(evidence) -> str:
  """The fingerprint of the ids of both sides."""
  hasher = hashlib.blake2b(digest_size=BYTES)
  for side in (evidence.queries, evidence.database):
    ids = np.asarray([] if side.ids is None else side.ids)
    if ids.dtype.kind in 'iu':  # there may be millions
      hasher.update(ids.tobytes())
    else:
      hasher.update(json.dumps(ids.tolist(), default=str).encode())
  return hasher.hexdigest()


def of_variables(variables: PyTree) -> str:
  """The fingerprint of arrays; '' among several processes, which share them."""
  if jax.process_count() > 1:
    return ''
  hasher = hashlib.blake2b(digest_size=BYTES)
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    array = np.ascontiguousarray(jax.device_get(leaf))
    hasher.update(f'{path} {array.shape} {array.dtype}'.encode())
    hasher.update(array.tobytes())
  return hasher.hexdigest()
