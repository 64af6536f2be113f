"""Evidence of small random images that a linear map embeds, for tests."""

import base64
import io

import jax.numpy as jnp
import numpy as np
from PIL import Image

from mrl_jax import nested
from mrl_jax.embed.vectors import Vectors
from tests.samples.vectors import evidence_of

CLASSES = 6
RNG = np.random.default_rng(0)

NAMES = tuple('ant bee cat cow dog eel'.split())


def split_of(count, seed, side=12, channels=1):
  rng = np.random.default_rng(seed)
  shape = (count, side, side, channels)
  return rng.integers(0, 256, shape, np.uint8), rng.integers(0, CLASSES, count)


KERNEL = RNG.normal(size=(144, 16)).astype(np.float32)

HEAD = RNG.normal(size=(16, CLASSES)).astype(np.float32)


def make_evidence(side=12, channels=1, rows=(40, 30), **changed):
  splits = {
    'train': split_of(rows[0], 1, side, channels),
    'validation': split_of(rows[1], 2, side, channels),
  }

  def embed(split):
    """Of a split, or of any examples."""
    if isinstance(split, str):
      images, labels = splits[split]
    else:
      images = np.stack([split[i]['image'] for i in range(len(split))])
      labels = np.array([split[i]['label'] for i in range(len(split))])
    flat = images.reshape(len(images), -1)[:, :144] / 255 - 0.5
    return Vectors((flat @ KERNEL).astype(np.float32), labels)

  def saliency(images, classes, dims):
    grey = images.mean(-1) / 255
    return jnp.asarray(np.stack([grey * m / 16 for m in dims]))

  options = dict(
    trained=(2, 16),
    names=NAMES,
    functions={
      'embed': embed,
      'logits': lambda z, dims: nested.prefix_products(
        jnp.asarray(z), jnp.asarray(HEAD), dims
      ),
      'images': lambda split, some: splits[split][0][np.asarray(some, int)],
      'saliency': saliency,
    },
  )
  return evidence_of(
    embed('train'),
    embed('validation'),
    changed.pop('dims', (2, 6, 16)),
    **options | changed,
  )


def picture(text):
  return Image.open(io.BytesIO(base64.b64decode(text)))
